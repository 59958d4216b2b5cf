//! A stand-in for an OpenAI-compatible endpoint. It answers with texts about rivers, token by
//! token. It counts its calls, to show the cost of a chat.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::extract::State;
use futures_util::{StreamExt as _, stream};
use headwater::{App, Format, Json, Problem, Raw, get, post};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::interval;
use tokio_stream::wrappers::IntervalStream;

pub(crate) fn app(tokens_per_second: u32) -> App {
    App::new("A stand-in for a language model", env!("CARGO_PKG_VERSION"))
        .description("`POST /v1/chat/completions`, streamed, as OpenAI's API has it.")
        .route("/v1/chat/completions", post(complete))
        .route("/calls", get(calls))
        .with_state(Arc::new(StandIn {
            every: Duration::from_secs(1) / tokens_per_second,
            calls: AtomicU64::new(0),
            open: AtomicU64::new(0),
        }))
}

struct StandIn {
    /// Time per token.
    every: Duration,
    calls: AtomicU64,
    open: AtomicU64,
}

/// Numbers of calls.
#[derive(Serialize, JsonSchema)]
struct Calls {
    /// Number of calls so far.
    calls: u64,
    /// Number of calls in progress.
    open: u64,
}

/// Returns the number of calls.
#[headwater::operation]
async fn calls(State(stand_in): State<Arc<StandIn>>) -> Json<Calls> {
    Json(Calls {
        calls: stand_in.calls.load(Relaxed),
        open: stand_in.open.load(Relaxed),
    })
}

#[derive(Deserialize, JsonSchema)]
struct Request {
    model: String,
    messages: Vec<Message>,
    /// Must be `true`: only streaming is supported.
    #[serde(default)]
    stream: bool,
}

#[derive(Deserialize, JsonSchema)]
struct Message {
    role: String,
    content: String,
}

/// Answers the last message, token by token.
#[headwater::operation]
async fn complete(
    State(stand_in): State<Arc<StandIn>>,
    Json(request): Json<Request>,
) -> Result<Raw, Problem> {
    let Request {
        model,
        messages,
        stream,
    } = request;
    if !stream {
        return Err(Problem::bad_request(
            "this stand-in only streams: say `\"stream\": true`",
        ));
    }
    let questions = messages.iter().filter(|message| message.role == "user");
    let questions: Vec<_> = questions.collect();
    let Some(question) = questions.last() else {
        return Err(Problem::bad_request("there is no message of a user"));
    };
    let call = stand_in.calls.fetch_add(1, Relaxed) + 1;
    let open = Open::new(&stand_in);
    let answer = answer(&question.content, questions.len());
    let tokens: Vec<String> = answer.split_inclusive(' ').map(str::to_owned).collect();
    let count = tokens.len();
    let chunk = move |choice: Value| {
        let mut chunk =
            json!({"id": format!("chatcmpl-{call}"), "object": "chat.completion.chunk"});
        chunk["model"] = model.clone().into();
        chunk["choices"] = json!([choice]);
        chunk
    };
    let last = {
        let mut last = chunk(json!({"index": 0, "delta": {}, "finish_reason": "stop"}));
        last["usage"] = json!({"completion_tokens": count});
        last.to_string()
    };
    let said = tokens.into_iter().map(move |token| {
        chunk(json!({"index": 0, "delta": {"content": token}, "finish_reason": null})).to_string()
    });
    let paced = stream::iter(said)
        .zip(IntervalStream::new(interval(stand_in.every)))
        .map(|(chunk, _)| chunk);
    let events = paced
        .chain(stream::iter([last, "[DONE]".to_owned()]))
        .map(move |data| {
            let _open = &open;
            Ok(format!("data: {data}\n\n").into())
        });
    Ok(Raw::frames(Format::Sse, events))
}

/// Counts a call as open until it is dropped.
struct Open(Arc<StandIn>);

impl Open {
    fn new(stand_in: &Arc<StandIn>) -> Self {
        stand_in.open.fetch_add(1, Relaxed);
        Self(Arc::clone(stand_in))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Returns the answer to the `nth` question of a chat.
fn answer(question: &str, nth: usize) -> String {
    const KNOWN: [&str; 3] = [
        "A river begins where water has nowhere lower to stay: at a spring, under a glacier, in a wet meadow high up. \
         That place is its headwater. It is seldom more than a trickle – the Danube’s is a basin behind a castle, \
         the Rhine’s a lake one can throw a stone across – and yet everything that follows depends on it.\n\n\
         From there the river only ever goes on. What has flowed past you isn’t lost: walk downstream and you meet \
         it again, in the same order. That is more than can be said of most web pages.",
        "Water finds its way by never deciding. It takes the lowest place that is open, fills it, and goes on when it is \
         full. Dams don’t change that; they only make it wait, and what waits isn’t gone.\n\n\
         Hydrologists call the time that a drop spends in a lake its residence time. In Lake Baikal it is some 330 years. \
         In this chat it is as long as you like: reload the page and see.",
        "Where two rivers meet they run side by side for a while before they mix. At Passau one can see three at once: the \
         Inn is green, the Danube blue, the Ilz nearly black from the moors.\n\n\
         A delta is the same in reverse: one river, many arms, the same water. Open this chat in a second tab and you \
         have one.",
    ];
    let known = KNOWN[(nth + KNOWN.len() - 1) % KNOWN.len()];
    let mut asked: String = question.chars().take(120).collect();
    if asked.len() < question.len() {
        asked.push('…');
    }
    format!(
        "You asked: “{asked}” I am only a stand-in for a language model, and all I know is rivers.\n\n{known}"
    )
}
