//! The URLs of servers, and the credentials in them.

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

/// Adds the user and password, or the token, of the first URL that has them.
pub(crate) fn with_user(connect: ConnectOptions, servers: &[String]) -> ConnectOptions {
    match servers.iter().find_map(|server| user_of(server)) {
        Some((user, Some(password))) => connect.user_and_password(user, password),
        Some((token, None)) => connect.token(token),
        None => connect,
    }
}

/// Returns the user and password of a URL. Without a password, it is a token. They are
/// percent-encoded there, as a `/` or `@` in them has to be.
fn user_of(server: &str) -> Option<(String, Option<String>)> {
    let address = server.parse::<ServerAddr>().ok()?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((
        decoded(address.username()?),
        address.password().map(decoded),
    ))
}

/// Returns the URLs of a list that is separated by commas. Those without a scheme have that of the first.
pub(crate) fn split(urls: &str) -> Vec<String> {
    let first = urls.split(',').next().unwrap_or_default();
    let scheme = first.split_once("://").map_or("nats", |(scheme, _)| scheme);
    let split = urls.split(',').map(|url| match url.contains("://") {
        true => url.to_owned(),
        false => format!("{scheme}://{url}"),
    });
    split.collect()
}

/// Returns the servers without the credentials in their URLs.
pub(crate) fn shown(servers: &[String]) -> String {
    let shown = servers.iter().map(|server| match server.rsplit_once('@') {
        Some((_, host)) => host,
        None => server,
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_urls_are_not_shown() {
        let servers = ["nats://user:p@ss@a:4222".to_owned(), "nats://b".to_owned()];
        assert_eq!(shown(&servers), "a:4222, nats://b");
    }

    #[test]
    fn a_list_of_urls_has_one_scheme() {
        assert_eq!(split("nats://s:p@a:1"), ["nats://s:p@a:1"]);
        assert_eq!(split("tls://s:p@a,b:2"), ["tls://s:p@a", "tls://b:2"]);
        assert_eq!(split("a,nats://b"), ["nats://a", "nats://b"]);
    }

    #[test]
    fn credentials_in_urls_are_percent_encoded() {
        let user = |server: &str| user_of(server);
        let both = |user: &str, password: &str| Some((user.to_owned(), Some(password.to_owned())));
        assert_eq!(user("nats://u:p@a"), both("u", "p"));
        assert_eq!(user("nats://u%40x:p%2Fq%25%3A@a:1"), both("u@x", "p/q%:"));
        assert_eq!(user("nats://a:4222"), None);
        let token = Some(("to/ken".to_owned(), None));
        assert_eq!(user("nats://to%2Fken@a"), token);
    }
}
