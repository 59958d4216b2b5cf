use std::{process, time::Duration};

use tokio::sync::watch;

use crate::exit::Failure;

/// The time in which a command has to end by itself. It may hang in a write to a pipe that isn't
/// read.
const GRACE: Duration = Duration::from_secs(1);

/// Waits for the signals that request an orderly exit.
pub(crate) struct Interrupt {
    signal: watch::Receiver<Option<u8>>,
}

impl Interrupt {
    /// Starts to handle Ctrl-C and SIGTERM. They no longer end the process at once, but at the
    /// latest after a second.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let failed = |error| Failure::other(format!("can't listen for signals: {error}"));
        let mut signals = Signals::new().map_err(failed)?;
        let (sender, signal) = watch::channel(None);
        tokio::spawn(async move {
            let number = signals.next().await;
            sender.send_replace(Some(number));
            tokio::select! {
                () = tokio::time::sleep(GRACE) => {}
                _ = signals.next() => {}
            }
            process::exit(128 + i32::from(number));
        });
        Ok(Self { signal })
    }

    /// Returns `true` if a signal has arrived.
    pub(crate) fn is_signalled(&self) -> bool {
        self.signal.borrow().is_some()
    }

    /// Waits for a signal and returns its number. Cancel-safe.
    pub(crate) async fn wait(&mut self) -> u8 {
        loop {
            if let Some(number) = *self.signal.borrow_and_update() {
                return number;
            }
            if self.signal.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal and returns its number.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    /// Waits for Ctrl-C and returns the number that it has on Unix.
    async fn next(&mut self) -> u8 {
        match tokio::signal::ctrl_c().await {
            Ok(()) => 2,
            Err(_) => std::future::pending().await,
        }
    }
}
