//! Running of other programs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Arguments of every build of the workspace: the features of the binary to ship. All steps have the
/// same ones, so that nothing is built twice.
pub(crate) const FEATURES: [&str; 2] = ["--features", "headwater-cli/nats"];

/// Returns the root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Returns a command that runs at the root of the repository.
///
/// It doesn't have the variables that describe the package `xtask`. Build scripts that depend on them, such as
/// ring's, would run again, with all that depends on them.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Shows the command and runs it. Fails unless it exits with 0.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let shown = show(command);
    println!("$ {shown}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` failed: {status}")),
        Err(error) => Err(format!("`{shown}` could not be started: {error}")),
    }
}

/// Runs the command as [`run`] does, with its output appended to a file.
pub(crate) fn run_to_file(command: &mut Command, file: &Path) -> Result<(), String> {
    let opened = File::options().create(true).append(true).open(file);
    let outputs = opened.and_then(|output| Ok((output.try_clone()?, output)));
    let (stdout, stderr) =
        outputs.map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    run(command.stdin(Stdio::null()).stdout(stdout).stderr(stderr))
}

/// Runs a command and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let shown = show(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("`{shown}` could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{shown}` failed: {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns `true` if the command can be run and exits with 0. Its output isn't shown.
pub(crate) fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns `true` if a program of this name is in a folder of `PATH` or in `/usr/sbin`.
pub(crate) fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        // Debian installs servers here, which isn't on the PATH of every user.
        || Path::new("/usr/sbin").join(program).is_file()
}

fn show(command: &Command) -> String {
    let mut shown = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        shown.push(' ');
        shown.push_str(&arg.to_string_lossy());
    }
    shown
}
