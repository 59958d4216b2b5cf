//! The listener that redirects http to https.

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};

use crate::{Problem, RequestOrigin};

/// The port of a URL with https that names none.
const HTTPS_PORT: u16 = 443;

/// Creates the app that answers every request with the URL of https on `port`.
pub(super) fn app(port: u16) -> Router {
    Router::new().fallback(redirect).with_state(port)
}

async fn redirect(State(port): State<u16>, origin: RequestOrigin, uri: Uri) -> Response {
    let location = origin.host().and_then(|host| location(host, port, &uri));
    let Some(location) = location else {
        let problem = Problem::bad_request("this port only redirects to https, which needs a Host");
        return problem.into_response();
    };
    // 308 keeps the method and the body (RFC 9110 §15.4.9).
    let headers = [(header::LOCATION, location)];
    (StatusCode::PERMANENT_REDIRECT, headers).into_response()
}

/// Returns the URL of https for a valid host, whose own port is that of http.
fn location(host: &str, port: u16, uri: &Uri) -> Option<HeaderValue> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // The target of `OPTIONS *`.
    let path = if path.starts_with('/') { path } else { "/" };
    let location = match port {
        HTTPS_PORT => format!("https://{name}{path}"),
        port => format!("https://{name}:{port}{path}"),
    };
    location.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_has_the_same_host_and_target_and_the_port_of_https() {
        let check = |host, port, uri: &str, expected: &str| {
            let location = location(host, port, &uri.parse().unwrap()).unwrap();
            assert_eq!(location, expected);
        };
        check("a.example", 443, "/b?c=%20", "https://a.example/b?c=%20");
        check("a.example:80", 443, "/", "https://a.example/");
        check("a.example:8080", 8443, "/", "https://a.example:8443/");
        check("a.example:", 443, "/", "https://a.example/");
        check("[::1]", 443, "/", "https://[::1]/");
        check("[::1]:80", 8443, "/x", "https://[::1]:8443/x");
        check("a", 443, "http://a/x?y", "https://a/x?y");
        check("a", 443, "*", "https://a/");
        check("a", 443, "//evil.example/", "https://a//evil.example/");
    }
}
