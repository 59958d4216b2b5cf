//! The client that calls webhooks.

use std::sync::OnceLock;
use std::time::Duration;

use headwater_client::internals;
use headwater_wire::json::without_bom;
use reqwest::{Client, header, redirect};
use serde::Deserialize;

use super::egress::egress;
use crate::subscriptions::delivery::{Call, Delivered};

/// Timeout of connecting to a webhook.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of bytes of a webhook's response that are read. A longer response counts as one
/// without `done`.
const WEBHOOK_ANSWER_BYTES: usize = 64 << 10;

/// A client for webhooks. It follows no redirects, uses no proxy, and only connects to public
/// addresses, or with `loopback` also to this machine.
#[derive(Debug)]
pub(in crate::subscriptions) struct Caller {
    loopback: bool,
    /// Created at the first call, as it loads the system's certificates.
    client: OnceLock<Option<Client>>,
}

#[derive(Deserialize)]
struct HookAnswer {
    done: bool,
}

impl Caller {
    pub(in crate::subscriptions) fn new(loopback: bool) -> Self {
        Self {
            loopback,
            client: OnceLock::new(),
        }
    }

    fn client(&self) -> Option<Client> {
        let client = self.client.get_or_init(|| {
            self.build()
                .inspect_err(|error| tracing::error!(%error, "webhooks can't be called"))
                .ok()
        });
        client.clone()
    }

    fn build(&self) -> Result<Client, Box<dyn std::error::Error>> {
        let client = egress(self.loopback)
            .guard(internals::http()?)
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            .user_agent(concat!("headwater/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(client)
    }

    /// Makes a call. Dropping the future aborts it.
    pub(in crate::subscriptions) fn call(
        &self,
        call: Call,
    ) -> impl Future<Output = Delivered> + Send + use<> {
        let client = self.client();
        async move {
            let Some(client) = client else {
                return Delivered::Failed;
            };
            let host = call.url.host_str().unwrap_or_default().to_owned();
            let answer = tokio::time::timeout(call.timeout, send(&client, call)).await;
            match answer {
                Ok(Ok(delivered)) => delivered,
                // The URL may contain a secret. The host doesn't.
                Ok(Err(error)) => {
                    let error = error.without_url();
                    tracing::warn!(
                        host,
                        error = &error as &dyn std::error::Error,
                        "a webhook failed"
                    );
                    Delivered::Failed
                }
                Err(_) => {
                    tracing::warn!(host, "a webhook took too long");
                    Delivered::Failed
                }
            }
        }
    }
}

async fn send(client: &Client, call: Call) -> Result<Delivered, reqwest::Error> {
    let request = client
        .post(call.url)
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-signature", call.signature)
        .body(call.body);
    let mut answer = request.send().await?;
    if !answer.status().is_success() {
        tracing::warn!(status = answer.status().as_u16(), "a webhook was refused");
        return Ok(Delivered::Failed);
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > WEBHOOK_ANSWER_BYTES {
            return Ok(Delivered::Accepted);
        }
        body.extend_from_slice(&chunk);
    }
    match serde_json::from_slice(without_bom(&body)) {
        Ok(HookAnswer { done: true }) => Ok(Delivered::Done),
        _ => Ok(Delivered::Accepted),
    }
}
