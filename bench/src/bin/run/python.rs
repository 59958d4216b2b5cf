//! The Python peers, in an environment of their own under `.venv`.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use headwater_bench::Error;

use crate::options::folder;

fn interpreter() -> PathBuf {
    folder().join(".venv/bin/python")
}

/// The Python of the environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new(interpreter());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Makes the environment unless it holds what `requirements.txt` names.
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
