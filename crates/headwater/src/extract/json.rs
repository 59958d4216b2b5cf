use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, OptionalFromRequest, Request},
    response::{IntoResponse, Response},
};
use headwater_wire::json;
use http::{HeaderMap, HeaderValue, header};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use super::{Rejection, RequestFaults, parts};
use crate::{
    Operation, OperationInput, Problem, StatusCode, offload,
    operation::{self, HasSchema, too_large},
    per_type::per_type,
    schema::{CheckBudget, Schema},
};

/// A JSON value: as an extractor, the request's body, validated against `T`'s schema; as a return
/// value, the response.
///
/// A body is limited to 2 MB, unless [`DefaultBodyLimit`](axum::extract::DefaultBodyLimit) sets
/// another limit, and to 127 levels of nesting.
///
/// ```
/// use headwater::Json;
/// use schemars::JsonSchema;
///
/// #[derive(serde::Deserialize, serde::Serialize, JsonSchema)]
/// struct Order {
///     #[schemars(length(min = 1, max = 8))]
///     symbol: String,
///     #[schemars(range(min = 1))]
///     amount: u32,
/// }
///
/// async fn order(Json(order): Json<Order>) -> Json<Order> {
///     Json(order)
/// }
/// ```
///
/// # Error responses
/// - 415: the content type is not a JSON type.
/// - 413: the body is too large.
/// - 400: the body is not JSON. The problem contains the error's line and column.
/// - 422: the body doesn't match `T`'s schema, or an object in it has a duplicate name (RFC 7493
///   §2.3). The problem lists all faults.
///
/// A byte order mark before the JSON is ignored (RFC 8259 §8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Json<T>(pub T);

impl<T> Json<T>
where
    T: DeserializeOwned + JsonSchema + 'static,
{
    async fn read(body: Bytes) -> Result<T, Rejection> {
        let schema = body_schema::<T>();
        let is_small = body.len() <= SMALL_BYTES;
        let checked = if is_small && schema.most_steps_for_text(body.len()) <= SMALL_STEPS {
            let body = json::without_bom(&body);
            schema.check_text_within(body, &mut CheckBudget::for_text(body.len()))
        } else {
            offload(move |abandoned| {
                let body = json::without_bom(&body);
                let budget = CheckBudget::for_text(body.len());
                schema.check_text_within(body, &mut budget.cancelled_by(abandoned.flag()))
            })
            .await
        };
        checked
            .map_err(|error| not_json(&error))?
            .and_then(headwater_schema::typed)
            .map_err(|faults| RequestFaults::of_body(&faults).into())
    }
}

/// Bodies larger than this, in bytes, are read outside the async workers.
const SMALL_BYTES: usize = 64 << 10;

/// Bodies whose check may take more steps than this are, too.
const SMALL_STEPS: u64 = 1_000_000;

fn body_schema<T: JsonSchema + 'static>() -> &'static Schema {
    per_type::<T, Schema>(Schema::of::<T>)
}

fn not_json(error: &serde_json::Error) -> Rejection {
    let problem = Problem::bad_request(format!("the body is not JSON: {error}"))
        .with("line", error.line())
        .with("column", error.column());
    Rejection::problem(problem)
}

/// Returns `true` if the request's content type is a JSON type.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    let Some(content_type) = content_type.and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let media_type = content_type.split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    match media_type.split_once('/') {
        Some(("application", subtype)) => subtype == "json" || subtype.ends_with("+json"),
        _ => false,
    }
}

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned + JsonSchema + 'static,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, Rejection> {
        if !is_json(request.headers()) {
            let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE)
                .detail("the body's content type must be application/json");
            return Err(Rejection::problem(problem));
        }
        let body = Bytes::from_request(request, state).await.map_err(|error| {
            Rejection::problem(Problem::new(error.status()).detail(error.body_text()))
        })?;
        Self::read(body).await.map(Self)
    }
}

/// The extractor returns `None` for a request without a body.
impl<T, S> OptionalFromRequest<S> for Json<T>
where
    T: DeserializeOwned + JsonSchema + 'static,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Rejection> {
        if request.headers().get(header::CONTENT_TYPE).is_none() {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state)
            .await
            .map(Some)
    }
}

impl<T: HasSchema + 'static> OperationInput for Json<T> {
    fn describe(operation: &mut Operation) {
        operation.body::<T>("application/json");
        operation.error(StatusCode::BAD_REQUEST, "The body is not JSON");
        too_large(operation);
        operation.error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body's content type is not application/json",
        );
        parts::invalid(operation);
        body_schema::<T>();
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match to_bytes(&self.0) {
            Ok(body) => {
                let mut response = Response::new(Body::from(body));
                response.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                );
                response
            }
            Err(problem) => problem.into_response(),
        }
    }
}

fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, Problem> {
    operation::check_outgoing(value)?;
    let mut body = Vec::with_capacity(128);
    json::encode_on_one_line(value, &mut body).map_err(Problem::internal)?;
    // A terminal's prompt then starts on a new line.
    body.push(b'\n');
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Tally {
        #[schemars(range(max = 100))]
        count: u32,
        #[serde(default)]
        by_number: BTreeMap<u8, String>,
    }

    fn tally(count: u32, by_number: &[(u8, &str)]) -> Tally {
        let by_number = by_number.iter();
        Tally {
            count,
            by_number: by_number
                .map(|(n, text)| (*n, (*text).to_owned()))
                .collect(),
        }
    }

    #[track_caller]
    fn read(body: &str) -> Tally {
        try_read(body).unwrap()
    }

    fn try_read(body: &str) -> Result<Tally, Rejection> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let body = Bytes::copy_from_slice(body.as_bytes());
        runtime.unwrap().block_on(Json::<Tally>::read(body))
    }

    #[test]
    fn unusual_numbers_names_and_sizes_are_read() {
        assert_eq!(read(r#"{"count": 80}"#), tally(80, &[]));
        assert_eq!(read(r#"{"count": 8.0e1}"#), tally(80, &[]));
        assert_eq!(
            read(r#"{"count": 1, "by_number": {"7": "seven"}}"#),
            tally(1, &[(7, "seven")])
        );
        let wide: Vec<_> = (0..1000).map(|n| format!("\"{n}\": {n}")).collect();
        let wide = format!("{{{}, \"count\": 3}}", wide.join(", "));
        assert_eq!(read(&wide), tally(3, &[]));
    }

    #[test]
    fn a_large_body_is_read_like_a_small_one() {
        let spaces = " ".repeat(SMALL_BYTES);
        assert_eq!(
            read(&format!("{{{spaces}\"count\": 80.0}}")),
            tally(80, &[])
        );
        let problem = refused(&format!("{{\"count\": 101,{spaces}\"count\": 101}}"));
        assert_eq!(problem["errors"].as_array().unwrap().len(), 2);
        assert_eq!(refused(&format!("{spaces}{{"))["status"], 400);
    }

    #[track_caller]
    fn refused(body: &str) -> serde_json::Value {
        let problem = Problem::from(try_read(body).unwrap_err());
        serde_json::to_value(problem).unwrap()
    }

    #[test]
    fn a_duplicate_name_in_an_object_is_a_fault() {
        for (body, pointer) in [
            (r#"{"count": 7, "count": 8}"#, "#/count"),
            (r#"{"count": 7, "coun\u0074": 7}"#, "#/count"),
            (r#"{"count": 7, "other": 1, "other": 1}"#, "#/other"),
            (
                r#"{"count": 7, "by_number": {"1": "a", "1": "b"}}"#,
                "#/by_number/1",
            ),
            (
                r#"{"count": 7, "other": [{"a": 1, "a": 2}]}"#,
                "#/other/0/a",
            ),
        ] {
            let problem = refused(body);
            assert_eq!(problem["status"], 422, "{body}");
            assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{body}");
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
        }
    }

    #[test]
    fn all_faults_are_listed_with_the_duplicate_names() {
        let problem = refused(r#"{"count": 7, "count": 101}"#);
        assert_eq!(problem["errors"].as_array().unwrap().len(), 2);
        for error in problem["errors"].as_array().unwrap() {
            assert_eq!(error["pointer"], "#/count");
            assert_eq!(error["value"], 101);
        }
    }

    #[test]
    fn a_byte_order_mark_before_the_json_is_ignored() {
        assert_eq!(read("\u{feff}{\"count\": 80}"), tally(80, &[]));
        assert_eq!(read("\u{feff} {\"count\": 8.0e1}"), tally(80, &[]));
        assert_eq!(refused("\u{feff}\u{feff}{\"count\": 80}")["status"], 400);
        assert_eq!(refused(" \u{feff}{\"count\": 80}")["status"], 400);
        assert_eq!(refused("\u{feff}")["status"], 400);
    }
}
