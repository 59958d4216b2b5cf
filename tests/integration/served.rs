//! An application that is served in the test's own process.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};

/// A running server. It stops when this value or the test's runtime is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    /// Serves on a free port of the loopback interface.
    pub(crate) async fn new(app: Router) -> Self {
        Self::with(app, |serve| serve).await
    }

    /// Serves on a free port of the loopback interface, with options.
    pub(crate) async fn with(
        app: Router,
        options: impl FnOnce(headwater::Serve) -> headwater::Serve,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let serve =
            options(headwater::serve(app, listener).quiet()).shutdown_on(std::future::pending());
        let task = tokio::spawn(async move {
            serve
                .await
                .expect("the server runs until it is told to stop");
        });
        Self { address, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Awaits `future`. Fails the test after ten seconds, which is far more than any step here needs.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    within(Duration::from_secs(10), future).await
}

/// Awaits `future`. Fails the test after `limit`.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("not ready after {limit:?}"),
    }
}
