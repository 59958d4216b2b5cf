//! Chats. Questions go into a chat's stream. Each answer goes into its own stream, which a relay
//! fills.
//!
//! ```text
//! chats/tea             {"type":"question","id":"1","text":"Where does a river begin?"}
//!                       {"type":"answer","id":"1","to":"1","stream":"/streams/chats/tea/answers/1"}
//! chats/tea/answers/1   the model's answer, event by event
//! ```
//!
//! The client chooses the id. So a repeated request, after a disconnect or a double click, is
//! recognised: it appends nothing and doesn't call the model.

use std::sync::Arc;

use axum::{extract::State, response::NoContent};
use bytes::Bytes;
use headwater::{Json, Path, Problem};
use headwater_hub::{Hub, Relay};
use headwater_log::{Append, Create, Log, Outcome, ReadFrom, Settings, StreamName};
use headwater_wire::{Limits, sse::Decoder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The model that answers.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) url: String,
    pub(crate) key: Option<String>,
    pub(crate) name: String,
}

/// All chats.
pub(crate) struct Chats {
    hub: Hub,
    log: Arc<dyn Log>,
    model: Model,
}

/// An entry of a chat's stream.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A question.
    Question { id: String, text: String },
    /// The location of a question's answer.
    Answer {
        id: String,
        /// Id of the question.
        to: String,
        /// Path of the answer's stream.
        stream: String,
    },
    /// The reason that a question has no answer.
    Failure {
        id: String,
        /// Id of the question.
        to: String,
        /// A problem document (RFC 9457).
        problem: Value,
    },
}

/// An id that the client chooses.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Id(#[schemars(regex(pattern = "^[A-Za-z0-9-]{1,64}$"))] String);

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Question {
    id: Id,
    #[schemars(length(min = 1, max = 8000))]
    text: String,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Again {
    /// Id of the new answer.
    id: Id,
}

/// Creates a chat.
///
/// An existing chat is kept.
#[headwater::operation]
pub(crate) async fn open(
    State(chats): State<Arc<Chats>>,
    Path(Id(chat)): Path<Id>,
) -> Result<NoContent, Problem> {
    let create = Create::new(Settings::of_type("application/json"));
    let name = StreamName::new(&chat_name(&chat)).map_err(Problem::internal)?;
    chats
        .log
        .create(&name, create)
        .await
        .map_err(Problem::internal)?;
    Ok(NoContent)
}

/// Asks a question.
///
/// The question is stored in the chat before the model is called. The response is the entry with
/// the location of the answer, or with the reason that there is none.
#[headwater::operation]
pub(crate) async fn ask(
    State(chats): State<Arc<Chats>>,
    Path(Id(chat)): Path<Id>,
    Json(Question { id: Id(id), text }): Json<Question>,
) -> Result<Json<Entry>, Problem> {
    let question = Entry::Question {
        id: id.clone(),
        text,
    };
    chats
        .append(&chat, &question, &format!("question {id}"))
        .await?;
    Chats::answer(chats, chat, id.clone(), id).await
}

/// Asks a previous question again.
///
/// This calls the model again.
#[headwater::operation]
pub(crate) async fn again(
    State(chats): State<Arc<Chats>>,
    Path((Id(chat), Id(question))): Path<(Id, Id)>,
    Json(Again { id: Id(id) }): Json<Again>,
) -> Result<Json<Entry>, Problem> {
    Chats::answer(chats, chat, id, question).await
}

/// Stops an answer.
///
/// The call of the model's endpoint is aborted. The answer so far is kept.
#[headwater::operation]
pub(crate) async fn stop(
    State(chats): State<Arc<Chats>>,
    Path((Id(chat), Id(answer))): Path<(Id, Id)>,
) -> Result<NoContent, Problem> {
    match chats.hub.cancel(&answer_name(&chat, &answer)).await {
        true => Ok(NoContent),
        false => Err(Problem::not_found("no such answer is under way")),
    }
}

impl Chats {
    pub(crate) fn new(hub: Hub, log: Arc<dyn Log>, model: Model) -> Self {
        Self { hub, log, model }
    }

    /// Starts the answer to a question. The answer's id names its stream, and a stream is created
    /// only once.
    ///
    /// The client may disconnect meanwhile, so this runs in its own task.
    async fn answer(
        chats: Arc<Self>,
        chat: String,
        id: String,
        to: String,
    ) -> Result<Json<Entry>, Problem> {
        let answering = tokio::spawn(async move {
            let entries = chats.entries(&chat).await?;
            if let Some(known) = entries.iter().find(|entry| entry.is_answer(&id)) {
                return Ok(Json(known.clone()));
            }
            let messages = chats.conversation(&entries, &to).await?;
            let body = json!({"model": chats.model.name, "messages": messages, "stream": true});
            let mut relay = Relay::post(&chats.model.url).json(&body);
            if let Some(key) = &chats.model.key {
                relay = relay.bearer(key);
            }
            let stream = answer_name(&chat, &id);
            let relayed = chats.hub.relay(&stream, relay).await;
            let entry = match relayed {
                Ok(_) => Entry::Answer {
                    stream: format!("/streams/{stream}"),
                    id: id.clone(),
                    to,
                },
                Err(problem) => Entry::Failure {
                    problem: serde_json::to_value(&problem).map_err(Problem::internal)?,
                    id: id.clone(),
                    to,
                },
            };
            chats.append(&chat, &entry, &format!("answer {id}")).await?;
            Ok(Json(entry))
        });
        answering.await.map_err(Problem::internal)?
    }

    /// Returns the conversation up to a question, in the format of the model's API.
    async fn conversation(&self, entries: &[Entry], until: &str) -> Result<Vec<Value>, Problem> {
        let mut messages = Vec::new();
        for entry in entries {
            let Entry::Question { id, text } = entry else {
                continue;
            };
            messages.push(json!({"role": "user", "content": text}));
            if id == until {
                return Ok(messages);
            }
            let newest = entries.iter().rev().find_map(|entry| match entry {
                Entry::Answer { to, stream, .. } if to == id => Some(stream),
                _ => None,
            });
            if let Some(stream) = newest {
                let said = self.said(stream.trim_start_matches("/streams/")).await?;
                messages.push(json!({"role": "assistant", "content": said}));
            }
        }
        Err(Problem::not_found(format!("there is no question {until}")))
    }

    /// Returns the text of an answer so far. Its stream contains the model's events unchanged.
    async fn said(&self, stream: &str) -> Result<String, Problem> {
        let mut decoder = Decoder::new(Limits::default());
        let mut said = String::new();
        for message in self.messages(stream).await? {
            decoder.push(message);
            while let Some(event) = decoder.next().map_err(Problem::internal)? {
                let chunk: Value = serde_json::from_str(&event.data).unwrap_or_default();
                said += chunk["choices"][0]["delta"]["content"]
                    .as_str()
                    .unwrap_or_default();
            }
        }
        Ok(said)
    }

    async fn entries(&self, chat: &str) -> Result<Vec<Entry>, Problem> {
        let messages = self.messages(&chat_name(chat)).await?;
        let entries = messages.iter().map(|bytes| serde_json::from_slice(bytes));
        entries.collect::<Result<_, _>>().map_err(Problem::internal)
    }

    /// Returns all current messages of a stream.
    async fn messages(&self, stream: &str) -> Result<Vec<Bytes>, Problem> {
        let name = StreamName::new(stream).map_err(Problem::internal)?;
        let (mut messages, mut from) = (Vec::new(), ReadFrom::Start);
        loop {
            let chunk = self
                .log
                .read(&name, from, 1 << 20)
                .await
                .map_err(unreadable)?;
            messages.extend(chunk.messages().map(|message| message.bytes));
            if chunk.at_tail {
                return Ok(messages);
            }
            from = ReadFrom::At(chunk.next);
        }
    }

    /// Appends an entry to a chat once: `as_what` is a producer that appends only this entry.
    async fn append(&self, chat: &str, entry: &Entry, as_what: &str) -> Result<(), Problem> {
        let name = StreamName::new(&chat_name(chat)).map_err(Problem::internal)?;
        let entry = serde_json::to_vec(entry).map_err(Problem::internal)?;
        let append = Append::new(vec![entry.into()]).by(as_what, 0, 0);
        match self.log.append(&name, append).await.map_err(unreadable)? {
            Outcome::Appended(_) | Outcome::Duplicate(_) => Ok(()),
            Outcome::Refused(refusal) => Err(Problem::internal(format!("{refusal:?}"))),
        }
    }
}

impl Entry {
    fn is_answer(&self, wanted: &str) -> bool {
        match self {
            Self::Answer { id, .. } | Self::Failure { id, .. } => id == wanted,
            Self::Question { .. } => false,
        }
    }
}

fn chat_name(chat: &str) -> String {
    format!("chats/{chat}")
}

fn answer_name(chat: &str, answer: &str) -> String {
    format!("chats/{chat}/answers/{answer}")
}

fn unreadable(error: headwater_log::Error) -> Problem {
    match error.is_not_found() {
        true => Problem::not_found("there is no such chat"),
        false => Problem::internal(error),
    }
}
