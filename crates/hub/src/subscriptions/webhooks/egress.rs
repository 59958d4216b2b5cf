//! URLs that the hub calls. They can't reach services that only the hub's own network can.

use headwater_client::Egress;
use reqwest::Url;

/// Maximum size of a webhook's URL, in bytes.
const URL_BYTES: usize = 2048;

/// `true` if this build can call https URLs.
const HTTPS: bool = cfg!(feature = "tls");

/// Returns the egress rules of webhooks: public hosts by https, and with `loopback` also this
/// machine by http.
pub(super) fn egress(loopback: bool) -> Egress {
    let public = Egress::public_https();
    match loopback {
        true => public.with_this_machine(),
        false => public,
    }
}

/// Checks a webhook's URL against its [`egress`] rules. `loopback`: this machine is allowed too.
/// The error describes the reason.
///
/// A host name may resolve to other addresses later. They are checked at each call.
pub(in crate::subscriptions) fn check(url: &str, loopback: bool) -> Result<Url, &'static str> {
    if url.len() > URL_BYTES {
        return Err("the webhook's URL is too long");
    }
    let url = Url::parse(url).map_err(|_| "the webhook's URL is invalid")?;
    match egress(loopback).check(&url) {
        Ok(()) if url.scheme() == "https" && !HTTPS => {
            Err("this hub is built without https, so it can't call the webhook")
        }
        Ok(()) => Ok(url),
        Err(refused) if refused.is_user_info() => {
            Err("the webhook's URL can't have a user name or password in it")
        }
        Err(refused) if refused.is_this_machine() => {
            Err("webhooks on this machine are not allowed here")
        }
        Err(refused) if refused.is_scheme() => Err("the webhook's URL must be https"),
        Err(_) => Err("the webhook's URL must be at a public address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_urls_of_public_hosts_are_allowed() {
        for good in [
            "https://worker.example/hooks",
            "https://1.1.1.1:8443/x",
            "https://[2606:4700::1]/",
        ] {
            assert_eq!(check(good, false).is_ok(), HTTPS, "{good}");
        }
        for bad in [
            "http://worker.example/",
            "ftp://worker.example/",
            "https://user@worker.example/",
            "https://:secret@worker.example/",
            "worker.example",
            "",
            "https://localhost/",
            "https://a.localhost./",
            "http://127.0.0.1/",
            "https://10.0.0.1/",
            "https://172.16.0.1/",
            "https://192.168.1.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://0/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://[2002:a00:1::]/",
            "https://[fe80::1]/",
            "https://[fc00::1]/",
            "https://[2001:db8::1]/",
            "https://[ff02::1]/",
        ] {
            assert!(check(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_is_only_allowed_with_loopback() {
        for local in [
            "http://localhost:9/x",
            "http://127.0.0.1:9",
            "http://127.0.0.9/",
            "http://[::1]:9/",
        ] {
            assert!(check(local, true).is_ok(), "{local}");
            assert!(check(local, false).is_err(), "{local}");
        }
        for bad in [
            "http://10.0.0.1/hook",
            "http://worker.example/",
            "https://192.168.1.1/",
            "http://0.0.0.0/",
        ] {
            assert!(check(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_length_of_a_url_is_limited() {
        let start = "https://worker.example/";
        let url = format!("{start}{}", "a".repeat(URL_BYTES - start.len()));
        assert_eq!(check(&url, false).is_ok(), HTTPS);
        assert!(check(&format!("{url}a"), false).is_err());
    }

    #[test]
    fn the_error_describes_the_problem_of_a_url() {
        for (url, wanted) in [
            ("worker.example", "the webhook's URL is invalid"),
            (
                "ftp://user@worker.example/",
                "the webhook's URL can't have a user name or password in it",
            ),
            (
                "http://localhost/",
                "webhooks on this machine are not allowed here",
            ),
            (
                "http://127.0.0.1/",
                "webhooks on this machine are not allowed here",
            ),
            ("http://worker.example/", "the webhook's URL must be https"),
            ("http://10.0.0.1/", "the webhook's URL must be https"),
            ("ftp://localhost/", "the webhook's URL must be https"),
            (
                "https://10.0.0.1/",
                "the webhook's URL must be at a public address",
            ),
        ] {
            assert_eq!(check(url, false).unwrap_err(), wanted, "{url}");
        }
    }
}
