//! Errors of the handler's stream. Before the first item, an error sets the response's status.
//! After it, an error truncates the body.

use std::{io, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use futures_util::{StreamExt as _, stream};
use headwater::{Problem, Streaming};
use headwater_tests::Numbered;
use headwater_wire::Format;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    Outcome, raw,
    served::{Served, soon},
};

fn problem() -> Problem {
    Problem::new(StatusCode::CONFLICT)
        .title("The well is dry")
        .with("well", 7)
}

/// Returns an application in which `/early` fails before the first item, `/late` fails after it,
/// and `/complete` ends without an error.
fn app() -> Router {
    let early = || async { Streaming::try_new(stream::iter([Err::<Numbered, _>(problem())])) };
    let late = || async {
        let items = stream::iter([Ok(Numbered::new(1))]);
        Streaming::try_new(items.chain(stream::once(async {
            // The delay lets the server send the first item.
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(problem())
        })))
    };
    let complete = || async { Streaming::new(stream::iter([Numbered::new(1)])) };
    Router::new()
        .route("/early", get(early))
        .route("/late", get(late))
        .route("/complete", get(complete))
}

#[tokio::test]
async fn an_error_before_the_first_item_sets_the_response_status() -> Outcome {
    let server = Served::new(app()).await;
    for format in Format::ALL {
        let url = server.url(&format!("/early?format={}", format.name()));
        let error = match soon(headwater_client::get(url).stream::<Numbered>()).await {
            Ok(_) => panic!("{format:?}: the error was not seen"),
            Err(error) => error,
        };
        assert!(error.is_status(), "{format:?}: {error}");
        assert_eq!(
            error.status().map(|status| status.as_u16()),
            Some(409),
            "{format:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_error_after_the_first_item_truncates_the_body_in_every_format() -> Outcome {
    let server = Served::new(app()).await;
    for format in Format::ALL {
        let path = format!("/late?format={}", format.name());
        let mut response = soon(raw::get(server.address, &path, &[])).await?;
        assert_eq!(response.status, 200);
        let (body, ended_cleanly) = soon(response.rest()).await;
        let body = String::from_utf8(body)?;
        assert!(!ended_cleanly, "{format:?}: {body}");
        assert!(
            body.contains("😀"),
            "{format:?}: the first item came: {body}"
        );
        assert_eq!(
            body.contains("event: headwater:error"),
            format == Format::Sse,
            "{format:?}: {body}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_sse_client_receives_the_problem_of_a_late_error_and_does_not_reconnect() -> Outcome {
    let server = Served::new(app()).await;
    let url = server.url("/late?format=sse");
    let mut items = soon(headwater_client::get(url).stream::<Numbered>()).await?;
    assert_eq!(
        soon(items.next()).await.ok_or("no item")??,
        Numbered::new(1)
    );
    let error = soon(items.next())
        .await
        .ok_or("a quiet end")?
        .expect_err("the handler failed");
    assert!(error.is_problem(), "{error}");
    assert!(soon(items.next()).await.is_none());
    Ok(())
}

#[tokio::test]
async fn an_error_after_the_first_item_resets_an_http_1_0_connection() -> Outcome {
    // HTTP/1.0, which nginx uses for its upstreams by default, has no chunked coding. The end of
    // the connection is the end of the body, so only a reset marks a truncated one.
    let server = Served::new(app()).await;
    for (path, is_complete) in [("/late", false), ("/complete", true)] {
        let mut connection = TcpStream::connect(server.address).await?;
        connection
            .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
            .await?;
        let mut seen = Vec::new();
        let ended = soon(connection.read_to_end(&mut seen)).await;
        let seen = String::from_utf8(seen)?;
        assert!(seen.contains("😀"), "{path}: {seen}");
        match ended {
            Ok(_) => assert!(is_complete, "{path}: a cut that looks like a clean end"),
            Err(error) => {
                assert!(!is_complete, "{path}: {error}");
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            }
        }
    }
    Ok(())
}
