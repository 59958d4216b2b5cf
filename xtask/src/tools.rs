//! Tools that the tests need besides Rust. Missing ones are installed.

use crate::shell::{command, is_on_path, root, run, works};
use std::fs;
use std::path::{Path, PathBuf};

/// Programs that the end-to-end tests start, and the Debian packages that provide them. Any version
/// of Node.js is enough for npm. The tests run the one that npm installs, because some of their
/// packages need a newer one than Debian's.
const DEBIAN: &[(&str, &[&str])] = &[
    ("caddy", &["caddy"]),
    ("chromium", &["chromium"]),
    ("curl", &["curl"]),
    ("nginx", &["nginx"]),
    ("node", &["nodejs"]),
    ("npm", &["npm"]),
    ("python3", &["python3", "python3-venv"]),
];

/// Programs that install the packages of the conformance suite.
const DEBIAN_NODE: &[(&str, &[&str])] = &[("node", &["nodejs"]), ("npm", &["npm"])];

/// Programs that install the packages of Python.
const DEBIAN_PYTHON: &[(&str, &[&str])] = &[("python3", &["python3", "python3-venv"])];

/// The compiler that builds the fuzzer's runtime.
const DEBIAN_FUZZ: &[(&str, &[&str])] = &[("c++", &["g++"])];

/// Installs everything that the end-to-end tests use: Debian's packages, the Python environment and
/// the Node.js packages. Returns the path of the environment's Python.
pub(crate) fn ensure_e2e() -> Result<PathBuf, String> {
    ensure_debian(DEBIAN)?;
    let python = ensure_venv()?;
    ensure_node_packages("tests/e2e/node")?;
    Ok(python)
}

/// Installs the packages of the conformance suite. Returns the path of their Node.js: the suite
/// needs a newer one than Debian's.
pub(crate) fn ensure_conformance() -> Result<PathBuf, String> {
    const FOLDER: &str = "tests/conformance";
    ensure_debian(DEBIAN_NODE)?;
    ensure_node_packages(FOLDER)?;
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => {
            return Err(format!(
                "there is no Node.js for {other} among the packages"
            ));
        }
    };
    Ok(root().join(format!(
        "{FOLDER}/node_modules/node-linux-{machine}/bin/node"
    )))
}

/// Installs the server of the tests of the log on a cluster, unless `HEADWATER_NATS_SERVER` names one.
/// Returns its path. It is one of the packages of Python, and those tests look for it there.
pub(crate) fn ensure_nats_server() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("HEADWATER_NATS_SERVER") {
        return Ok(named.into());
    }
    ensure_debian(DEBIAN_PYTHON)?;
    let python = ensure_venv()?;
    Ok(python.with_file_name("nats-server"))
}

/// Installs cargo-fuzz and the compiler that it needs.
pub(crate) fn ensure_fuzz() -> Result<(), String> {
    ensure_debian(DEBIAN_FUZZ)?;
    if is_on_path("cargo-fuzz") {
        Ok(())
    } else {
        cargo_install("cargo-fuzz")
    }
}

/// Installs cargo-nextest. Returns `true` if it is available. Plain `cargo test` can replace it, so
/// a failed installation is shown but isn't an error.
pub(crate) fn ensure_nextest() -> bool {
    if is_on_path("cargo-nextest") {
        return true;
    }
    match cargo_install("cargo-nextest") {
        Ok(()) => true,
        Err(message) => {
            eprintln!("xtask: {message}; going on with `cargo test`");
            false
        }
    }
}

fn cargo_install(name: &str) -> Result<(), String> {
    run(command("cargo").args(["install", "--locked", "--quiet", name]))
}

fn ensure_debian(wanted: &[(&str, &[&str])]) -> Result<(), String> {
    let missing: Vec<_> = wanted
        .iter()
        .filter(|(program, _)| !is_on_path(program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<_> = missing
        .iter()
        .flat_map(|(_, packages)| packages.iter())
        .collect();
    let is_root = fs::metadata("/proc/self").is_ok_and(|meta| {
        use std::os::unix::fs::MetadataExt;
        meta.uid() == 0
    });
    if !is_root || !is_on_path("apt-get") {
        return Err(format!(
            "the tests need {}: install them first (Debian's packages: {packages:?})",
            programs.join(", ")
        ));
    }
    run(command("apt-get").args(["update", "-qq"]))?;
    run(command("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        // The package must not start its service, because the tests start their own nginx.
        .env("RUNLEVEL", "1")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages))
}

fn ensure_venv() -> Result<PathBuf, String> {
    let venv = root().join(".venv");
    let python = venv.join("bin/python");
    let requirements = root().join("tests/e2e/requirements.txt");
    if is_stamped(&venv, &requirements) && works(command(&python).arg("--version")) {
        return Ok(python);
    }
    run(command("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&venv))?;
    run(command(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(&requirements))?;
    stamp(&venv, &requirements)?;
    Ok(python)
}

fn ensure_node_packages(folder: &str) -> Result<(), String> {
    let folder = root().join(folder);
    let (modules, lock) = (
        folder.join("node_modules"),
        folder.join("package-lock.json"),
    );
    if is_stamped(&modules, &lock) {
        return Ok(());
    }
    run(command("npm").current_dir(&folder).args([
        "ci",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]))?;
    stamp(&modules, &lock)
}

/// Stores a copy of the list from which packages were installed in their folder. While the copy
/// equals the list, nothing has to be installed.
fn stamp(folder: &Path, list: &Path) -> Result<(), String> {
    let copy = folder.join(".installed-from");
    fs::copy(list, &copy)
        .map_err(|error| format!("{} cannot be written: {error}", copy.display()))?;
    Ok(())
}

fn is_stamped(folder: &Path, list: &Path) -> bool {
    match (fs::read(folder.join(".installed-from")), fs::read(list)) {
        (Ok(installed), Ok(wanted)) => installed == wanted,
        _ => false,
    }
}
