//! `Json` as a response: one value, under the rules for items.

use headwater::Json;

use super::{
    json::{reading, split},
    *,
};

#[tokio::test]
async fn a_single_value_with_a_non_finite_float_is_an_error() {
    for bad in [f64::NAN, f64::INFINITY] {
        let client = client(async move || Json([reading(1.5), reading(bad)]));
        let response = client.get("/").send().await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    let fine = client(async || Json(reading(1.5))).get("/").send().await;
    assert_eq!(
        fine.text().await,
        "{\"name\":\"Oslo\",\"degrees\":1.5,\"rain\":null}\n"
    );
}

#[tokio::test]
async fn a_single_value_is_on_one_line() {
    let text = "a\u{2028}b\u{2029}c\u{85}d";
    let value = client(async move || Json(text))
        .get("/")
        .send()
        .await
        .text()
        .await;
    assert_eq!(split(&value), [r#""a\u2028b\u2029c\u0085d""#]);
}
