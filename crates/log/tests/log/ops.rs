//! Random operations on an engine, compared with the model: the engine in memory.
//!
//! The tests of other engines use this file too.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_log::{
    Append, Clock, Create, Error, Expiry, ForkFrom, Identity, Info, Limits, Log, Matching,
    MemoryLog, MemoryOptions, Offset, Position, Published, ReadFrom, Restore, Restored, Settings,
    Skip, StreamName, Timestamp, limits,
};
use proptest::prelude::*;

use crate::support::{name, run};

const NAMES: [&str; 5] = ["a", "a/b", "a/c", "b", "long/er"];
/// The idle time of streams. It is longer than all clock steps of a run together, so none of them
/// expires.
const IDLE: Duration = Duration::from_secs(100_000);

/// A producer's append.
#[derive(Clone, Debug)]
pub(crate) struct By {
    id: u8,
    epoch: u64,
    seq: u64,
    /// `true` if it has the same messages as any other append of this number.
    again: bool,
    /// 0: unspecified; 1: nothing; else: the messages that it has published.
    continues: u8,
}

fn by() -> impl Strategy<Value = By> {
    (
        0..4_u8,
        0..2_u64,
        0..4_u64,
        prop::bool::weighted(0.7),
        0..4_u8,
    )
        .prop_map(|(id, epoch, seq, again, continues)| By {
            id,
            epoch,
            seq,
            again,
            continues,
        })
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create {
        stream: usize,
        kind: u8,
        fork: Option<(usize, u8, Skip)>,
        messages: Vec<u32>,
        closed: bool,
    },
    Append {
        stream: usize,
        messages: Vec<u32>,
        producer: Option<By>,
        seq: Option<u8>,
        close: bool,
        reason: bool,
    },
    Read {
        stream: usize,
        from: u8,
        budget: usize,
    },
    Since {
        stream: usize,
        back: u64,
    },
    /// Restores a stream, or continues that, under another name.
    Move {
        from: usize,
        to: usize,
        /// Number of messages that were trimmed meanwhile, after the first ones.
        gap: u64,
        /// Messages in a step.
        step: usize,
        /// `true` if it isn't completed.
        cut: bool,
    },
    Delete {
        stream: usize,
    },
    Touch {
        stream: usize,
    },
    List {
        prefix: usize,
        after: Option<usize>,
        limit: usize,
    },
    Order {
        from: u8,
        budget: usize,
        prefix: Option<usize>,
    },
    Advance {
        seconds: u64,
    },
    Restart,
}

fn messages() -> impl Strategy<Value = Vec<u32>> {
    let size = prop_oneof![20 => 0..60_u32, 2 => 300..3000_u32, 1 => 30_000..70_000_u32];
    prop::collection::vec(size, 0..5)
}

fn skip() -> impl Strategy<Value = Skip> {
    prop_oneof![
        3 => Just(Skip::NONE),
        1 => (0..4_u64).prop_map(Skip::Messages),
        2 => (0..70_u64).prop_map(Skip::Bytes),
    ]
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let stream = || 0..NAMES.len();
    prop_oneof![
        4 => (stream(), 0..6_u8, prop::option::of((stream(), any::<u8>(), skip())), messages(), prop::bool::weighted(0.1))
            .prop_map(|(stream, kind, fork, messages, closed)| Op::Create { stream, kind, fork, messages, closed }),
        10 => (stream(), messages(), prop::option::of(by()), prop::option::weighted(0.2, 0..9_u8), prop::bool::weighted(0.05), prop::bool::weighted(0.03))
            .prop_map(|(stream, messages, producer, seq, close, reason)| Op::Append { stream, messages, producer, seq, close, reason }),
        4 => (stream(), any::<u8>(), prop_oneof![Just(0), 1..200_usize, Just(1 << 20)])
            .prop_map(|(stream, from, budget)| Op::Read { stream, from, budget }),
        1 => (stream(), 0..100_u64).prop_map(|(stream, back)| Op::Since { stream, back }),
        3 => (stream(), stream(), prop_oneof![3 => Just(0), 1 => 0..4_u64], 1..9_usize, prop::bool::weighted(0.3))
            .prop_map(|(from, to, gap, step, cut)| Op::Move { from, to, gap, step, cut }),
        2 => stream().prop_map(|stream| Op::Delete { stream }),
        1 => stream().prop_map(|stream| Op::Touch { stream }),
        1 => (stream(), prop::option::of(stream()), 0..4_usize)
            .prop_map(|(prefix, after, limit)| Op::List { prefix, after, limit }),
        2 => (any::<u8>(), prop_oneof![Just(0), 1..300_usize, Just(1 << 20)], prop::option::of(stream()))
            .prop_map(|(from, budget, prefix)| Op::Order { from, budget, prefix }),
        2 => prop_oneof![5 => 1..20_u64, 1 => Just(IDLE.as_secs() * 2), 1 => Just(limits::PRODUCER_IDLE.as_secs())]
            .prop_map(|seconds| Op::Advance { seconds }),
        1 => Just(Op::Restart),
    ]
}

fn settings(kind: u8, now: Timestamp) -> Settings {
    let mut settings = Settings::of_type(if kind == 5 { "" } else { "application/json" });
    match kind {
        1 => settings.expiry = Some(Expiry::Idle(IDLE)),
        2 => settings.expiry = Some(Expiry::At(now.after(Duration::from_secs(30)))),
        3 => settings.max_bytes = Some(150),
        4 => settings.max_age = Some(Duration::from_secs(25)),
        5 => {
            settings.schema = Some(Bytes::from_static(b"{}"));
            settings.note = Bytes::from_static(b"note");
        }
        _ => {}
    }
    settings
}

/// Returns distinguishable messages.
fn content(sizes: &[u32], step: usize) -> Vec<Bytes> {
    let message = |(index, size): (usize, &u32)| {
        let mut text = format!("{step}.{index} ").into_bytes();
        text.resize(*size as usize, b'.');
        Bytes::from(text)
    };
    sizes.iter().enumerate().map(message).collect()
}

/// An engine that is compared with the model.
pub(crate) trait Subject {
    fn log(&self) -> &dyn Log;
    /// Performs all background work that is due.
    fn settle(&self);
    fn restart(&mut self);
}

pub(crate) struct Memory(pub(crate) MemoryLog);

impl Subject for Memory {
    fn log(&self) -> &dyn Log {
        &self.0
    }

    fn settle(&self) {
        while self.0.reclaim(100) {}
    }

    fn restart(&mut self) {}
}

pub(crate) fn few() -> Limits {
    let mut limits = Limits::default();
    limits.producers = 2;
    limits.streams = 4;
    limits.ended = 3;
    limits
}

pub(crate) fn memory(clock: &Clock, identity: Identity) -> MemoryLog {
    let mut options = MemoryOptions::default();
    options.clock = clock.clone();
    options.limits = few();
    options.reclaim_every = Duration::from_secs(3600);
    options.identity = identity;
    MemoryLog::new(options)
}

/// Replaces the runs of dots that fill messages by their lengths.
fn short(text: &str) -> String {
    let mut out = String::new();
    let mut dots = 0_usize;
    for letter in text.chars().chain(['\n']) {
        if letter == '.' {
            dots += 1;
            continue;
        }
        if dots > 0 {
            out += &format!(".{dots}");
        }
        dots = 0;
        out.push(letter);
    }
    out
}

/// Returns a response as text, so that the responses of two engines can be compared; an error by
/// its message.
fn say<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Ok(answer) => short(&format!("{answer:?}")),
        Err(error) => format!("error: {error}"),
    }
}

/// Removes the expiry of a stream that ends when idle, which is not exact after a restart.
fn without_expiry(mut info: Info) -> Info {
    if matches!(info.settings.expiry, Some(Expiry::Idle(_))) {
        info.expires = None;
    }
    info
}

async fn apply(log: &dyn Log, op: &Op, step: usize, now: Timestamp) -> String {
    let stream = |index: usize| name(NAMES[index]);
    match op {
        Op::Create {
            stream: at,
            kind,
            fork,
            messages,
            closed,
        } => {
            let mut create = Create::new(settings(*kind, now));
            create.messages = content(messages, step);
            create.closed = *closed;
            if let Some((source, part, skip)) = fork {
                let source = stream(*source);
                let tail = log.info(&source).await.map_or(0, |info| info.tail.number());
                let at = (*part < 240).then(|| Offset::new(tail * u64::from(*part) / 200));
                // The incarnation that a client would send: the source's, possibly another
                // stream's, or none.
                let named = match part % 3 {
                    0 => None,
                    1 => log.info(&source).await.ok(),
                    _ => log.info(&stream(0)).await.ok(),
                };
                let of = named.zip(at).map(|(info, at)| info.at(at).incarnation);
                create.fork = Some(ForkFrom {
                    source,
                    at,
                    of,
                    skip: *skip,
                });
            }
            say(log
                .create(&stream(*at), create)
                .await
                .map(|created| (created.is_new, without_expiry(created.info))))
        }
        Op::Append {
            stream: at,
            messages,
            producer,
            seq,
            close,
            reason,
        } => {
            let mut append = Append::new(content(messages, step));
            if let Some(by) = producer {
                let id = format!("p{}", by.id);
                append = append.by(&id, by.epoch, by.seq);
                if by.again {
                    append.messages = content(&[9, 9], by.seq.try_into().unwrap());
                }
                append.continues = match by.continues {
                    0 => None,
                    1 => Some(Published::default()),
                    _ => match log.producer(&stream(*at), &id).await {
                        Ok(known) => known.map(|known| known.published),
                        Err(_) => None,
                    },
                };
                if by.seq > 0 && by.continues < 3 {
                    append.continues = None;
                }
            }
            append.seq = seq.map(|seq| seq.to_string());
            append.close = *close;
            append.reason = reason.then(|| Bytes::from(format!("reason {step}")));
            say(log.append(&stream(*at), append).await)
        }
        Op::Read {
            stream: at,
            from,
            budget,
        } => {
            let tail = log
                .info(&stream(*at))
                .await
                .map_or(0, |info| info.tail.number());
            let from = match from {
                0..20 => ReadFrom::Start,
                20..30 => ReadFrom::Tail,
                _ => ReadFrom::At(Offset::new(tail * u64::from(*from) / 240)),
            };
            let read = say(log.read(&stream(*at), from, *budget).await);
            let measured = log.measure(&stream(*at), from, *budget as u64).await;
            read + &say(measured)
        }
        Op::Since { stream: at, back } => {
            let since = Timestamp(now.0.saturating_sub(back * 1000));
            say(log.read(&stream(*at), ReadFrom::Since(since), 500).await)
        }
        Op::Move {
            from,
            to,
            gap,
            step,
            cut,
        } => {
            let mut said = Vec::new();
            let (from, to) = (stream(*from), stream(*to));
            let moved = restore(log, &from, &to, (*gap, *step, *cut), &mut said).await;
            said.push(say(moved));
            said.join("\n")
        }
        Op::Delete { stream: at } => say(log.delete(&stream(*at)).await),
        Op::Touch { stream: at } => say(log.touch(&stream(*at)).await),
        Op::List {
            prefix,
            after,
            limit,
        } => {
            let after = after.map(stream);
            let page = log.list(&NAMES[*prefix][..1], after, *limit).await.unwrap();
            // The name for the next page may differ, the streams may not.
            let streams: Vec<Info> = page.streams.into_iter().map(without_expiry).collect();
            format!("{streams:?}")
        }
        Op::Order {
            from,
            budget,
            prefix,
        } => {
            let head = log.usage().head.number();
            let from = Position::new(head * u64::from(*from) / 250);
            let matching = prefix.map(|prefix| {
                let matching: Matching =
                    Arc::new(move |name: &StreamName| name.as_str().starts_with(NAMES[prefix]));
                matching
            });
            say(log.read_order(from, *budget, matching).await)
        }
        Op::Advance { .. } | Op::Restart => String::new(),
    }
}

/// Restores a stream under another name: a gap after the first messages, messages in a step, and `true` if the last step
/// is left out.
async fn restore(
    log: &dyn Log,
    from: &StreamName,
    to: &StreamName,
    (gap, step, cut): (u64, usize, bool),
    said: &mut Vec<String>,
) -> Result<Restored, Error> {
    let (image, producers) = log.image(from).await?;
    let chunk = log.read(from, ReadFrom::Start, usize::MAX).await?;
    let messages: Vec<_> = chunk.messages().collect();
    let image = Box::new(image);
    let begun = log.restore(to, Restore::Begin(image)).await?;
    said.push(format!("{begun:?}"));
    if begun.complete {
        return Ok(begun);
    }
    log.restore(to, Restore::Producers(producers)).await?;
    let rest = messages
        .iter()
        .filter(|message| message.offset >= begun.tail);
    let rest: Vec<_> = rest.collect();
    for (index, some) in rest.chunks(step).enumerate() {
        // Later messages are there, so these can have been trimmed.
        let dropped = if index == 1 {
            usize::try_from(gap).unwrap()
        } else {
            0
        };
        let some = &some[dropped.min(some.len())..];
        let Some(first) = some.first() else { continue };
        let messages = Restore::Messages {
            at: first.offset,
            times: some.iter().map(|message| message.time).collect(),
            messages: some.iter().map(|message| message.bytes.clone()).collect(),
        };
        let restored = log.restore(to, messages).await?;
        said.push(format!("{restored:?}"));
    }
    match cut {
        true => Ok(begun),
        false => log.restore(to, Restore::End).await,
    }
}

/// Returns everything that can be read.
async fn everything(log: &dyn Log) -> String {
    let mut all = String::new();
    for stream in NAMES {
        let stream = name(stream);
        let info = log.info(&stream).await.map(without_expiry);
        all += &format!("{stream}: {}\n", say(info));
        all += &format!("{}\n", say(log.image(&stream).await));
        for producer in 0..4 {
            let known = log.producer(&stream, &format!("p{producer}")).await;
            all += &format!("{producer}: {}\n", say(known));
        }
        all += &format!(
            "{}\n",
            say(log.read(&stream, ReadFrom::Start, usize::MAX).await)
        );
    }
    let usage = log.usage();
    let order = log.read_order(Position::START, usize::MAX, None).await;
    all + &format!("{usage:?}\n{}\n", say(order))
}

fn same(subject: &dyn Log, model: &dyn Log, step: usize) {
    let (found, expected) = (run(everything(subject)), run(everything(model)));
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected, "before step {step}");
    }
}

pub(crate) fn compare(subject: &mut dyn Subject, clock: &Clock, ops: &[Op]) {
    let model = Memory(memory(clock, subject.log().identity()));
    for (step, op) in ops.iter().enumerate() {
        match op {
            Op::Advance { seconds } => clock.advance(Duration::from_secs(*seconds)),
            Op::Restart => subject.restart(),
            _ => {}
        }
        let now = clock.now();
        let expected = run(apply(model.log(), op, step, now));
        let found = run(apply(subject.log(), op, step, now));
        assert_eq!(found, expected, "step {step}: {op:?}");
        model.settle();
        subject.settle();
        if matches!(op, Op::Restart) || step + 1 == ops.len() {
            same(subject.log(), model.log(), step);
        }
    }
    subject.restart();
    same(subject.log(), model.log(), ops.len());
}

/// Performs operations, and reads everything at the end.
#[allow(dead_code, reason = "not every engine needs it")]
pub(crate) fn perform(subject: &mut dyn Subject, clock: &Clock, ops: &[Op]) {
    for (step, op) in ops.iter().enumerate() {
        match op {
            Op::Advance { seconds } => clock.advance(Duration::from_secs(*seconds)),
            Op::Restart => subject.restart(),
            _ => {}
        }
        run(apply(subject.log(), op, step, clock.now()));
        subject.settle();
    }
    run(everything(subject.log()));
}

pub(crate) fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("HEADWATER_LOG_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(default),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
