//! The application of the fault tests in its own process, so that a test can kill it.
//!
//! `fault-server DEADLINE_MS` serves on a free port of the loopback interface and prints the
//! address on a line. `DEADLINE_MS` is the shutdown deadline in milliseconds.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let deadline = std::env::args().nth(1).and_then(|arg| arg.parse().ok());
    let Some(deadline) = deadline.map(Duration::from_millis) else {
        return Err(io::Error::other("usage: fault-server DEADLINE_MS"));
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    headwater::serve(headwater_tests::app(), listener)
        .quiet()
        .max_connections(10_000)
        .shutdown_deadline(deadline)
        .await
}
