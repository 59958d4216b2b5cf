use std::{mem, time::Duration};

use bytes::Bytes;
use memchr::memchr;

use super::field::{Field, parse};
use crate::{
    DecodeError, Event, Format, Limits, Str,
    error::Kind,
    input::input_methods,
    lines::{Ends, Lines},
};

/// Length of the longest field name with the colon and the space.
const MAX_PREFIX: usize = "event: ".len();

/// A decoder of `text/event-stream`, exactly as WHATWG HTML §9.2.6, "Interpreting an event stream".
///
/// Comments and unknown fields are skipped. Invalid UTF-8 is replaced by U+FFFD. An event that is
/// cut by the end of the stream is dropped, as the standard requires.
///
/// [`Limits::max_item_bytes`] bounds the data of an event, including the LFs between its lines, and
/// the value of each other field.
#[derive(Debug)]
pub struct Decoder {
    lines: Lines,
    max_item_bytes: usize,
    data: Data,
    event: Option<Kept>,
    /// The last event id buffer, if it differs from `last_event_id`.
    new_id: Option<Kept>,
    last_event_id: Kept,
    /// The id that the last event's own id has replaced. `None` if it had none.
    replaced_id: Option<Kept>,
    retry: Option<Duration>,
}

/// The data buffer. No `data` field yet differs from an empty one.
#[derive(Debug)]
enum Data {
    None,
    Line(Bytes),
    Lines(Vec<u8>),
}

/// A value that is kept longer than its line. While it may be returned with the next event, it
/// shares the memory of its chunk. Between chunks it has its own memory, because it can be needed
/// for hours.
#[derive(Debug, Default)]
struct Kept {
    text: Str,
    shares: bool,
}

impl Kept {
    fn new(bytes: Bytes) -> Self {
        let at = bytes.as_ptr();
        let text = Str::from_utf8_lossy(bytes);
        Self {
            // Text that was invalid has its own memory already.
            shares: text.as_str().as_ptr() == at,
            text,
        }
    }

    fn copy(&mut self) {
        if self.shares {
            *self = Self {
                text: Str::from(&*self.text),
                shares: false,
            };
        }
    }
}

impl Decoder {
    input_methods!(lines);

    /// Creates a decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let max_line = limits.max_item_bytes.saturating_add(MAX_PREFIX);
        Self {
            lines: Lines::new(Format::Sse, Ends::Any, true, max_line),
            max_item_bytes: limits.max_item_bytes,
            data: Data::None,
            event: None,
            new_id: None,
            last_event_id: Kept::default(),
            replaced_id: None,
            retry: None,
        }
    }

    /// Returns the reconnection time, if the stream has set one.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Returns the last event id, which persists between events. Empty until the stream sets one.
    #[must_use]
    pub fn last_event_id(&self) -> &Str {
        &self.last_event_id.text
    }

    /// Returns the last event id before the event that was returned last. It is valid until the
    /// next call of [`next`](Self::next), and differs from [`last_event_id`](Self::last_event_id) if
    /// that event had an id of its own.
    #[must_use]
    pub fn id_before(&self) -> &Str {
        let id = self.replaced_id.as_ref().unwrap_or(&self.last_event_id);
        &id.text
    }

    /// Returns the next event. `None` means that more input is needed or, after
    /// [`finish`](Self::finish), that there are no more events.
    ///
    /// # Errors
    ///
    /// If the event is too large. Later calls return the same error.
    #[allow(
        clippy::should_implement_trait,
        reason = "it isn't an iterator: `None` may not be the end"
    )]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Event>, DecodeError> {
        self.lines.check()?;
        while self.lines.advance() {
            let line = self.lines.line();
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
            } else if let Some((field, value)) = parse(line) {
                let end = line.len();
                self.check_size(field, value, end, self.lines.line_offset())?;
                if matches!((field, &self.data), (Field::Data, Data::None)) {
                    let data = self.lines.take(value..end);
                    if self.lines.skip_empty() {
                        return Ok(Some(self.give(data)));
                    }
                    self.data = Data::Line(data);
                } else {
                    self.take_field(field, value, end);
                }
            }
        }
        self.check_partial()?;
        self.let_go();
        Ok(None)
    }

    /// Processes a field whose value is in the current line from `value` to `end`.
    fn take_field(&mut self, field: Field, value: usize, end: usize) {
        match field {
            Field::Data => match &mut self.data {
                Data::None => self.data = Data::Line(self.lines.take(value..end)),
                Data::Line(first) => {
                    let mut lines = Vec::with_capacity(2 * (first.len() + end - value + 1));
                    lines.extend_from_slice(first);
                    lines.push(b'\n');
                    lines.extend_from_slice(&self.lines.line()[value..]);
                    self.data = Data::Lines(lines);
                }
                Data::Lines(lines) => {
                    lines.push(b'\n');
                    lines.extend_from_slice(&self.lines.line()[value..]);
                }
            },
            Field::Event => self.event = Some(Kept::new(self.lines.take(value..end))),
            Field::Id => {
                if memchr(0, &self.lines.line()[value..]).is_none() {
                    self.new_id = Some(Kept::new(self.lines.take(value..end)));
                }
            }
            Field::Retry => {
                if let Some(retry) = parse_retry(&self.lines.line()[value..]) {
                    self.retry = Some(retry);
                }
            }
        }
    }

    /// Processes an empty line (§9.2.6, "dispatch the event").
    fn dispatch(&mut self) -> Option<Event> {
        match mem::replace(&mut self.data, Data::None) {
            Data::Line(line) => Some(self.give(line)),
            Data::Lines(lines) => Some(self.give(lines.into())),
            Data::None => {
                self.commit_id();
                self.event = None;
                None
            }
        }
    }

    #[inline]
    fn give(&mut self, data: Bytes) -> Event {
        self.commit_id();
        self.lines.count();
        Event {
            data: Str::from_utf8_lossy(data),
            event: match self.event {
                Some(_) => self.take_event(),
                None => Str::from_static(Event::DEFAULT_TYPE),
            },
            id: self.last_event_id.text.clone(),
        }
    }

    fn take_event(&mut self) -> Str {
        match self.event.take() {
            Some(event) if !event.text.is_empty() => event.text,
            _ => Str::from_static(Event::DEFAULT_TYPE),
        }
    }

    #[inline]
    fn commit_id(&mut self) {
        self.replaced_id = self
            .new_id
            .take()
            .map(|id| mem::replace(&mut self.last_event_id, id));
    }

    /// Copies the values that are kept for later events, so that they don't keep whole chunks. Each
    /// value is copied at most once.
    fn let_go(&mut self) {
        if let Data::Line(line) = &self.data {
            self.data = Data::Lines(line.to_vec());
        }
        self.replaced_id = None;
        let kept = [
            self.event.as_mut(),
            self.new_id.as_mut(),
            Some(&mut self.last_event_id),
        ];
        kept.into_iter().flatten().for_each(Kept::copy);
    }

    /// Refuses a line that is too large before its end has arrived.
    fn check_partial(&mut self) -> Result<(), DecodeError> {
        let line = self.lines.partial();
        match parse(line) {
            // Without a colon the name may continue and be that of another field.
            Some((field, value)) if line.contains(&b':') => {
                self.check_size(field, value, line.len(), self.lines.partial_offset())
            }
            _ => Ok(()),
        }
    }

    /// Refuses a field that is too large, at the first byte above the limit. If the data has no
    /// room for another line at all, that is the start of the line.
    #[inline]
    fn check_size(
        &mut self,
        field: Field,
        value: usize,
        end: usize,
        line_offset: u64,
    ) -> Result<(), DecodeError> {
        let limit = self.max_item_bytes;
        let taken = match (field, &self.data) {
            (Field::Data, Data::Line(line)) => line.len() + 1,
            (Field::Data, Data::Lines(lines)) => lines.len() + 1,
            _ => 0,
        };
        let fault = match limit.checked_sub(taken) {
            Some(room) if end - value <= room => return Ok(()),
            Some(room) => value + room,
            None => 0,
        };
        self.data = Data::None;
        let offset = line_offset + fault as u64;
        Err(self.lines.fail(Kind::TooLarge { limit }, offset))
    }
}

/// "If the field value consists of only ASCII digits, then interpret [it] as an integer in base
/// ten" (§9.2.6). A number above the maximum of a `u64` is treated as that maximum.
fn parse_retry(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let millis = value.iter().fold(0_u64, |millis, digit| {
        millis
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    Some(Duration::from_millis(millis))
}
