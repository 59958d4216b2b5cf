use headwater::{Format, OpenApi, StatusCode, test::TestClient};
use headwater_log::MemoryLog;
use serde_json::{Value, json};

use super::*;

/// Returns the app with shops on their own port, and the shops' URL.
async fn comparer() -> (TestClient, String) {
    let shops = start_shops().await.unwrap();
    let hub = Hub::new(Arc::new(MemoryLog::default()));
    (TestClient::new(app(&hub, shops.clone())), shops)
}

#[tokio::test]
async fn two_readers_of_a_run_share_its_calls() {
    let (comparer, shops) = comparer().await;
    let read = async || {
        let run = comparer.get("/runs/one?item=tea").accept(Format::Sse);
        let mut news = run.stream::<Value>().await;
        let mut all = Vec::new();
        while let Some(news) = news.next().await {
            all.push(news);
        }
        all
    };
    let (first, second) = tokio::join!(read(), read());
    assert_eq!(first, second);
    assert_eq!(
        first[0],
        json!({"type": "begun", "item": "tea", "shops": 50})
    );
    assert_eq!(first.len(), 51);
    let of = |kind: &str| first.iter().filter(|news| news["type"] == kind).count();
    assert_eq!((of("offer"), of("nothing")), (45, 5));

    let calls = headwater_client::get(format!("{shops}/calls"));
    let calls: Value = calls.value().await.unwrap();
    // Three shops are busy at first and are called once more.
    assert_eq!(calls["total"], 53);
}

#[tokio::test]
async fn a_run_needs_a_valid_name_and_an_item() {
    let (comparer, _) = comparer().await;
    for path in ["/runs/one", "/runs/one?item=", "/runs/a%2Fb?item=tea"] {
        let answer = comparer.get(path).send().await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{path}");
    }
}

#[test]
fn each_shop_has_a_unique_name_and_takes_up_to_four_seconds() {
    let names: std::collections::HashSet<_> = (0..shops::SHOPS).map(shops::name).collect();
    assert_eq!(names.len(), shops::SHOPS);
    for shop in 0..shops::SHOPS {
        let (took, cents) = shops::terms(shop, "Green tea");
        assert_eq!(shops::terms(shop, " green tea "), (took, cents));
        assert!((200..4000).contains(&took.as_millis()), "{took:?}");
        assert!(cents > 0);
    }
}

#[test]
fn the_document_describes_the_items_of_a_run() {
    let hub = Hub::new(Arc::new(MemoryLog::default()));
    let document = app(&hub, String::new()).openapi(OpenApi::V3_2);
    let run = &document["paths"]["/runs/{run}"]["get"];
    assert_eq!(run["summary"], "Compares prices.");
    let events = &run["responses"]["200"]["content"]["text/event-stream"];
    assert!(events["itemSchema"].is_object(), "{events}");
}
