//! The `headwater` command: streams over HTTP from the shell.
//!
//! `args` defines the command line, each subcommand has a module of its own, and `exit` turns a
//! command's result into an exit status. `headwater-client` does the client's network I/O, and
//! `headwater-hub` serves.

#![warn(clippy::print_stderr)]

/// Prints a line to stderr, in which text of others can't control the terminal. If it can't be written, it is lost:
/// `eprintln!` would panic.
macro_rules! report {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let line = format!($($line)*);
        let line = headwater_wire::terminal::Escaped(&line);
        let _ = writeln!(std::io::stderr(), "{line}");
    }};
}

mod args;
mod check;
mod exit;
mod file;
mod gather;
mod get;
mod help;
mod hub_options;
mod interrupt;
mod key_file;
mod keys;
mod mint;
mod moving;
mod openapi;
mod output_line;
mod progress;
mod publish;
mod relay;
mod retry_report;
mod serve;
mod streams;
mod streams_root;
mod tail;
mod token;
mod trust;
mod url;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::{Args, Command},
    exit::Failure,
    interrupt::Interrupt,
};

#[global_allocator]
static ALLOCATOR: headwater_alloc::Allocator = headwater_alloc::Allocator;

fn main() -> ExitCode {
    let Args { command } = Args::parse();
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Openapi(args) => openapi::run(&args),
        Command::Keys(args) => keys::run(args),
        Command::Token(args) => mint::run(*args),
        command => talk(command),
    }
}

/// Runs a command that is a client.
fn talk(command: Command) -> Result<(), Failure> {
    // The connection has its own thread: it reads while this one writes.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("can't start: {error}")))?;
    let outcome = runtime.block_on(async {
        let interrupt = Interrupt::listen()?;
        match command {
            Command::Get(args) => get::run(args, interrupt).await,
            Command::Gather(args) => gather::run(*args, interrupt).await,
            Command::Publish(args) => publish::run(*args, interrupt).await,
            Command::Tail(args) => tail::run(*args, interrupt).await,
            Command::Relay(args) => relay::run(*args, interrupt).await,
            Command::Export(args) => moving::export::run(*args, interrupt).await,
            Command::Import(args) => moving::import::run(args, interrupt).await,
            Command::Streams(args) => streams::run(args, interrupt).await,
            // These aren't clients; `run` handles them.
            Command::Serve(_)
            | Command::Check(_)
            | Command::Openapi(_)
            | Command::Keys(_)
            | Command::Token(_) => Ok(()),
        }
    });
    // A name lookup may still be running; don't wait for it.
    runtime.shutdown_background();
    outcome
}
