//! Installation of the hub's peers under `.peers`, each from its own registry.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use headwater_bench::Error;

use crate::options::folder;

/// The crate and its version, and the npm package and its version.
const CRATE: [&str; 2] = ["durable-streams", "0.1.5"];
const PACKAGE: [&str; 2] = ["@durable-streams/server", "0.3.7"];
const NCHAN: &str = "libnginx-mod-nchan";

fn root() -> PathBuf {
    folder().join(".peers")
}

/// Returns the path of the server of the crate `durable-streams`.
pub(super) fn durable_streams() -> PathBuf {
    root().join("bin/durable-streams-server")
}

/// Returns the path of the JavaScript reference server's module.
pub(super) fn reference() -> PathBuf {
    root()
        .join("node/node_modules")
        .join(PACKAGE[0])
        .join("dist/index.js")
}

/// Returns the path of nginx's module nchan.
pub(super) fn nchan() -> PathBuf {
    root().join("nchan/usr/lib/nginx/modules/ngx_nchan_module.so")
}

/// Installs missing peers. A peer that isn't available on this machine is skipped, and its rows say
/// that.
pub(crate) fn ensure() -> Result<(), Error> {
    fs::create_dir_all(root())?;
    if !durable_streams().exists() {
        attempt(
            CRATE[0],
            Command::new("cargo")
                .args([
                    "install",
                    "--quiet",
                    "--locked",
                    CRATE[0],
                    "--version",
                    CRATE[1],
                ])
                .arg("--root")
                .arg(root()),
        );
    }
    if !reference().exists() {
        attempt(
            PACKAGE[0],
            Command::new("npm")
                .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
                .arg(root().join("node"))
                .arg(PACKAGE.join("@")),
        );
    }
    if !nchan().exists() {
        // Debian's module requires Debian's nginx. It is unpacked here, so that the system's nginx
        // is unchanged.
        let get = format!(
            "apt-get download -qq {NCHAN} && dpkg-deb -x {NCHAN}_*.deb nchan && rm {NCHAN}_*.deb"
        );
        attempt(
            NCHAN,
            Command::new("sh").args(["-c", &get]).current_dir(root()),
        );
    }
    Ok(())
}

fn attempt(what: &str, command: &mut Command) {
    eprintln!("installing the peer {what}");
    let status = command.stdin(Stdio::null()).status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("{what} can't be installed here: its rows are left out");
    }
}

/// Returns the versions of the peers, for the report.
pub(crate) fn versions() -> String {
    let said = |command: &mut Command| {
        let output = command.output().ok()?;
        // nginx prints its version to standard error.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    let nginx = said(Command::new("nginx").arg("-v")).unwrap_or_default();
    let node = said(Command::new("node").arg("-v")).unwrap_or_default();
    let nchan = said(Command::new("apt-cache").args(["show", "--no-all-versions", NCHAN]))
        .and_then(|text| {
            let version = text
                .lines()
                .find_map(|line| line.strip_prefix("Version: "))?;
            Some(version.to_owned())
        })
        .unwrap_or_default();
    let nginx = nginx.rsplit(' ').next().unwrap_or_default();
    format!(
        "{}, {}, {NCHAN} {nchan} in {nginx}, node {node}",
        CRATE.join(" "),
        PACKAGE.join(" "),
    )
}
