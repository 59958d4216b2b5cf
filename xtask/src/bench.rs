//! `cargo xtask bench`: builds `bench/`, which is a separate workspace, and runs it.

use crate::shell;

/// Runs the benchmarks with these arguments; `--help` lists them.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let cargo = |subcommand: &str| {
        let mut cargo = shell::command("cargo");
        cargo.args([
            subcommand,
            "--quiet",
            "--profile",
            "dist",
            "--manifest-path",
            "bench/Cargo.toml",
        ]);
        cargo
    };
    // All programs, because `run` starts the others.
    shell::run(cargo("build").arg("--bins"))?;
    shell::run(cargo("run").args(["--bin", "run", "--"]).args(args))
}
