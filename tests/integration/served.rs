//! An application served in the test's own process.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};

/// A server that lives as long as this value, or as the test's runtime.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    /// Serves on a free port of the loopback interface.
    pub(crate) async fn new(app: Router) -> Self {
        Self::with(app, |serve| serve).await
    }

    /// The same, with options.
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

/// Fails the test when `future` takes longer than ten seconds, which nothing here should.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    within(Duration::from_secs(10), future).await
}

/// Fails the test when `future` takes longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("not ready after {limit:?}"),
    }
}
