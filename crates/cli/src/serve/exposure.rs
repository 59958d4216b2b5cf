//! To whom the hub is open.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    path::Path,
};

use super::auth::Required;
use crate::{exit::Failure, keys};

/// Describes to whom the hub is open, as the end of a sentence.
///
/// # Errors
/// The hub requires no credentials, and other machines may reach its address, although its operator
/// didn't open it; or the address can't be resolved.
pub(super) fn describe(
    listen: &str,
    required: Option<&Required>,
    is_opened: bool,
    data: &Path,
) -> Result<String, Failure> {
    if let Some(required) = required {
        return Ok(required.to_string());
    }
    if listen.starts_with("unix:") {
        return Ok("is open to every client that may use the socket".to_owned());
    }
    if is_local(listen)? {
        return Ok("is open to every client on this machine".to_owned());
    }
    if is_opened {
        return Ok("is open to every client (--open)".to_owned());
    }
    let (place, hub) = match keys::file_in(data) {
        Some(_) => (format!("--data {}", data.display()), ""),
        None => (
            "--keys FILE".to_owned(),
            ", and --keys FILE names its file here, as there is no data folder",
        ),
    };
    Err(Failure::other(format!(
        "other machines may reach {listen}, and the hub requires no credentials. Either require keys or tokens: `headwater keys \
         create --name NAME --allow GRANT {place}` makes the first key{hub}; --jwt-secret-file accepts tokens. Or open the hub to \
         every client: --open, or `open = true` in the file"
    )))
}

/// Returns `true` if only this machine can connect to the address.
fn is_local(listen: &str) -> Result<bool, Failure> {
    let is_loopback = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.to_canonical().is_loopback(),
    };
    let addresses = listen
        .to_socket_addrs()
        .map_err(|error| Failure::other(format!("can't listen on {listen}: {error}")))?;
    let addresses: Vec<_> = addresses.collect();
    Ok(!addresses.is_empty() && addresses.into_iter().all(is_loopback))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_other_machines_reach_needs_credentials_or_to_be_opened() {
        let describe = |listen: &str, is_opened| {
            let described = describe(listen, None, is_opened, Path::new("d"));
            described.map_err(|failure| format!("{failure:?}"))
        };
        for listen in [
            "127.0.0.1:0",
            "127.8.0.1:8000",
            "[::1]:8000",
            "[::ffff:127.0.0.1]:8000",
            "localhost:8000",
        ] {
            let described = describe(listen, false).unwrap();
            assert!(described.ends_with("on this machine"), "{listen}");
        }
        let described = describe("unix:/run/a.sock", false).unwrap();
        assert!(described.ends_with("the socket"));
        for listen in ["localhost", "127.0.0.1", ":8000x"] {
            let error = describe(listen, false).unwrap_err();
            assert!(error.contains("can't listen on"), "{error}");
        }
        for listen in [
            "0.0.0.0:8000",
            "[::]:8000",
            "192.0.2.1:80",
            "[2001:db8::1]:80",
        ] {
            let error = describe(listen, false).unwrap_err();
            for part in [listen, "keys create", "--data d", "--open"] {
                assert!(error.contains(part), "{error}");
            }
            let described = describe(listen, true).unwrap();
            assert!(described.ends_with("(--open)"), "{listen}");
        }
        for data in ["memory", "nats://a,b"] {
            let refused = super::describe("0.0.0.0:8000", None, false, Path::new(data));
            let error = format!("{:?}", refused.unwrap_err());
            for part in [
                "keys create",
                "GRANT --keys FILE",
                "--keys FILE names its file here",
            ] {
                assert!(error.contains(part), "{error}");
            }
            assert!(!error.contains(data), "{error}");
        }
    }
}
