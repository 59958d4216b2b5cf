//! Authorization by the app that embeds the hub.

use std::sync::atomic::{AtomicUsize, Ordering};

use headwater::Problem;
use headwater_auth::Identity;
use headwater_hub::Decision;
use http::{StatusCode, request::Parts};

use super::*;

/// Returns the user whom a header names, as an app's session would.
fn user(parts: &Parts) -> Option<&str> {
    parts.headers.get("x-user")?.to_str().ok()
}

fn of_application(user: &str, granted: &str, valid_for: Option<Duration>) -> Decision {
    let expires = valid_for.map(|time| SystemTime::now() + time);
    Decision::Identity(Identity::of_application(user, grants(granted), expires))
}

/// A hub in which a user may do everything with their own streams, and credentials decide otherwise.
fn users() -> Guarded {
    Guarded::with_options(|options| {
        options.authorize(async |parts, _, _| match user(&parts) {
            Some("banned") => Decision::Deny,
            Some(user) => of_application(user, &format!("all:users/{user}/**"), None),
            None => Decision::Pass,
        })
    })
}

fn of(hub: &Guarded, user: &str, method: Method, path: &str) -> TestRequest {
    hub.request(method, path).header("x-user", user)
}

#[tokio::test]
async fn listings_and_events_show_what_the_identity_is_granted() {
    let hub = users();
    hub.create(&["users/ann/1", "users/ben/1", "other"]).await;
    let list = of(&hub, "ann", Method::GET, "/streams").send().await;
    let list = list.json::<Value>().await;
    let streams = list["streams"].as_array().expect("there is a list");
    assert_eq!(streams.len(), 1, "{list}");
    assert_eq!(streams[0]["path"], "users/ann/1");
    let events = of(
        &hub,
        "ben",
        Method::GET,
        "/events?stream=**&live=false&offset=-1",
    );
    let events = events.header("accept", "application/x-ndjson").send().await;
    let text = events.text().await;
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("users/ben/1"), "{text}");
    let read = async |user: &str| {
        let get = of(&hub, user, Method::GET, "/streams/users/ann/1");
        code(get.send().await).await
    };
    assert_eq!(read("ann").await, "200");
    assert_eq!(read("ben").await, "not_granted");
    assert_eq!(read("banned").await, "not_granted");
}

#[tokio::test]
async fn a_request_that_is_passed_needs_credentials() {
    let hub = users();
    hub.create(&["a"]).await;
    let get = || hub.request(Method::GET, "/streams/a");
    assert_eq!(code(get().send().await).await, "token_missing");
    let get = hub.as_one(Method::GET, "/streams/a", "read:a");
    assert_eq!(get.send().await.status(), 200);
    // The app's decision precedes them.
    let get = hub.as_one(Method::GET, "/streams/a", "read:a");
    let banned = get.header("x-user", "banned").send().await;
    assert_eq!(code(banned).await, "not_granted");
}

#[tokio::test]
async fn a_hub_with_the_app_alone_accepts_nothing_else() {
    let options = Options::new().authorize(async |parts: Parts, action, stream| {
        match (user(&parts), action, stream) {
            (Some(_), Action::Publish | Action::Create, Some(stream)) if stream.as_str() == "a" => {
                Decision::Allow
            }
            (Some(_), Action::List, None) => Decision::Allow,
            (Some(_), ..) => Decision::Deny,
            (None, ..) => Decision::Pass,
        }
    });
    let server = Server::with(options);
    let send = async |request: TestRequest| {
        let request = request.header("x-user", "ann").header(JSON.0, JSON.1);
        code(request.body("[1]").send().await).await
    };
    assert_eq!(send(server.request(Method::PUT, "a")).await, "201");
    assert_eq!(send(server.request(Method::POST, "a")).await, "204");
    assert_eq!(send(server.request(Method::PUT, "b")).await, "not_granted");
    assert_eq!(send(server.get("a")).await, "not_granted");
    // It is allowed the action that it was asked for, and no other.
    let create = server.request(Method::POST, "a");
    let create = create.header("stream-create", "true");
    assert_eq!(send(create).await, "not_granted");
    let fork = server.request(Method::PUT, "a");
    let fork = fork.header("stream-forked-from", "b");
    assert_eq!(send(fork).await, "not_granted");
    let list = server.client.get("/streams").header("x-user", "ann");
    assert_eq!(list.send().await.status(), 200);

    let anonymous = server.get("a").send().await;
    assert_eq!(code(anonymous).await, "token_missing");
    let token = bearer(server.get("a"), &token("read:a", HOUR));
    assert_eq!(code(token.send().await).await, "token_malformed");
}

#[tokio::test]
async fn a_refusal_is_the_apps_problem() {
    let options = Options::new().authorize(async |parts: Parts, _, _| {
        Decision::Refuse(match user(&parts) {
            None => Problem::new(StatusCode::UNAUTHORIZED).with("code", "no_session"),
            Some(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("no database"),
        })
    });
    let server = Server::with(options);
    let response = server.get("a").send().await;
    assert_eq!(response.status(), 401);
    assert_eq!(header(&response, "www-authenticate"), "Bearer");
    assert_eq!(code(response).await, "no_session");
    let response = server.get("a").header("x-user", "ann").send().await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.json::<Value>().await["detail"], "no database");
}

#[tokio::test]
async fn the_app_is_asked_again_about_an_open_response_when_its_identity_expires() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    const EACH: Duration = Duration::from_millis(300);

    let options = Options::new().authorize(async |_, action, _| {
        if action != Action::Read {
            return Decision::Allow;
        }
        match ASKED.fetch_add(1, Ordering::Relaxed) {
            0..3 => of_application("ann", "read:a", Some(EACH)),
            _ => {
                Decision::Refuse(Problem::new(StatusCode::UNAUTHORIZED).with("code", "logged_out"))
            }
        }
    });
    let server = Server::with(options);
    server.put_json("a", "[1]").await;
    let start = std::time::Instant::now();
    let response = server.events("a").send().await;
    assert_eq!(response.status(), 200);
    let end = tokio::time::timeout(Duration::from_secs(10), response.into_body_text());
    let text = end.await.expect("it ends");
    assert!(text.contains("\"logged_out\""), "{text}");
    let took = start.elapsed();
    assert!(
        took >= 3 * EACH && took < 3 * EACH + Duration::from_secs(1),
        "{took:?}"
    );
}

#[tokio::test]
async fn an_app_that_does_not_answer_ends_an_open_response() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);

    let options = Options::new().authorize(async |_, action, _| {
        if action != Action::Read {
            return Decision::Allow;
        }
        if ASKED.fetch_add(1, Ordering::Relaxed) > 0 {
            std::future::pending::<()>().await;
        }
        of_application("ann", "read:a", Some(Duration::from_millis(200)))
    });
    let server = Server::with(options);
    server.put_json("a", "[1]").await;
    let response = server.events("a").send().await;
    let end = tokio::time::timeout(Duration::from_secs(2), response.into_body_text());
    assert!(end.await.expect("it ends").contains("\"token_expired\""));
}

#[tokio::test]
async fn a_ticket_has_the_identity_that_the_app_gave_when_it_was_issued() {
    let hub = users();
    hub.create(&["users/ann/1"]).await;
    let ticket = of(&hub, "ann", Method::POST, "/tickets").send().await;
    assert_eq!(ticket.status(), 200);
    let ticket = ticket.json::<Value>().await;
    let ticket = ticket["ticket"].as_str().expect("it is text");
    let path = format!("/streams/users/ann/1?ticket={ticket}");
    for status in [200, 401] {
        let get = hub.request(Method::GET, &path).send().await;
        assert_eq!(get.status(), status);
    }
    let refused = of(&hub, "banned", Method::POST, "/tickets").send().await;
    assert_eq!(code(refused).await, "not_granted");
}
