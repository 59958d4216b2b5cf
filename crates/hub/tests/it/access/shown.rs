//! Listings, `/events`, forks, and streams that other endpoints fill.

use super::*;

async fn listed(hub: &Guarded, query: &str, granted: &str) -> (Vec<String>, Option<String>) {
    let get = hub.as_one(Method::GET, &format!("/streams{query}"), granted);
    let page = get.send().await.json::<Value>().await;
    let streams = page["streams"].as_array().expect("there is a list");
    let paths = streams.iter().map(|stream| stream["path"].as_str());
    let paths = paths.map(|path| path.expect("it is text").to_owned());
    (paths.collect(), page["after"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn a_listing_shows_and_names_only_what_is_granted() {
    let hub = Guarded::new();
    hub.create(&["a/1", "a/2", "b/1", "b/2", "c/1"]).await;
    let (all, after) = listed(&hub, "", "list:a/**,c/1").await;
    assert_eq!((all.join(" "), after), ("a/1 a/2 c/1".to_owned(), None));
    let (first, after) = listed(&hub, "?limit=2", "list:a/**,c/1").await;
    assert_eq!(first, ["a/1", "a/2"]);
    assert_eq!(after.as_deref(), Some("a/2"));
    let (rest, after) = listed(&hub, "?limit=2&after=a/2", "list:a/**,c/1").await;
    assert_eq!((rest.join(" "), after), ("c/1".to_owned(), None));
    for limit in 1..6 {
        let mut query = format!("?limit={limit}");
        let mut found = Vec::new();
        while let (page, Some(after)) = listed(&hub, &query, "list:b/**").await {
            found.extend(page);
            assert!(after.starts_with("b/"), "{after}");
            query = format!("?limit={limit}&after={after}");
        }
        found.extend(listed(&hub, &query, "list:b/**").await.0);
        assert_eq!(found, ["b/1", "b/2"], "{limit}");
    }
    assert_eq!(listed(&hub, "?prefix=b", "list:a/**").await.0, [""; 0]);
}

#[tokio::test]
async fn a_listing_does_not_name_a_source_that_is_not_granted() {
    let hub = Guarded::new();
    hub.create(&["a"]).await;
    let fork = hub.as_one(Method::PUT, "/streams/b", "create:b;read:a");
    let fork = fork.header("stream-forked-from", "a").send().await;
    assert_eq!(fork.status(), 201);
    for (granted, source) in [("list:**", Value::from("a")), ("list:b", Value::Null)] {
        let get = hub.as_one(Method::GET, "/streams?prefix=b", granted);
        let page = get.send().await.json::<Value>().await;
        assert_eq!(page["streams"][0]["forked_from"], source, "{granted}");
    }
}

#[tokio::test]
async fn a_conflict_does_not_name_a_source_that_is_not_granted() {
    let hub = Guarded::new();
    hub.create(&["secret"]).await;
    let fork = hub.as_one(Method::PUT, "/streams/b", "create:b;read:secret");
    let fork = fork.header("stream-forked-from", "secret").send().await;
    assert_eq!(fork.status(), 201);
    let put = hub.as_one(Method::PUT, "/streams/b", "create:b");
    let put = put.header("content-type", "application/json").send().await;
    assert_eq!(put.status(), 409);
    let text = put.text().await;
    assert!(
        text.contains("Stream-Forked-From") && !text.contains("secret"),
        "{text}"
    );
}

/// Returns the messages of items of `/events`.
fn data(items: Vec<Value>) -> Vec<Value> {
    let data = items.into_iter().map(|mut item| item["data"].take());
    data.collect()
}

#[tokio::test]
async fn readers_of_the_same_patterns_get_only_their_own_streams() {
    let hub = Guarded::new();
    hub.create(&["a/1", "b/1"]).await;
    let follow = |granted: &str| {
        let get = hub.as_one(Method::GET, "/events?stream=**&offset=-1", granted);
        get.header("accept", "text/event-stream").stream::<Value>()
    };
    let (mut a, mut b) = (follow("read:a/**").await, follow("read:b/**").await);
    let mut both = follow("read:a/**,b/**").await;
    assert_eq!(data(a.take(1).await), ["a/1"]);
    assert_eq!(data(b.take(1).await), ["b/1"]);
    // Live, and of streams that didn't exist.
    hub.publish("b/1", "[\"live b\"]").await;
    hub.publish("a/1", "[\"live a\"]").await;
    hub.create(&["b/new", "a/new"]).await;
    assert_eq!(data(a.take(2).await), ["live a", "a/new"]);
    assert_eq!(data(b.take(2).await), ["live b", "b/new"]);
    let all = ["a/1", "b/1", "live b", "live a", "b/new", "a/new"];
    assert_eq!(data(both.take(6).await), all);
    // A pattern outside of the grants matches nothing.
    let get = hub.as_one(
        Method::GET,
        "/events?stream=b/**&live=false&offset=-1",
        "read:a/**",
    );
    let nothing = get.header("accept", "application/x-ndjson").send().await;
    assert_eq!(nothing.text().await, "");
}

#[tokio::test]
async fn a_fork_needs_read_on_its_source() {
    let hub = Guarded::new();
    hub.create(&["source"]).await;
    let fork = async |source: &str, granted: &str| {
        let put = hub.as_one(Method::PUT, "/streams/mine/1", granted);
        code(put.header("stream-forked-from", source).send().await).await
    };
    let may_create = "create,read:mine/**";
    for source in [
        "source",
        "/streams/source",
        "/streams/%73ource",
        "gone",
        "/streams/gone",
    ] {
        assert_eq!(fork(source, may_create).await, "not_granted", "{source}");
    }
    assert_eq!(
        fork("/streams/source", "create:mine/**;read:source").await,
        "201"
    );
}

#[tokio::test]
async fn creating_by_an_append_needs_both_actions() {
    let hub = Guarded::new();
    let post = async |granted: &str| {
        let post = hub.as_one(Method::POST, "/streams/a", granted);
        let post = post.header("stream-create", "true").header(JSON.0, JSON.1);
        code(post.body("[1]").send().await).await
    };
    assert_eq!(post("publish:a").await, "not_granted");
    assert_eq!(post("create:a").await, "not_granted");
    assert!(post("create,publish:a").await.starts_with("20"));
}

#[tokio::test]
async fn filling_a_stream_needs_create_and_publish_on_it() {
    let hub = Guarded::new();
    for (what, own) in [("relay", "relay:**"), ("gather", "gather:**")] {
        for (granted, expected) in [
            (own.to_owned(), "not_granted"),
            (format!("{own};create:x"), "not_granted"),
            (format!("{own};publish:x"), "not_granted"),
            (format!("{own};create,publish:y"), "not_granted"),
            (format!("{own};create,publish:x"), ""),
        ] {
            let request = match what {
                // Nothing listens at port 1.
                "relay" => hub
                    .as_one(Method::POST, "/relay?stream=x", &granted)
                    .header("upstream-url", "http://127.0.0.1:1/")
                    .header("upstream-method", "GET"),
                _ => hub
                    .as_one(Method::POST, "/gather?stream=x", &granted)
                    .header(JSON.0, JSON.1)
                    .body("[]"),
            };
            let response = request.send().await;
            let status = response.status().as_u16();
            match expected {
                "" => assert!(!matches!(status, 401 | 403), "{what} {granted}: {status}"),
                _ => assert_eq!(status, 403, "{what} {granted}"),
            }
        }
    }
    let other = hub.as_one(Method::POST, "/relay?stream=x", "relay:y;create,publish:x");
    let other = other.header("upstream-url", "http://127.0.0.1:1/");
    let other = other.header("upstream-method", "GET").send().await;
    assert_eq!(other.status(), 403);
}

#[tokio::test]
async fn a_public_relay_is_only_for_those_who_may_relay_to_its_stream() {
    let hub = Guarded::new();
    // 22 characters, and the name `x` in base64.
    let path = format!("/relay/{}.eA", "A".repeat(22));
    for method in [Method::GET, Method::DELETE] {
        let send = async |granted: &str| {
            let request = hub.as_one(method.clone(), &path, granted);
            request.send().await.status().as_u16()
        };
        assert_eq!(send("relay:y").await, 403, "{method}");
        assert_ne!(send("relay:x").await, 403, "{method}");
    }
    // A signature that is no signature.
    for query in [
        "signature=",
        "signature=x&expires=9999999999",
        "%73ignature=x",
    ] {
        let get = hub.request(Method::GET, &format!("{path}?{query}"));
        assert!(
            matches!(get.send().await.status().as_u16(), 401 | 403),
            "{query}"
        );
    }
}
