//! The table of tries: each action by each way to present credentials, with each fault of them.

use super::{credentials::ticket, *};

/// The place of a key or token in a request.
#[derive(Clone, Copy, Debug)]
enum Place {
    Header,
    /// The cookie, as a page of the hub's own sends it.
    Cookie,
}

impl Place {
    fn present(self, request: TestRequest, token: &str) -> TestRequest {
        match self {
            Self::Header => bearer(request, token),
            Self::Cookie => request
                .header("cookie", &format!("__Secure-headwater={token}"))
                .header("sec-fetch-site", "same-origin"),
        }
    }
}

/// Returns a request that takes an action, on the stream `in/a` if the action has one.
fn attempt(hub: &Guarded, action: Action, query: &str) -> TestRequest {
    let request = |method, path: &str| hub.request(method, &format!("{path}{query}"));
    let stream = |method| request(method, "/streams/in/a");
    match action {
        Action::Read => stream(Method::GET),
        Action::Publish => stream(Method::POST).header(JSON.0, JSON.1).body("[1]"),
        Action::Create => stream(Method::PUT).header(JSON.0, JSON.1),
        Action::Delete => stream(Method::DELETE),
        Action::List => request(Method::GET, "/streams"),
        Action::Subscribe => request(Method::GET, "/streams/__ds/subscriptions/none"),
        Action::Relay => request(Method::POST, "/relay"),
        Action::Gather => request(Method::POST, "/gather"),
        _ => request(Method::GET, "/"),
    }
}

/// Returns `true` for an action whose request is about one stream.
fn is_about_a_stream(action: Action) -> bool {
    matches!(
        action,
        Action::Read | Action::Publish | Action::Create | Action::Delete
    )
}

#[tokio::test]
async fn each_action_needs_valid_credentials_that_grant_it() {
    let now = SystemTime::now();
    for action in Action::ALL {
        let on = |pattern: &str| format!("{action}:{pattern}");
        let mut keys = Vec::new();
        let hub = Guarded::with("", |file| {
            let past = now - Duration::from_secs(10);
            for (name, expires) in [("good", None), ("revoked", None), ("expired", Some(past))] {
                let key = file.create(name, grants(&on("in/**")), expires, now - HOUR);
                keys.push(key.expect("the file can be written").token().to_owned());
            }
            file.revoke("revoked", now).expect("the key exists");
        });
        hub.create(&["in/a"]).await;
        let [good, revoked, expired] = &*keys else {
            panic!("three keys")
        };
        let right = token(&on("in/**"), HOUR);
        let late = Claims::new(now - Duration::from_secs(2)).audience(AUDIENCE);
        let late = mint(&SECRET, &late.grants(grants(&on("**"))));
        let elsewhere = Claims::new(now + HOUR).audience("other");
        let elsewhere = mint(&SECRET, &elsewhere.grants(grants(&on("**"))));
        let forged = mint(&[8; 32], &claims(&on("**"), HOUR));
        let (narrower, other) = (token(&on("in/b"), HOUR), token(&on("out/**"), HOUR));
        let others = token(&all_but(action), HOUR);
        let of_another_stream = match is_about_a_stream(action) {
            true => "not_granted",
            false => "",
        };
        let tries = [
            ("revoked key", &**revoked, "token_revoked"),
            ("expired key", expired, "token_expired"),
            ("expired token", &late, "token_expired"),
            ("wrong audience", &elsewhere, "token_wrong_audience"),
            ("wrong key", &forged, "token_bad_signature"),
            ("garbage", "garbage", "token_malformed"),
            ("unknown key", "hwk_x_y", "token_malformed"),
            ("narrower glob", &narrower, of_another_stream),
            ("other glob", &other, of_another_stream),
            ("other actions", &others, "not_granted"),
            ("key", good, ""),
            ("token", &right, ""),
        ];
        for place in [Place::Header, Place::Cookie] {
            for (name, token, expected) in tries {
                let request = place.present(attempt(&hub, action, ""), token);
                let response = request.send().await;
                let status = response.status().as_u16();
                let challenge = header(&response, "www-authenticate");
                let code = code(response).await;
                let place = format!("{action} with {name} in {place:?}: {status} {code}");
                match expected {
                    "" => assert!(!matches!(status, 401 | 403), "{place}"),
                    "not_granted" => {
                        assert_eq!((status, &*code), (403, expected), "{place}");
                        assert!(challenge.contains("insufficient_scope"), "{place}");
                    }
                    _ => {
                        assert_eq!((status, &*code), (401, expected), "{place}");
                        assert!(challenge.contains("error=\"invalid_token\""), "{place}");
                    }
                }
            }
        }
        let none = attempt(&hub, action, "").send().await;
        assert_eq!(header(&none, "www-authenticate"), "Bearer", "{action}");
        assert_eq!(code(none).await, "token_missing", "{action}");
    }
}

#[tokio::test]
async fn a_ticket_is_issued_for_valid_credentials_alone_and_only_reads() {
    let now = SystemTime::now();
    let mut keys = Vec::new();
    let hub = Guarded::with("", |file| {
        let past = now - Duration::from_secs(10);
        for (name, expires) in [("good", None), ("revoked", None), ("expired", Some(past))] {
            let key = file.create(name, grants("all:in/**"), expires, now - HOUR);
            keys.push(key.expect("the file can be written").token().to_owned());
        }
        file.revoke("revoked", now).expect("the key exists");
    });
    hub.create(&["in/a", "in/b"]).await;
    let late = Claims::new(now - Duration::from_secs(2)).audience(AUDIENCE);
    let elsewhere = Claims::new(now + HOUR).audience("other");
    for (token, expected) in [
        (&*keys[1], "token_revoked"),
        (&keys[2], "token_expired"),
        (&mint(&SECRET, &late), "token_expired"),
        (&mint(&SECRET, &elsewhere), "token_wrong_audience"),
        (
            &mint(&[8; 32], &claims("all:**", HOUR)),
            "token_bad_signature",
        ),
    ] {
        for place in [Place::Header, Place::Cookie] {
            let post = place.present(hub.request(Method::POST, "/tickets"), token);
            assert_eq!(code(post.send().await).await, expected, "{place:?}");
        }
    }
    for action in Action::ALL {
        let query = format!("?ticket={}", ticket(&hub, &keys[0]).await);
        let send = async || code(attempt(&hub, action, &query).send().await).await;
        if action == Action::Read {
            assert_eq!(send().await, "200");
            // It was used.
            assert_eq!(send().await, "token_expired");
        } else {
            assert_eq!(send().await, "token_missing", "{action}");
        }
    }
    let read = async |ticket: &str| {
        let query = format!("?ticket={ticket}");
        code(attempt(&hub, Action::Read, &query).send().await).await
    };
    for unknown in ["hwt_made-up", "garbage", ""] {
        assert_eq!(read(unknown).await, "token_expired");
        let query = format!("?ticket={unknown}");
        let response = attempt(&hub, Action::Read, &query).send().await;
        let told = response.text().await;
        assert!(
            told.contains("the ticket is unknown, was used, or has expired"),
            "{told}"
        );
    }
    let narrower = ticket(&hub, &token("read:in/b", HOUR)).await;
    assert_eq!(read(&narrower).await, "not_granted");
    let brief = ticket(&hub, &token("read:in/a", Duration::from_secs(2))).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(read(&brief).await, "token_expired");
}
