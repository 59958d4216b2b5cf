//! The Python peers, in their own environment under `.venv`.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use headwater_bench::Error;

use crate::options::{NATS_SERVER, folder};

fn interpreter() -> PathBuf {
    folder().join(".venv/bin/python")
}

/// Returns the command of the environment's Python.
pub(crate) fn command() -> Command {
    let mut command = Command::new(interpreter());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Returns the NATS server, one of the packages, unless the environment names another one.
pub(crate) fn nats_server() -> PathBuf {
    let named = std::env::var_os(NATS_SERVER).map(PathBuf::from);
    named.unwrap_or_else(|| interpreter().with_file_name("nats-server"))
}

/// Creates the environment, unless it already has the packages of `requirements.txt`.
pub(crate) fn ensure() -> Result<(), Error> {
    let wanted = fs::read(folder().join("requirements.txt"))?;
    let stamp = folder().join(".venv/.installed-from");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) && interpreter().exists() {
        return Ok(());
    }
    eprintln!("installing the Python peers");
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(folder().join(".venv")))?;
    run(command()
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(folder().join("requirements.txt")))?;
    fs::write(stamp, wanted)?;
    Ok(())
}

fn run(command: &mut Command) -> Result<(), Error> {
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}
