//! The addresses to which the names of hosts resolve.

use super::*;

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
    texts.iter().map(address).collect()
}

fn resolve(egress: Egress, name: &str, found: &[&str]) -> Result<Vec<IpAddr>, String> {
    let found = addresses(found);
    let egress = egress.with_lookup(move |_| std::future::ready(Ok(found.clone())));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let resolved = runtime.block_on(egress.resolve(name));
    let addresses = |found: Vec<SocketAddr>| found.iter().map(SocketAddr::ip).collect();
    resolved.map(addresses).map_err(|error| error.to_string())
}

#[test]
fn only_the_allowed_addresses_of_a_name_are_returned() {
    for (patterns, name, found, wanted) in [
        (
            &["https://*"][..],
            "a.test",
            &["1.1.1.1", "127.0.0.1", "::1", "10.0.0.1"][..],
            &["1.1.1.1"][..],
        ),
        (&["https://*"], "a.test", &["127.0.0.1"], &[]),
        (
            &["https://*"],
            "a.test",
            &["::ffff:127.0.0.1", "64:ff9b::7f00:1"],
            &[],
        ),
        (
            &["https://*"],
            "metadata.test",
            &["169.254.169.254", "fd00:ec2::254"],
            &[],
        ),
        (
            &["https://a.test", "10.1.0.0/16"],
            "a.test",
            &["10.1.0.1", "10.2.0.1"],
            &["10.1.0.1"],
        ),
        (
            &["https://a.test", "::1/128"],
            "a.test.",
            &["::1", "127.0.0.1"],
            &["::1"],
        ),
        (&["https://a.test"], "b.test", &["1.1.1.1"], &[]),
        (&["https://*.test"], "b.test", &["1.1.1.1"], &["1.1.1.1"]),
        // An address in a pattern is listed as a host, and not as an address to which names may
        // resolve.
        (
            &["https://a.test", "http://127.0.0.1:9000"],
            "a.test",
            &["127.0.0.1"],
            &[],
        ),
        // A name of this machine is this machine, regardless of the name server.
        (
            &["http://localhost"],
            "localhost",
            &["127.0.0.1", "::1", "1.1.1.1"],
            &["127.0.0.1", "::1"],
        ),
        (
            &["http://localhost", "10.0.0.0/8"],
            "localhost",
            &["10.0.0.1"],
            &[],
        ),
        (
            &["http://*:*", "127.0.0.0/8"],
            "localhost",
            &["127.0.0.1"],
            &[],
        ),
        // A name that another parser reads as an address.
        (
            &["http://127.0.0.1:9000"],
            "2130706433",
            &["127.0.0.1"],
            &[],
        ),
    ] {
        let found = resolve(allow(patterns), name, found).unwrap_or_default();
        let wanted: Vec<IpAddr> = wanted.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(found, wanted, "{patterns:?} {name}");
    }
    assert_eq!(
        resolve(Egress::public(), "a.test", &["10.0.0.1"]).unwrap_err(),
        "`a.test` may not be reached: none of its addresses is public or in a network that is listed"
    );
}

#[tokio::test]
async fn a_name_that_rebinds_to_this_machine_is_refused() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let egress = Egress::public().with_lookup(move |_| {
        let n = counted.fetch_add(1, Ordering::SeqCst);
        let found = addresses(if n == 0 { &["1.1.1.1"] } else { &["127.0.0.1"] });
        std::future::ready(Ok(found))
    });
    assert_eq!(
        egress.resolve("rebinds.test").await.unwrap(),
        addresses(&["1.1.1.1"])
    );
    let refused = egress.resolve("rebinds.test").await.unwrap_err();
    assert!(refused.downcast_ref::<Refused>().unwrap().is_address());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn localhost_is_resolved_only_if_it_is_listed() {
    assert!(Egress::public().resolve("localhost").await.is_err());
    let local = allow(&["http://localhost"])
        .resolve("localhost")
        .await
        .unwrap();
    assert!(!local.is_empty() && local.iter().all(|address| address.ip().is_loopback()));
}
