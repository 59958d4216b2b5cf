//! Values that JSON can't represent, and characters that some readers treat as line ends.

use serde::Serialize;

use super::*;

#[derive(Clone, Serialize)]
pub(super) struct Reading {
    name: &'static str,
    degrees: f64,
    rain: Option<f32>,
}

pub(super) fn reading(degrees: f64) -> Reading {
    Reading {
        name: "Oslo",
        degrees,
        rain: None,
    }
}

#[tokio::test]
async fn a_non_finite_float_is_an_error_of_its_item_in_every_format() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let items = move || stream::iter([1.5, bad, 2.5].map(reading));
        let late = client(async move || Streaming::new(items()));
        let early = client(async move || Streaming::new(items().skip(1)));
        for format in Format::ALL {
            let mut events = late
                .get("/")
                .accept(format)
                .stream::<serde_json::Value>()
                .await;
            let first = events.next_event().await.expect("an item");
            assert!(
                first.data.contains(r#""rain":null"#),
                "no value is null: {format}"
            );
            assert_eq!(events.cut().await, "the stream failed", "{format}");
            let response = early.get("/").accept(format).send().await;
            assert_eq!(
                response.status(),
                StatusCode::INTERNAL_SERVER_ERROR,
                "{format}"
            );
        }
    }
}

/// Splits lines like Python's `str.splitlines`, which httpx's `iter_lines` uses.
pub(super) fn split(text: &str) -> Vec<&str> {
    let ends = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    text.split_terminator(ends).collect()
}

#[tokio::test]
async fn separators_in_items_do_not_add_lines() {
    let text = "a\u{2028}b\u{2029}c\u{85}d";
    let client = client(async move || Streaming::new(stream::iter([text, text])));
    let item = r#""a\u2028b\u2029c\u0085d""#;
    let ndjson = client.get("/?format=ndjson").send().await.text().await;
    assert_eq!(split(&ndjson), [item, item]);
    let array = client.get("/?format=json").send().await.text().await;
    assert_eq!(
        split(&array),
        [format!("[{item}"), format!(",{item}"), "]".to_owned()]
    );
    let sequence = client.get("/?format=json-seq").send().await.text().await;
    assert_eq!(
        split(&sequence),
        ["", item, "", item],
        "RS is a line's end to Python"
    );
    let events = client.get("/?format=sse").send().await.text().await;
    assert_eq!(
        split(&events)[..3],
        [&*format!("data: {item}"), "", &*format!("data: {item}")]
    );
}

#[tokio::test]
async fn problems_are_on_one_line() {
    let text = "a\u{2028}b\u{2029}c\u{85}d";
    let failed = client(async move || Problem::bad_request(text).with("more", text));
    let body = failed.get("/").send().await.text().await;
    assert_eq!(split(&body).len(), 1, "{body}");
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&problem["detail"], &problem["more"]),
        (&text.into(), &text.into())
    );
    let late = client(async move || {
        Streaming::try_new(stream::iter([Ok(1), Err(Problem::bad_request(text))]))
    });
    let mut events = late.get("/").accept(Format::Sse).stream::<u64>().await;
    let _ = events.take(1).await;
    let told = events.next_event().await.expect("the problem");
    assert_eq!(split(&told.data).len(), 1);
}
