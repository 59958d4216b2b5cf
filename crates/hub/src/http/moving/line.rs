//! The lines of an export. Each is a JSON object.
//!
//! ```text
//! {"headwater":"export","version":1,"time":…}                        once, at the start
//! {"stream":"orders","content_type":"application/json",…}            for each stream: what it is
//! {"producer":"till-1","epoch":0,"seq":41,…}                           its producers
//! {"offset":0,"time":…,"json":{"item":"tea"}}                          its messages
//! {"end":"orders","messages":42,"bytes":…,"digest":"…"}                it is complete
//! {"complete":true,"streams":1,"dropped":0}                          once, at the end
//! ```
//!
//! In the place of its `end`, a stream that was deleted meanwhile, or is damaged, has `{"dropped":"orders","why":"…"}`.
//! Times and spans are in milliseconds. `docs/moving.md` describes all members.

use std::{borrow::Cow, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use headwater_log::{
    Digest, Expiry, Image, Mark, Offset, Producer, ProducerImage, Published, Settings, Timestamp,
};
use headwater_wire::json;
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::limits::JSON_DEPTH;

/// The version of the format.
pub(crate) const VERSION: u64 = 1;
/// The kind of file, in its first line.
pub(crate) const KIND: &str = "export";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start<'a> {
    #[serde(borrow)]
    pub(crate) headwater: Cow<'a, str>,
    pub(crate) version: u64,
    pub(crate) time: u64,
}

/// Bytes, in the form that is easiest to read.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Payload {
    Json(Box<RawValue>),
    Text(String),
    Base64(String),
}

impl Payload {
    fn of(bytes: &Bytes) -> Self {
        match form(bytes, true) {
            Form::Json(text) => match RawValue::from_string(text.to_owned()) {
                Ok(raw) => Self::Json(raw),
                Err(_) => Self::Text(text.to_owned()),
            },
            Form::Text(text) => Self::Text(text.to_owned()),
            Form::Bytes => Self::Base64(BASE64.encode(bytes)),
        }
    }

    fn bytes(&self) -> Result<Bytes, String> {
        Ok(match self {
            Self::Json(raw) => Bytes::copy_from_slice(raw.get().as_bytes()),
            Self::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Self::Base64(text) => decode(text)?,
        })
    }
}

fn decode(text: &str) -> Result<Bytes, String> {
    let bytes = BASE64.decode(text).map_err(|_| "it isn't base64")?;
    Ok(bytes.into())
}

enum Form<'a> {
    Json(&'a str),
    Text(&'a str),
    Bytes,
}

/// Returns the form in which bytes are written. JSON is written as it is if it comes back as the same bytes. A text takes
/// at most twice its length.
fn form(bytes: &[u8], may_be_json: bool) -> Form<'_> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Form::Bytes;
    };
    let is_bare = bytes.trim_ascii().len() == bytes.len() && !bytes.is_empty();
    let is_line = memchr::memchr2(b'\n', b'\r', bytes).is_none();
    if may_be_json && is_bare && is_line && json::check(bytes, JSON_DEPTH).is_ok() {
        return Form::Json(text);
    }
    let is_long = |byte: &u8| *byte < b' ' && !matches!(byte, b'\n' | b'\r' | b'\t');
    match bytes.iter().any(is_long) {
        true => Form::Bytes,
        false => Form::Text(text),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream<'a> {
    #[serde(borrow)]
    pub(crate) stream: Cow<'a, str>,
    content_type: String,
    created: u64,
    appended: u64,
    floor: u64,
    marks: Vec<String>,
    closed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed_by: Option<ClosedBy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Payload>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_age: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<Payload>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<Payload>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClosedBy {
    producer: String,
    epoch: u64,
    seq: u64,
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl<'a> Stream<'a> {
    pub(crate) fn of(name: &'a str, image: &Image) -> Self {
        let settings = &image.settings;
        let (ttl, expires) = match settings.expiry {
            Some(Expiry::Idle(span)) => (Some(millis(span)), None),
            Some(Expiry::At(time)) => (None, Some(time.0)),
            None => (None, None),
        };
        Self {
            stream: name.into(),
            content_type: settings.content_type.clone(),
            created: image.created.0,
            appended: image.appended.0,
            floor: image.floor.number(),
            marks: image.marks.iter().map(Mark::to_string).collect(),
            closed: image.closed,
            closed_by: image.closed_by.as_ref().map(|by| ClosedBy {
                producer: by.id.clone(),
                epoch: by.epoch,
                seq: by.seq,
            }),
            reason: image.reason.as_ref().map(Payload::of),
            seq: image.seq.clone(),
            ttl,
            expires,
            max_age: settings.max_age.map(millis),
            max_bytes: settings.max_bytes,
            schema: settings.schema.as_ref().map(Payload::of),
            note: Some(&settings.note)
                .filter(|note| !note.is_empty())
                .map(Payload::of),
        }
    }

    pub(crate) fn image(self) -> Result<Image, String> {
        let mut settings = Settings::of_type(&self.content_type);
        settings.expiry = match (self.ttl, self.expires) {
            (Some(_), Some(_)) => return Err("it has `ttl` and `expires`".to_owned()),
            (Some(span), None) => Some(Expiry::Idle(Duration::from_millis(span))),
            (None, Some(time)) => Some(Expiry::At(Timestamp(time))),
            (None, None) => None,
        };
        settings.max_age = self.max_age.map(Duration::from_millis);
        settings.max_bytes = self.max_bytes;
        let bytes = |payload: Option<Payload>| payload.map(|it| it.bytes()).transpose();
        settings.schema = bytes(self.schema)?;
        settings.note = bytes(self.note)?.unwrap_or_default();
        let mut image = Image::default();
        image.settings = settings;
        image.created = Timestamp(self.created);
        image.appended = Timestamp(self.appended);
        image.floor = offset(self.floor)?;
        let marks = self.marks.iter().map(|mark| mark.parse());
        let marks: Result<Vec<Mark>, headwater_log::Error> = marks.collect();
        image.marks = marks.map_err(|error| error.to_string())?;
        if image.marks.is_empty() {
            return Err("it has no `marks`".to_owned());
        }
        image.closed = self.closed;
        image.closed_by = self.closed_by.map(|by| Producer {
            id: by.producer,
            epoch: by.epoch,
            seq: by.seq,
        });
        image.reason = bytes(self.reason)?;
        image.seq = self.seq;
        Ok(image)
    }
}

fn offset(number: u64) -> Result<Offset, String> {
    match number <= Offset::MAX.number() {
        true => Ok(Offset::new(number)),
        false => Err("an offset is out of range".to_owned()),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProducerLine<'a> {
    #[serde(borrow)]
    producer: Cow<'a, str>,
    epoch: u64,
    seq: u64,
    next: u64,
    used: u64,
    messages: u64,
    #[serde(borrow)]
    digest: Cow<'a, str>,
    appends: Cow<'a, [u32]>,
}

impl<'a> ProducerLine<'a> {
    pub(crate) fn of(image: &'a ProducerImage) -> Self {
        let Producer { id, epoch, seq } = &image.producer;
        Self {
            producer: id.into(),
            epoch: *epoch,
            seq: *seq,
            next: image.next.number(),
            used: image.used.0,
            messages: image.published.messages,
            digest: image.published.digest.to_string().into(),
            appends: (&image.appends).into(),
        }
    }

    pub(crate) fn image(self) -> Result<ProducerImage, String> {
        let (epoch, seq) = (self.epoch, self.seq);
        let id = self.producer.into_owned();
        let mut image = ProducerImage::new(Producer { id, epoch, seq });
        image.next = offset(self.next)?;
        image.used = Timestamp(self.used);
        image.published = Published {
            messages: self.messages,
            digest: digest(&self.digest)?,
        };
        image.appends = self.appends.into_owned();
        Ok(image)
    }
}

pub(crate) fn digest(text: &str) -> Result<Digest, String> {
    text.parse()
        .map_err(|error: headwater_wire::NoDigest| error.to_string())
}

/// A message.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageLine<'a> {
    pub(crate) offset: u64,
    pub(crate) time: u64,
    #[serde(default, borrow, deserialize_with = "present")]
    json: Option<&'a RawValue>,
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    base64: Option<Cow<'a, str>>,
}

/// Reads a value that is there, also if it is `null`.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl MessageLine<'_> {
    /// Returns the message, and `true` if it was written as JSON. `line` is the line of which this is.
    pub(crate) fn message(&self, line: &Bytes) -> Result<(Bytes, bool), String> {
        match (&self.json, &self.text, &self.base64) {
            (Some(raw), None, None) => {
                // The raw text is borrowed from the line, or from a copy of it.
                let raw = raw.get().as_bytes();
                Ok((line.slice_ref(raw), true))
            }
            (None, Some(text), None) => Ok((Bytes::copy_from_slice(text.as_bytes()), false)),
            (None, None, Some(text)) => Ok((decode(text)?, false)),
            _ => Err("a message has one of `json`, `text` and `base64`".to_owned()),
        }
    }
}

/// Appends the line of a message.
pub(crate) fn put_message(
    out: &mut Vec<u8>,
    offset: Offset,
    time: Timestamp,
    message: &[u8],
    is_json: bool,
) {
    let start = format!("{{\"offset\":{},\"time\":{},", offset.number(), time.0);
    out.extend_from_slice(start.as_bytes());
    match form(message, is_json) {
        Form::Json(text) => {
            out.extend_from_slice(b"\"json\":");
            out.extend_from_slice(text.as_bytes());
        }
        Form::Text(text) => {
            out.extend_from_slice(b"\"text\":");
            put_json(out, text);
        }
        Form::Bytes => {
            out.extend_from_slice(b"\"base64\":\"");
            out.extend_from_slice(BASE64.encode(message).as_bytes());
            out.push(b'"');
        }
    }
    out.push(b'}');
}

/// Appends a value as JSON.
pub(crate) fn put_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Structs of numbers, texts and raw JSON always have a JSON form.
    let _written = serde_json::to_writer(out, value);
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct End<'a> {
    #[serde(borrow)]
    pub(crate) end: Cow<'a, str>,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    #[serde(borrow)]
    pub(crate) digest: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dropped<'a> {
    #[serde(borrow)]
    pub(crate) dropped: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) why: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Complete {
    pub(crate) complete: bool,
    pub(crate) streams: u64,
    pub(crate) dropped: u64,
}

/// A line that was read.
pub(crate) enum Line<'a> {
    Start(Start<'a>),
    Stream(Box<Stream<'a>>),
    Producer(ProducerLine<'a>),
    Message(MessageLine<'a>),
    End(End<'a>),
    Dropped(Dropped<'a>),
    Complete(Complete),
}

/// The member that tells the kind of a line.
#[derive(Deserialize)]
struct Peek {
    headwater: Option<IgnoredAny>,
    stream: Option<IgnoredAny>,
    producer: Option<IgnoredAny>,
    offset: Option<IgnoredAny>,
    end: Option<IgnoredAny>,
    dropped: Option<IgnoredAny>,
    complete: Option<IgnoredAny>,
}

impl<'a> Line<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// The reason for which it is none.
    pub(crate) fn read(line: &'a [u8]) -> Result<Self, String> {
        fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
            serde_json::from_slice(line).map_err(|error| why(line, &error))
        }
        if line.starts_with(b"{\"offset\":") {
            return parse(line).map(Self::Message);
        }
        let peek: Peek = parse(line)?;
        match peek {
            Peek {
                headwater: Some(_), ..
            } => parse(line).map(Self::Start),
            Peek {
                stream: Some(_), ..
            } => parse(line).map(Self::Stream),
            Peek {
                producer: Some(_), ..
            } => parse(line).map(Self::Producer),
            Peek {
                offset: Some(_), ..
            } => parse(line).map(Self::Message),
            Peek { end: Some(_), .. } => parse(line).map(Self::End),
            // It has the number of dropped streams, too.
            Peek {
                complete: Some(_), ..
            } => parse(line).map(Self::Complete),
            Peek {
                dropped: Some(_), ..
            } => parse(line).map(Self::Dropped),
            _ => Err(
                "a line of an export is an object with `headwater`, `stream`, `producer`, `offset`, `end`, `dropped` \
                 or `complete`"
                    .to_owned(),
            ),
        }
    }
}

/// Returns the reason for which a line can't be parsed.
fn why(line: &[u8], error: &serde_json::Error) -> String {
    if line.starts_with(b"\x1f\x8b") {
        return "it is compressed with gzip: decompress it first".to_owned();
    }
    if let Err(error) = std::str::from_utf8(line) {
        return format!(
            "it isn't UTF-8 after its first {} bytes",
            error.valid_up_to()
        );
    }
    // The number of the line is that of the body.
    let text = json::message_of(error);
    let column = error.column();
    if !error.is_data() {
        return format!("it isn't JSON at column {column}: {text}");
    }
    // The types are those of serde's messages.
    let text = text
        .replace("floating point", "number")
        .replace("struct Peek", "an object")
        .replace("struct ClosedBy", "an object")
        .replace("enum Payload", "an object")
        .replace("expected u64", "expected a whole number below 2^64")
        .replace("expected u32", "expected a whole number below 2^32");
    format!("{text}, at column {column}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(message: &[u8], is_json: bool, expected: &str) {
        let mut out = Vec::new();
        put_message(&mut out, Offset::new(7), Timestamp(9), message, is_json);
        let line = Bytes::from(out);
        let text = std::str::from_utf8(&line).unwrap();
        assert_eq!(text, format!("{{\"offset\":7,\"time\":9,{expected}}}"));
        let Ok(Line::Message(read)) = Line::read(&line) else {
            panic!("{text} isn't read as a message")
        };
        assert_eq!((read.offset, read.time), (7, 9));
        assert_eq!(read.message(&line).unwrap().0, message);
    }

    #[test]
    fn a_message_is_written_in_the_form_that_is_easiest_to_read() {
        check(br#"{"a": 1}"#, true, r#""json":{"a": 1}"#);
        check(b"null", true, r#""json":null"#);
        check(br#"{"a": 1}"#, false, r#""text":"{\"a\": 1}""#);
        check(b" 1", true, r#""text":" 1""#);
        check(b"[1,\n2]", true, r#""text":"[1,\n2]""#);
        check(b"not json", true, r#""text":"not json""#);
        check(b"", false, r#""text":"""#);
        check("ä\r\n\t".as_bytes(), false, r#""text":"ä\r\n\t""#);
        check(b"\x00", false, r#""base64":"AA==""#);
        check(b"\xff", false, r#""base64":"/w==""#);
    }

    #[test]
    fn a_line_that_is_none_is_refused_with_the_reason() {
        for (line, why) in [
            ("x", "it isn't JSON at column 1: expected value"),
            (
                "{\"end\":",
                "it isn't JSON at column 7: EOF while parsing a value",
            ),
            (
                "7",
                "invalid type: integer `7`, expected an object, at column 1",
            ),
            (
                "{}",
                "a line of an export is an object with `headwater`, `stream`, `producer`, `offset`, `end`, `dropped` or \
                 `complete`",
            ),
            (
                r#"{"offset":1,"time":2,"jsn":3}"#,
                "unknown field `jsn`, expected one of `offset`, `time`, `json`, `text`, `base64`, at column 26",
            ),
            (
                r#"{"offset":1e20,"time":2,"json":3}"#,
                "invalid type: number `1e+20`, expected a whole number below 2^64, at column 14",
            ),
            (r#"{"end":"a"}"#, "missing field `messages`, at column 11"),
        ] {
            let error = Line::read(line.as_bytes()).err();
            assert_eq!(error.as_deref(), Some(why), "{line}");
        }
        for (line, why) in [
            (
                &b"\x1f\x8b\x08\0"[..],
                "it is compressed with gzip: decompress it first",
            ),
            (
                b"{\"end\":\"\xff\"}",
                "it isn't UTF-8 after its first 8 bytes",
            ),
        ] {
            assert_eq!(Line::read(line).err().as_deref(), Some(why));
        }
        for line in [
            r#"{"offset":1,"time":2}"#,
            r#"{"offset":1,"time":2,"json":3,"text":"3"}"#,
            r#"{"offset":1,"time":2,"base64":"?"}"#,
        ] {
            let Ok(Line::Message(read)) = Line::read(line.as_bytes()) else {
                panic!("{line} isn't read as a message")
            };
            assert!(read.message(&Bytes::from(line)).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_message_round_trips_in_twice_its_length(message: Vec<u8>, is_json: bool) {
            let mut out = Vec::new();
            put_message(&mut out, Offset::MAX, Timestamp(u64::MAX), &message, is_json);
            prop_assert!(out.len() <= 2 * message.len() + 80);
            let line = Bytes::from(out);
            let Ok(Line::Message(read)) = Line::read(&line) else {
                return Err(TestCaseError::fail("it isn't read as a message"));
            };
            prop_assert_eq!(&read.message(&line).unwrap().0, &message);
        }

        #[test]
        fn a_stream_and_its_producers_round_trip(
            numbers: [u32; 6], closed: bool, seq: Option<String>, note: Vec<u8>,
            reason: Option<Vec<u8>>, schema: Option<String>, kind in 0..3_u8, id: String,
            appends: Vec<u32>,
        ) {
            let [at, epoch, number, time, age, bytes] = numbers.map(u64::from);
            let mut image = Image::default();
            image.settings = Settings::of_type("text/plain");
            image.settings.expiry = match kind {
                0 => None,
                1 => Some(Expiry::Idle(Duration::from_millis(age))),
                _ => Some(Expiry::At(Timestamp(time))),
            };
            image.settings.max_age = closed.then(|| Duration::from_millis(age));
            image.settings.max_bytes = closed.then_some(bytes);
            image.settings.note = note.into();
            image.settings.schema = schema.map(Bytes::from);
            image.floor = Offset::new(at);
            image.created = Timestamp(time);
            let incarnation = headwater_log::Identity::new(at).stream(at);
            image.marks = vec![Mark { at: Offset::new(at), incarnation }];
            image.closed = closed;
            image.reason = reason.map(Bytes::from);
            image.seq = seq;
            let producer = Producer { id, epoch, seq: number };
            image.closed_by = closed.then(|| producer.clone());
            let mut out = Vec::new();
            put_json(&mut out, &Stream::of("s", &image));
            let Ok(Line::Stream(read)) = Line::read(&out) else {
                return Err(TestCaseError::fail("it isn't read as a stream"));
            };
            prop_assert_eq!(read.image(), Ok(image));

            let mut producer = ProducerImage::new(producer);
            producer.appends = appends;
            producer.published.digest.add(b"x");
            let mut out = Vec::new();
            put_json(&mut out, &ProducerLine::of(&producer));
            let Ok(Line::Producer(read)) = Line::read(&out) else {
                return Err(TestCaseError::fail("it isn't read as a producer"));
            };
            prop_assert_eq!(read.image(), Ok(producer));
        }
    }
}
