//! Large items. By default, a client accepts items of up to 8 MiB.

use axum::{Router, extract::Path, routing::get};
use futures_util::stream;
use headwater::Streaming;
use headwater_tests::Numbered;
use headwater_wire::Format;

use crate::{
    Outcome,
    served::{Served, soon},
};

const MIB: usize = 1024 * 1024;

/// Returns an application in which `/{mib}` sends a small item, an item with `mib` MiB of text, and
/// another small item.
fn app() -> Router {
    let handler = |Path(mib): Path<usize>| async move {
        let large = Numbered {
            n: 2,
            text: "é".repeat(mib * MIB / 2),
        };
        Streaming::new(stream::iter([Numbered::new(1), large, Numbered::new(3)]))
    };
    Router::new().route("/{mib}", get(handler))
}

fn formats_of_items() -> impl Iterator<Item = Format> {
    Format::ALL
        .into_iter()
        .filter(|format| *format != Format::Text)
}

#[tokio::test]
async fn an_item_of_7_mib_passes_in_every_format() -> Outcome {
    let server = Served::new(app()).await;
    for format in formats_of_items() {
        let url = server.url(&format!("/7?format={}", format.name()));
        let mut items = soon(headwater_client::get(url).stream::<Numbered>()).await?;
        let mut sizes = Vec::new();
        while let Some(item) = soon(items.next()).await {
            sizes.push(item?.text.len());
        }
        let small = Numbered::new(1).text.len();
        assert_eq!(sizes, [small, 7 * MIB, small], "{format:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_item_of_9_mib_is_too_large_in_every_format() -> Outcome {
    let server = Served::new(app()).await;
    for format in formats_of_items() {
        let url = server.url(&format!("/9?format={}", format.name()));
        let mut items = soon(headwater_client::get(url).stream::<Numbered>()).await?;
        assert_eq!(
            soon(items.next()).await.ok_or("no item")??,
            Numbered::new(1)
        );
        let error = soon(items.next())
            .await
            .ok_or("a quiet end")?
            .expect_err("it is too large");
        assert!(error.is_too_large(), "{format:?}: {error}");
        assert!(!error.is_truncated(), "{format:?}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn an_item_of_9_mib_passes_a_client_with_a_higher_limit() -> Outcome {
    let server = Served::new(app()).await;
    let request = headwater_client::get(server.url("/9")).max_item_bytes(10 * MIB);
    let mut items = soon(request.stream::<Numbered>()).await?;
    let mut total = 0;
    while let Some(item) = soon(items.next()).await {
        total += item?.text.len();
    }
    assert!(total > 9 * MIB);
    Ok(())
}

#[tokio::test]
async fn the_blocking_client_has_the_same_limit() -> Outcome {
    let server = Served::new(app()).await;
    let (seven, nine) = (server.url("/7"), server.url("/9"));
    let (passes, fails) = tokio::task::spawn_blocking(move || {
        let read = |url: String| {
            headwater_client::blocking::get(url)
                .stream::<Numbered>()?
                .collect::<Result<Vec<_>, _>>()
        };
        (read(seven), read(nine))
    })
    .await?;
    assert_eq!(passes?.len(), 3);
    assert!(fails.expect_err("it is too large").is_too_large());
    Ok(())
}
