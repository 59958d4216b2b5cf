//! Errors of the handler's stream: a real status before the first item, a cut body after it.

use axum::{Router, http::StatusCode, routing::get};
use futures_util::{StreamExt as _, stream};
use headwater::{Problem, Streaming};
use headwater_tests::Numbered;
use headwater_wire::Format;

use crate::{
    Outcome, raw,
    served::{Served, soon},
};

fn problem() -> Problem {
    Problem::new(StatusCode::CONFLICT)
        .title("The well is dry")
        .with("well", 7)
}

/// `/early` fails before the first item, `/late` after it.
fn app() -> Router {
    let early = || async { Streaming::try_new(stream::iter([Err::<Numbered, _>(problem())])) };
    let late = || async {
        let items = stream::iter([Ok(Numbered::new(1))]);
        Streaming::try_new(items.chain(stream::once(async {
            // By now the first item is on its way.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            Err(problem())
        })))
    };
    Router::new()
        .route("/early", get(early))
        .route("/late", get(late))
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
            body.contains("event: error"),
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
