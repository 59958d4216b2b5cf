//! An answer that is streamed word by word, like those of language models. This one only repeats
//! the question.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use headwater::{Event, Events, Json, Streaming};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A question.
#[derive(Deserialize, JsonSchema)]
#[schemars(example = Question { prompt: "Where does the river begin?".to_owned(), words_per_second: 5 })]
#[derive(Serialize)]
pub(crate) struct Question {
    #[schemars(length(min = 1, max = 1000))]
    prompt: String,
    /// Speed of the answer.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 1000))]
    words_per_second: u32,
}

fn ten() -> u32 {
    10
}

/// A piece of an answer.
#[derive(Serialize, JsonSchema, Events)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Piece {
    /// The next word.
    Word { text: String },
    /// The last piece: totals.
    Usage { words: usize, milliseconds: u128 },
}

/// Answers a question word by word.
///
/// Each piece is an event with its own name. An `EventSource` can't send a question, but `fetch`
/// and every Headwater client can.
#[headwater::operation]
pub(crate) async fn answer(Json(question): Json<Question>) -> Streaming<Event<Piece>> {
    let started = Instant::now();
    let words: Vec<_> = question
        .prompt
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let count = words.len();
    let pause = Duration::from_secs(1) / question.words_per_second;
    let words = stream::iter(words).map(|text| Piece::Word { text });
    let usage = stream::once(async move {
        Piece::Usage {
            words: count,
            milliseconds: started.elapsed().as_millis(),
        }
    });
    Streaming::events(super::paced(words, pause).chain(usage)).finish_on_shutdown()
}
