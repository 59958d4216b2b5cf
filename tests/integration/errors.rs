//! Errors of the handler's stream: a real status before the first item, a cut body after it.

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

/// `/early` fails before the first item, `/late` after it, `/complete` not at all.
fn app() -> Router {
    let early = || async { Streaming::try_new(stream::iter([Err::<Numbered, _>(problem())])) };
    let late = || async {
        let items = stream::iter([Ok(Numbered::new(1))]);
        Streaming::try_new(items.chain(stream::once(async {
            // By now the first item is on its way.
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
async fn an_error_before_the_first_item_has_its_real_status() -> Outcome {
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
async fn an_error_after_the_first_item_cuts_the_body_in_every_format() -> Outcome {
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
async fn an_sse_client_gets_the_problem_of_a_late_error_and_does_not_come_back() -> Outcome {
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
async fn an_error_after_the_first_item_resets_a_connection_whose_close_would_be_a_clean_end()
-> Outcome {
    // HTTP/1.0, which nginx speaks to its upstream by default, has no chunks: the body ends with the
    // connection, so only a reset tells a cut from an end.
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
