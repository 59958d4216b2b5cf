//! Clients with egress rules, over real sockets.

use std::{
    error::Error as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use headwater_client::{Egress, egress::Refused};

use crate::server::Server;

fn redirecting(to: String) -> Server {
    Server::start(move |call| call.respond_with("302 Found", &format!("location: {to}")))
}

/// Rules that allow only this server.
fn only(server: &Server) -> Egress {
    Egress::allow([server.url("/**")]).unwrap()
}

/// Makes every name resolve to these addresses, in turn.
fn standing_for(egress: Egress, turns: &'static [&'static [&'static str]]) -> Egress {
    let asked = Arc::new(AtomicUsize::new(0));
    egress.with_lookup(move |_| {
        let n = asked.fetch_add(1, Ordering::SeqCst).min(turns.len() - 1);
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
        std::future::ready(Ok(turns[n].iter().map(address).collect()))
    })
}

fn port(server: &Server) -> String {
    server.url("").rsplit(':').next().unwrap().to_owned()
}

fn refused(error: &headwater_client::Error) -> Refused {
    assert!(error.is_refused(), "{error}");
    let source = error.source().unwrap();
    source.downcast_ref::<Refused>().unwrap().clone()
}

twins! {
    fn an_allowed_url_is_reached_and_others_are_not_contacted() {
        let server = Server::answering("text/plain", "yes");
        let other = Server::answering("text/plain", "no");
        let client = client::Client::builder().egress(only(&server)).build().unwrap();
        assert_eq!(wait(client.get(server.url("/")).text()).unwrap(), "yes");
        let error = wait(client.get(other.url("/x?token=secret")).text()).unwrap_err();
        assert!(!refused(&error).is_address());
        assert_eq!(
            error.to_string(),
            format!(
                "GET {}: the client may not go there: `127.0.0.1` may not be reached at port {}: \
                 only at the ports that are listed",
                other.url("/x"), port(&other),
            )
        );
        assert!(wait(client.get(other.url("/")).stream::<u32>()).unwrap_err().is_refused());
        assert!(wait(client.stream(other.url("/s")).info()).unwrap_err().is_refused());
        assert!(other.requests().is_empty());
    }

    fn a_redirect_to_a_refused_url_is_not_followed() {
        let secret = Server::answering("text/plain", "secret");
        for to in [
            secret.url("/"),
            format!("http://2130706433:{}/", port(&secret)),
            format!("http://0x7f.1:{}/", port(&secret)),
            format!("http://localhost:{}/", port(&secret)),
            format!("http://[::ffff:127.0.0.1]:{}/", port(&secret)),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "http://me:pw@127.0.0.1/".to_owned(),
        ] {
            let server = redirecting(to.clone());
            let client = client::Client::builder().egress(only(&server)).build().unwrap();
            // More attempts change nothing: a refusal is final.
            let request = client.get(server.url("/")).retry_first_connect(true);
            refused(&wait(request.text()).unwrap_err());
            assert_eq!(server.requests().len(), 1, "{to}");
        }
        assert!(secret.requests().is_empty());
    }

    fn a_redirect_past_two_hops_is_checked_too() {
        let secret = Server::answering("text/plain", "secret");
        let second = redirecting(secret.url("/"));
        let first = redirecting(second.url("/"));
        let egress = Egress::allow([first.url("/"), second.url("/")]).unwrap();
        let client = client::Client::builder().egress(egress).build().unwrap();
        assert!(wait(client.get(first.url("/")).text()).unwrap_err().is_refused());
        assert_eq!(second.requests().len(), 1);
        assert!(secret.requests().is_empty());
    }

    fn a_redirect_to_an_allowed_url_is_followed_without_credentials() {
        let target = Server::answering("text/plain", "there");
        let server = redirecting(target.url("/there"));
        let egress = Egress::allow([server.url("/"), target.url("/")]).unwrap();
        let client = client::Client::builder().egress(egress).build().unwrap();
        let request = client.get(server.url("/")).bearer("secret").header("cookie", "a=secret");
        assert_eq!(wait(request.text()).unwrap(), "there");
        let seen = target.requests();
        assert_eq!(seen[0].header("authorization"), None);
        assert_eq!(seen[0].header("cookie"), None);
        let server = redirecting("/".to_owned());
        let client = client::Client::builder().egress(only(&server)).build().unwrap();
        let error = wait(client.get(server.url("/")).text()).unwrap_err();
        assert!(error.is_redirect() && error.to_string().ends_with("too many redirects"), "{error}");
        assert_eq!(server.requests().len(), 11);
    }

    fn a_name_that_rebinds_to_this_machine_reaches_nothing() {
        let server = Server::answering("text/plain", "secret");
        let url = format!("http://rebinds.test:{}/", port(&server));
        // Each lookup is checked, and the client connects to an address of the same lookup.
        let egress = standing_for(Egress::public(), &[&["127.0.0.1"], &["::1", "0.0.0.0"]]);
        let client = client::Client::builder().egress(egress).build().unwrap();
        for _ in 0..2 {
            assert!(refused(&wait(client.get(&url).text()).unwrap_err()).is_address());
        }
        assert!(server.requests().is_empty());
    }

    fn only_the_allowed_of_mixed_addresses_are_connected_to() {
        let server = Server::answering("text/plain", "here");
        let url = format!("http://mixed.test:{}/", port(&server));
        let egress = Egress::allow(["http://mixed.test:*", "127.0.0.0/8"]).unwrap();
        // The other addresses don't respond here: if they were tried first, this would end in a
        // timeout.
        let egress = standing_for(egress, &[&["10.0.0.1", "169.254.169.254", "fd00::1", "127.0.0.1"]]);
        let client = client::Client::builder().egress(egress).build().unwrap();
        assert_eq!(wait(client.get(&url).text()).unwrap(), "here");
        assert_eq!(server.requests()[0].header("host").unwrap(), url[7..url.len() - 1]);
    }

    fn a_name_that_does_not_resolve_is_not_a_refusal() {
        let egress = Egress::public().with_lookup(|_| {
            std::future::ready(Err(std::io::Error::other("no such name")))
        });
        let client = client::Client::builder().egress(egress).build().unwrap();
        let error = wait(client.get("http://missing.test/").text()).unwrap_err();
        assert!(error.is_connect() && !error.is_refused());
        assert!(error.to_string().ends_with("no such name"), "{error}");
    }
}

/// The environment belongs to the whole process, so this test is in one of its own.
#[test]
fn a_proxy_of_the_environment_is_not_used() {
    const ASKS: &str = "HEADWATER_TEST_ASKS";
    if let Ok(url) = std::env::var(ASKS) {
        let egress = Egress::allow([url.as_str()]).unwrap();
        let client = headwater_client::blocking::Client::builder().egress(egress);
        assert_eq!(client.build().unwrap().get(url).text().unwrap(), "direct");
        return;
    }
    let server = Server::answering("text/plain", "direct");
    let proxy = Server::answering("text/plain", "by a proxy");
    let asked = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["egress::a_proxy_of_the_environment_is_not_used", "--exact"])
        .env(ASKS, server.url("/"))
        .env("http_proxy", proxy.url("/"))
        .env("all_proxy", proxy.url("/"))
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    assert_eq!(server.requests().len(), 1);
    assert!(proxy.requests().is_empty());
}
