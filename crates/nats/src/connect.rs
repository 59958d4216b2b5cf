//! Connections to the servers, with their credentials and TLS.

use std::path::Path;
use std::time::Duration;

use async_nats::{Client, ConnectOptions};

use crate::leader::Choice;
use crate::limits::{ACK_TIMEOUT, CONNECT_TIMEOUT, LIVE_RECORDS, RECONNECT_PAUSE};
use crate::open_error::Why;
use crate::options::{NatsOptions, Tls};
use crate::servers::{shown, split, with_user};

/// Connects to the account of the log.
pub(crate) async fn client(options: &NatsOptions, choice: &Choice) -> Result<Client, Why> {
    let mut connect = ConnectOptions::new()
        .name("headwater")
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(Duration::from_secs(2))
        .request_timeout(Some(ACK_TIMEOUT))
        .subscription_capacity(LIVE_RECORDS)
        .reconnect_delay_callback(|attempts| {
            let pause = Duration::from_millis(20) * u32::try_from(attempts.min(50)).unwrap_or(50);
            pause.min(RECONNECT_PAUSE)
        });
    if let Some(file) = &options.credentials.file {
        connect = with_file(connect, file).await?;
    }
    if let Some(file) = &options.credentials.nkey {
        let seed = tokio::fs::read_to_string(file).await;
        let seed = seed.map_err(|cause| unusable(file, cause))?;
        connect = connect.nkey(seed.trim().to_owned());
    }
    if let Some(token) = &options.credentials.token {
        connect = connect.token(token.clone());
    }
    let connect = choice.of(with_tls(connect, &options.tls));
    let connected = with_user(connect, &options.servers)
        .connect(options.servers.clone())
        .await;
    connected.map_err(|error| Why::Connect {
        servers: shown(&options.servers),
        cause: error.into(),
    })
}

/// Connects to the system account.
pub(crate) async fn system_client(options: &NatsOptions) -> Result<Client, Why> {
    let servers = match (&options.system, &options.system_credentials) {
        (Some(urls), _) => split(urls),
        (None, Some(_)) => options.servers.clone(),
        (None, None) => return Err(Why::SyncUnknown),
    };
    let connect = ConnectOptions::new().connection_timeout(CONNECT_TIMEOUT);
    let connect = with_tls(connect, &options.tls);
    let connect = match &options.system_credentials {
        Some(file) => with_file(connect, file).await?,
        None => with_user(connect, &servers),
    };
    let connected = connect.connect(servers).await;
    connected.map_err(|error| Why::System {
        what: error.to_string(),
    })
}

async fn with_file(connect: ConnectOptions, file: &Path) -> Result<ConnectOptions, Why> {
    let connect = connect.credentials_file(file).await;
    connect.map_err(|cause| unusable(file, cause))
}

fn unusable(file: &Path, cause: std::io::Error) -> Why {
    let what = file.display().to_string();
    Why::Credentials { what, cause }
}

fn with_tls(mut connect: ConnectOptions, tls: &Tls) -> ConnectOptions {
    if tls.required {
        connect = connect.require_tls(true);
    }
    if let Some(ca) = &tls.ca {
        connect = connect.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = &tls.identity {
        connect = connect.add_client_certificate(certificate.clone(), key.clone());
    }
    connect
}
