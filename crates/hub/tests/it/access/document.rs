//! Every endpoint of the document is guarded.

use headwater::Problem;
use headwater_hub::Decision;
use http::StatusCode;

use super::*;

/// Operations that need no credentials of the hub.
const OPEN: [(&str, &str); 7] = [
    ("get", "/healthz"),
    ("get", "/readyz"),
    // The signature of its URL.
    ("patch", "/relay/{id}"),
    // The public keys of webhooks.
    ("get", "/streams/__ds/jwks.json"),
    // The token of a wake.
    ("post", "/streams/__ds/subscriptions/{id}/ack"),
    ("post", "/streams/__ds/subscriptions/{id}/callback"),
    ("post", "/streams/__ds/subscriptions/{id}/release"),
];

struct Operation {
    method: Method,
    path: String,
    /// The action that it needs. `None` if credentials are enough.
    action: Option<Action>,
}

/// Returns the guarded operations of a hub's document. All others have to be [`OPEN`].
async fn guarded_operations(hub: &Guarded) -> Vec<Operation> {
    let document = hub.request(Method::GET, "/openapi.json").send().await;
    let document = document.json::<Value>().await;
    let mut guarded = Vec::new();
    let mut open = Vec::new();
    for (path, item) in document["paths"].as_object().expect("there are paths") {
        let methods = ["get", "head", "put", "post", "patch", "delete"];
        for (method, operation) in methods.map(|name| (name, &item[name])) {
            if operation.is_null() {
                continue;
            }
            let schemes = operation["security"].as_array();
            let scopes = schemes
                .into_iter()
                .flatten()
                .find_map(|scheme| scheme["bearer"].as_array());
            let Some(scopes) = scopes else {
                open.push((method.to_owned(), path.clone()));
                continue;
            };
            assert!(scopes.len() <= 1, "{method} {path}: {scopes:?}");
            let action = scopes.first().map(|scope| {
                let scope = scope.as_str().expect("it is text");
                scope.parse().expect("it is an action")
            });
            guarded.push(Operation {
                method: method.to_uppercase().parse().expect("it is a method"),
                path: path.replace("{path}", "some/stream").replace("{id}", "one"),
                action,
            });
        }
    }
    open.sort();
    let mut expected = OPEN.map(|(method, path)| (method.to_owned(), path.to_owned()));
    expected.sort();
    assert_eq!(open, expected, "without a guard");
    guarded
}

#[tokio::test]
async fn every_operation_is_guarded_or_in_the_list_of_the_open_ones() {
    let hub = Guarded::new();
    let operations = guarded_operations(&hub).await;
    assert!(operations.len() > 15, "{}", operations.len());
    for Operation {
        method,
        path,
        action,
    } in operations
    {
        let place = format!("{method} {path}");
        let response = hub.request(method.clone(), &path).send().await;
        assert_eq!(response.status(), 401, "{place}");
        assert_eq!(header(&response, "www-authenticate"), "Bearer", "{place}");
        if method != Method::HEAD {
            assert_eq!(code(response).await, "token_missing", "{place}");
        }
        let Some(action) = action else { continue };
        let request = hub.as_one(method.clone(), &path, &all_but(action));
        let response = request.send().await;
        assert_eq!(response.status(), 403, "{place}");
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{action}\"");
        assert_eq!(header(&response, "www-authenticate"), challenge, "{place}");
        if method != Method::HEAD {
            let problem = response.json::<Value>().await;
            assert_eq!(problem["code"], "not_granted", "{place}");
            assert_eq!(problem["action"], action.name(), "{place}");
        }
        let only = format!("{action}:**");
        let response = hub.as_one(method, &path, &only).send().await;
        assert!(!matches!(response.status().as_u16(), 401 | 403), "{place}");
    }
}

#[tokio::test]
async fn every_guarded_operation_asks_the_app() {
    let denies = Guarded::with_options(|options| options.authorize(async |_, _, _| Decision::Deny));
    let refuses = Guarded::with_options(|options| {
        options.authorize(async |_, _, _| {
            Decision::Refuse(Problem::new(StatusCode::UNAUTHORIZED).with("code", "no_session"))
        })
    });
    let operations = guarded_operations(&denies).await;
    assert!(operations.len() > 15, "{}", operations.len());
    for Operation {
        method,
        path,
        action,
    } in operations
    {
        let place = format!("{method} {path}");
        // Whatever its credentials are.
        let request = denies.as_one(method.clone(), &path, "all:**");
        let response = request.send().await;
        assert_eq!(response.status(), 403, "{place}");
        if method != Method::HEAD {
            let problem = response.json::<Value>().await;
            let action = action.unwrap_or(Action::Read);
            assert_eq!(problem["code"], "not_granted", "{place}");
            assert_eq!(problem["action"], action.name(), "{place}");
        }
        let request = refuses.as_one(method.clone(), &path, "all:**");
        let response = request.send().await;
        assert_eq!(response.status(), 401, "{place}");
        assert_eq!(header(&response, "www-authenticate"), "Bearer", "{place}");
    }
}

#[tokio::test]
async fn the_documents_and_the_health_checks_are_public() {
    let hub = Guarded::new();
    for path in ["/healthz", "/readyz", "/openapi.json", "/docs"] {
        let response = hub.request(Method::GET, path).send().await;
        assert_eq!(response.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn the_limit_of_tickets_is_documented() {
    let document = Guarded::new().request(Method::GET, "/openapi.json").send();
    let document = document.await.json::<Value>().await;
    let refusal = &document["paths"]["/tickets"]["post"]["responses"]["429"];
    assert!(refusal["headers"]["Retry-After"].is_object(), "{refusal}");
}

#[tokio::test]
async fn every_401_is_documented_with_its_challenge_and_every_405_as_a_problem() {
    let secret = Options::new().relay_secret("s");
    let documents = [
        Guarded::new().request(Method::GET, "/openapi.json"),
        Server::with(secret).client.get("/openapi.json"),
    ];
    for (at, document) in documents.into_iter().enumerate() {
        let document = document.send().await.json::<Value>().await;
        let mut count = 0;
        for (path, item) in document["paths"].as_object().expect("there are paths") {
            for (method, operation) in item.as_object().expect("it has methods") {
                let responses = &operation["responses"];
                let other = &responses["default"]["content"]["application/problem+json"];
                assert!(other.is_object(), "{method} {path}");
                if let Some(refusal) = responses.get("401") {
                    count += 1;
                    let challenge = &refusal["headers"]["WWW-Authenticate"];
                    assert!(challenge.is_object(), "{method} {path}");
                }
            }
        }
        assert!(count >= [20, 5][at], "{count}");
    }
}

#[tokio::test]
async fn a_401_has_a_challenge_whatever_refuses_the_request() {
    let hub = Guarded::new();
    for (method, path) in [
        (Method::GET, "/streams/a"),
        (Method::POST, "/streams/__ds/subscriptions/one/ack"),
        (Method::PATCH, "/relay/one"),
    ] {
        if path.starts_with("/relay") && !cfg!(feature = "relay") {
            continue;
        }
        let request = hub.request(method, path).header(JSON.0, JSON.1);
        let body = r#"{"wake_id":"w","generation":1}"#;
        let response = request.body(body).send().await;
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(header(&response, "www-authenticate"), "Bearer", "{path}");
    }
    // RFC 6750 §3.1: an unsupported scheme gets no error code.
    let basic = hub
        .request(Method::GET, "/streams/a")
        .header("authorization", "Basic YTpi");
    let response = basic.send().await;
    assert_eq!(response.status(), 401);
    assert_eq!(header(&response, "www-authenticate"), "Bearer");
    assert_eq!(code(response).await, "token_malformed");
}

#[tokio::test]
async fn the_methods_of_a_path_are_listed_once() {
    let server = Server::new();
    for (method, path, allowed) in [
        (Method::PUT, "/relay/one", "GET,HEAD,PATCH,DELETE"),
        (Method::OPTIONS, "/streams/a", "GET,HEAD,PUT,POST,DELETE"),
        (Method::PATCH, "/streams/a", "GET,HEAD,PUT,POST,DELETE"),
        (Method::PUT, "/healthz", "GET,HEAD"),
    ] {
        if path.starts_with("/relay") && !cfg!(feature = "relay") {
            continue;
        }
        let response = server.client.request(method, path).send().await;
        assert_eq!(response.status(), 405, "{path}");
        assert_eq!(header(&response, "allow"), allowed, "{path}");
        let listed: Vec<_> = allowed.split(',').collect();
        assert_eq!(
            response.json::<Value>().await["allow"],
            serde_json::json!(listed)
        );
    }
}
