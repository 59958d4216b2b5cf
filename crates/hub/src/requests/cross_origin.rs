//! Access control for web pages: classifies the page behind a request by its headers and [`Cors`].

use headwater::{Hosts, Problem, StatusCode};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::Authority};

use crate::{
    options::{Cors, Options},
    protocol::public_url,
};

/// The relation between the page's origin and the request's, as the browser reports it (W3C Fetch
/// Metadata §2.3). Scripts can't set it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The `code` of a refusal because of the page that makes the request.
pub(crate) const FOREIGN_PAGE: &str = "foreign_page";

/// The page that makes a request, as reported by its browser.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// No page: the request is from a program, or from a user who follows a link.
    None,
    /// A page of the hub's own origin.
    Own,
    /// A page that the options allow. The value is its `Origin`, if it has one.
    Allowed(Option<HeaderValue>),
    /// Any other page.
    Foreign,
}

impl Page {
    /// Classifies a request. `uri` is the request's target, which takes precedence over its `Host`.
    pub(crate) fn of(options: &Options, uri: &Uri, headers: &HeaderMap) -> Self {
        Self::under(&options.cors, options, uri, headers)
    }

    /// Returns `true` for a page of the hub's own origin, or of one that the options list by its name. Its
    /// user's cookie authorizes changes. [`Cors::Any`] and [`Cors::Loopback`] name no page, so they trust none.
    pub(crate) fn is_trusted(options: &Options, uri: &Uri, headers: &HeaderMap) -> bool {
        let listed = match &options.cors {
            Cors::Only(_) => &options.cors,
            Cors::Any | Cors::Loopback | Cors::Off => &Cors::Off,
        };
        let page = Self::under(listed, options, uri, headers);
        matches!(page, Self::Own | Self::Allowed(_))
    }

    fn under(cors: &Cors, options: &Options, uri: &Uri, headers: &HeaderMap) -> Self {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        match (origins.next(), origins.next()) {
            (None, _) => match site {
                None | Some(b"none") => Self::None,
                Some(b"same-origin") => Self::Own,
                Some(_) if *cors == Cors::Any => Self::Allowed(None),
                Some(_) => Self::Foreign,
            },
            (Some(origin), None) if cors.allows(origin) => Self::Allowed(Some(origin.clone())),
            // A browser that reports the relation is right even behind a proxy that sends another
            // host name.
            (Some(origin), None) => match site {
                Some(b"same-origin") => Self::Own,
                None | Some(b"none") if is_own(options, uri, headers, origin) => Self::Own,
                _ => Self::Foreign,
            },
            (Some(_), Some(_)) if *cors == Cors::Any => Self::Allowed(None),
            (Some(_), Some(_)) => Self::Foreign,
        }
    }

    /// Checks the request's method: a page that isn't allowed can't change anything.
    ///
    /// # Errors
    /// 403 for a foreign page's request with an unsafe method.
    pub(crate) fn may(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        match self {
            Self::Foreign if !is_safe => Err(refusal(headers)),
            _ => Ok(()),
        }
    }
}

/// Returns the response for a page that isn't allowed. It names the settings that would allow it.
pub(crate) fn refusal(headers: &HeaderMap) -> Problem {
    let origin = headers.get(header::ORIGIN).map(HeaderValue::to_str);
    let page = match origin {
        Some(Ok(origin)) => format!("a page of the origin {origin:?}"),
        _ => "a page of another site".to_owned(),
    };
    let problem = Problem::new(StatusCode::FORBIDDEN).with("code", FOREIGN_PAGE);
    problem.detail(format!(
        "the request comes from {page}, which may not use this hub. If it may, list its origin: `headwater serve --cors`, `cors` in its \
         file, or `Options::cors` in code. Where it is the hub's own, behind a proxy that changes the Host, have the proxy send it \
         on, or set the public URL: `--public-url`"
    ))
}

impl Cors {
    /// Returns `true` if pages of this `Origin` are allowed.
    fn allows(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Off => false,
            Self::Any => true,
            Self::Loopback => PageOrigin::of(origin)
                .is_some_and(|origin| Hosts::loopback().contains(&origin.host)),
            Self::Only(origins) => {
                let one = PageOrigin::of(origin);
                origins.iter().any(|known| {
                    known.as_bytes() == origin.as_bytes()
                        || (one.is_some() && PageOrigin::parse(known) == one)
                })
            }
        }
    }

    /// Returns which pages may embed the hub's responses, as an image or a script, which doesn't
    /// require that [`allows`](Self::allows) permits them (Fetch §3.7,
    /// `Cross-Origin-Resource-Policy`).
    pub(crate) fn embedders(&self, uri: &Uri, headers: &HeaderMap) -> HeaderValue {
        let is_loopback = || {
            let host = public_url::authority(uri, headers);
            host.is_some_and(|host| Hosts::loopback().contains(host))
        };
        HeaderValue::from_static(match self {
            Self::Any => "cross-origin",
            // Other ports of the same host are the same site.
            Self::Loopback if is_loopback() => "same-site",
            Self::Loopback | Self::Only(_) | Self::Off => "same-origin",
        })
    }
}

/// The origin of a page (RFC 6454 §6.2) that was loaded by http or https, with its port.
#[derive(Debug, PartialEq, Eq)]
struct PageOrigin {
    scheme: &'static str,
    /// In lower case.
    host: String,
    port: u16,
}

impl PageOrigin {
    fn of(value: &HeaderValue) -> Option<Self> {
        Self::parse(value.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let (scheme, default) = match scheme {
            "http" => ("http", 80),
            "https" => ("https", 443),
            _ => return None,
        };
        Self::new(scheme, default, authority)
    }

    fn new(scheme: &'static str, default: u16, authority: &str) -> Option<Self> {
        let authority: Authority = authority.parse().ok()?;
        let host = authority.host();
        // Anything before the host is user information, which an origin never has.
        let port = match authority.as_str().strip_prefix(host)? {
            "" | ":" => default,
            port => port.strip_prefix(':')?.parse().ok()?,
        };
        Some(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

/// Returns `true` if the page's origin is the one that the request was sent to. A proxy may
/// terminate TLS for the hub, so the scheme is taken from the page.
fn is_own(options: &Options, uri: &Uri, headers: &HeaderMap, origin: &HeaderValue) -> bool {
    let Some(page) = PageOrigin::of(origin) else {
        return false;
    };
    let public = options.public_url.as_deref().and_then(PageOrigin::parse);
    if public.as_ref() == Some(&page) {
        return true;
    }
    let default = if page.scheme == "https" { 443 } else { 80 };
    let own = public_url::authority(uri, headers);
    own.and_then(|own| PageOrigin::new(page.scheme, default, own)) == Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "127.0.0.1:8000";

    fn page(cors: Cors, host: &str, headers: &[(&'static str, &str)]) -> Page {
        let mut map = HeaderMap::new();
        map.insert("host", host.parse().unwrap());
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let options = Options::new().cors(cors).public_url("https://hub.example");
        Page::of(&options, &Uri::from_static("/"), &map)
    }

    fn of_origin(cors: Cors, origin: &str) -> Page {
        page(cors, HUB, &[("origin", origin)])
    }

    fn allowed(origin: &str) -> Page {
        Page::Allowed(Some(origin.parse().unwrap()))
    }

    #[test]
    fn only_pages_of_this_machine_are_allowed_by_default() {
        for good in [
            "http://localhost",
            "http://localhost:5173",
            "https://localhost:8443",
            "http://app.localhost:1",
            "http://LOCALHOST:1",
            "http://127.0.0.1:8001",
            "http://127.9.9.9",
            "http://[::1]:3000",
            "http://localhost.:1",
            "http://localhost:",
        ] {
            assert_eq!(of_origin(Cors::Loopback, good), allowed(good), "{good}");
        }
        for bad in [
            "null",
            "",
            "localhost",
            "//localhost",
            "http:localhost",
            "http://",
            "http://localhost.evil.com",
            "http://127.0.0.1.evil.com",
            "http://evil-localhost",
            "http://evil.com@localhost",
            "http://localhost@evil.com",
            "http://localhost:80@evil.com",
            "http://user:pass@localhost",
            "http://0x7f.1",
            "http://2130706433",
            "http://[::ffff:127.0.0.1]",
            "http://localhost:65536",
            "http://localhost:x",
            "http://localhost/",
            "http://localhost/http://a",
            "http://localhost http://evil.com",
            "http://evil.com http://localhost",
            "http://evil.com",
            "http://evil.com:8000",
            "ftp://localhost",
            "file://localhost",
            "tauri://localhost",
            "chrome-extension://localhost",
            "HTTP://localhost",
            "http://192.168.0.1",
        ] {
            assert_eq!(of_origin(Cors::Loopback, bad), Page::Foreign, "{bad}");
        }
    }

    #[test]
    fn a_page_of_the_hubs_own_origin_is_own_with_any_options() {
        let own = |host, origin| page(Cors::Off, host, &[("origin", origin)]) == Page::Own;
        assert!(own(HUB, "http://127.0.0.1:8000"));
        assert!(own("a.example", "http://a.example"));
        assert!(own("A.example", "https://a.example"));
        assert!(own("a.example:443", "https://a.example"));
        assert!(own("[::1]:1", "http://[::1]:1"));
        assert!(own("elsewhere:1", "https://hub.example"), "its public URL");
        assert!(!own("elsewhere:1", "http://hub.example"));
        assert!(!own(HUB, "http://127.0.0.1:8001"));
        assert!(!own(HUB, "http://127.0.0.1"));
        assert!(!own(HUB, "http://localhost:8000"));
        assert!(!own("a.example", "https://a.example:444"));
        assert!(!own("a.example", "https://b.a.example"));
        assert!(!own("u@a.example", "https://a.example"));
        assert!(!own("null", "null"));
    }

    #[test]
    fn a_request_without_an_origin_is_classified_by_sec_fetch_site() {
        let of_site = |cors, site| page(cors, HUB, &[("sec-fetch-site", site)]);
        assert_eq!(page(Cors::Loopback, HUB, &[]), Page::None);
        assert_eq!(of_site(Cors::Loopback, "none"), Page::None);
        assert_eq!(of_site(Cors::Off, "same-origin"), Page::Own);
        for site in [
            "cross-site",
            "same-site",
            "",
            "Same-Origin",
            "same-origin, none",
        ] {
            assert_eq!(of_site(Cors::Loopback, site), Page::Foreign, "{site}");
            assert_eq!(of_site(Cors::Any, site), Page::Allowed(None), "{site}");
        }
    }

    #[test]
    fn sec_fetch_site_takes_precedence_over_the_host_name() {
        let check =
            |cors, origin, site| page(cors, HUB, &[("origin", origin), ("sec-fetch-site", site)]);
        let own = "http://127.0.0.1:8000";
        assert_eq!(check(Cors::Off, own, "cross-site"), Page::Foreign);
        assert_eq!(check(Cors::Off, own, "same-site"), Page::Foreign);
        assert_eq!(check(Cors::Off, own, "same-origin"), Page::Own);
        assert_eq!(
            check(Cors::Off, "https://proxied.example", "same-origin"),
            Page::Own
        );
        let other = "http://localhost:5173";
        assert_eq!(check(Cors::Loopback, other, "cross-site"), allowed(other));
        assert_eq!(check(Cors::Loopback, other, "same-site"), allowed(other));
        assert_eq!(check(Cors::Off, other, "same-site"), Page::Foreign);
    }

    #[test]
    fn listed_origins_are_compared_in_normal_form_and_any_allows_all() {
        let only = || Cors::Only(vec!["https://A.example:443".to_owned()]);
        assert_eq!(
            of_origin(only(), "https://a.example"),
            allowed("https://a.example")
        );
        for bad in [
            "http://a.example",
            "https://a.example:444",
            "null",
            "http://localhost:1",
        ] {
            assert_eq!(of_origin(only(), bad), Page::Foreign, "{bad}");
        }
        assert_eq!(of_origin(Cors::Any, "null"), allowed("null"));
        assert_eq!(of_origin(Cors::Off, "null"), Page::Foreign);
        let two = [
            ("origin", "http://localhost:1"),
            ("origin", "http://evil.com"),
        ];
        assert_eq!(page(Cors::Loopback, HUB, &two), Page::Foreign);
        assert_eq!(page(Cors::Any, HUB, &two), Page::Allowed(None));
    }

    #[test]
    fn only_own_and_listed_pages_are_trusted_with_a_cookie() {
        let trusted = |cors, headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            map.insert("host", HUB.parse().unwrap());
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            Page::is_trusted(&Options::new().cors(cors), &Uri::from_static("/"), &map)
        };
        let only = || Cors::Only(vec!["https://a.example".to_owned()]);
        for cors in [Cors::Any, Cors::Loopback, Cors::Off, only()] {
            let is_only = cors == only();
            for (headers, expected) in [
                (&[("origin", "http://127.0.0.1:8000")][..], true),
                (&[("sec-fetch-site", "same-origin")], true),
                (&[("origin", "https://a.example")], is_only),
                (&[("origin", "http://localhost:5173")], false),
                (&[("origin", "http://127.0.0.1:8001")], false),
                (&[("sec-fetch-site", "same-site")], false),
                (&[("origin", "null")], false),
                (&[], false),
            ] {
                let is_trusted = trusted(cors.clone(), headers);
                assert_eq!(is_trusted, expected, "{cors:?} {headers:?}");
            }
        }
    }

    #[test]
    fn a_foreign_page_may_only_use_safe_methods() {
        let may = |page: &Page, method| page.may(&method, &HeaderMap::new()).is_ok();
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(!may(&Page::Foreign, method.clone()), "{method}");
            for page in [Page::None, Page::Own, Page::Allowed(None)] {
                assert!(may(&page, method.clone()), "{method} {page:?}");
            }
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(may(&Page::Foreign, method));
        }
    }
}
