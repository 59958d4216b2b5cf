//! The `headwater` command: streams over HTTP from the shell.
//!
//! `args` says what can be asked for, each subcommand has a module of its own, and `exit` turns what
//! came of it into a status. What is done on the network is done by `headwater-client`, and
//! served by `headwater-hub`.

mod args;
mod check;
mod exit;
mod file;
mod gather;
mod get;
mod help;
mod hub;
mod interrupt;
mod openapi;
mod publish;
mod relay;
mod root;
mod serve;
mod streams;
mod tail;
mod url;
mod wait;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::{Args, Command},
    exit::Failure,
    interrupt::Interrupt,
};

/// A server allocates on one thread what another one frees, and much that is larger than what the system's allocator
/// keeps at hand: with this one an append takes a tenth less of the processor. Without huge pages, as an idle reader
/// would take twice the memory with them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
        command => talk(command),
    }
}

/// Runs a command that is a client.
fn talk(command: Command) -> Result<(), Failure> {
    // The connection has a thread of its own: it reads while this one writes.
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
            Command::Streams(args) => streams::run(args, interrupt).await,
            // These are no clients, and were dealt with.
            Command::Serve(_) | Command::Check(_) | Command::Openapi(_) => Ok(()),
        }
    });
    // The look-up of a name may be under way; nothing waits for it.
    runtime.shutdown_background();
    outcome
}
