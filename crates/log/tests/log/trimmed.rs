//! Trimmed messages in the order of all streams: every missing message is covered by a notice, and
//! every notice covers missing messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_log::{
    Append, Clock, Create, DiskLog, Limits, Log, Matching, Offset, OrderChunk, Position, Settings,
    StreamName,
};
use proptest::prelude::*;

use crate::support::{
    START, append, every_engine, fork_of, name, options, plain, quick_folder, run,
};

fn capped(max_bytes: u64) -> Create {
    let mut settings = Settings::of_type("text/plain");
    settings.max_bytes = Some(max_bytes);
    Create::new(settings)
}

/// Returns notices as text: position, stream and floor of each.
fn told(chunk: &OrderChunk) -> Vec<String> {
    let notices = chunk.trimmed.iter();
    notices
        .map(|gap| {
            format!(
                "{} {} {}",
                gap.position.number(),
                gap.stream,
                gap.floor.number()
            )
        })
        .collect()
}

#[test]
fn only_readers_that_missed_messages_receive_a_notice() {
    every_engine(|log, _, settle| {
        let (a, b) = (name("a"), name("b"));
        run(log.create(&a, capped(10))).unwrap();
        run(log.create(&b, plain())).unwrap();
        for text in ["12345", "67890", "abcde", "fghij"] {
            run(append(log, &a, &[text]));
            run(append(log, &b, &["b"]));
        }
        settle();
        let read = |from, budget, wanted: Option<&'static str>| {
            let matching =
                wanted.map(|wanted| -> Matching { Arc::new(move |name| name.as_str() == wanted) });
            run(log.read_order(Position::new(from), budget, matching)).unwrap()
        };
        // The second message of `a` was at 2.
        for from in 0..3 {
            assert_eq!(told(&read(from, 999, None)), ["2 a 2"], "from {from}");
        }
        assert!(told(&read(3, 999, None)).is_empty());
        assert!(told(&read(0, 999, Some("b"))).is_empty());
        assert_eq!(told(&read(0, 999, Some("a"))), ["2 a 2"]);
        // A read that stops before the notice leaves it to the next one.
        let first = read(0, 0, None);
        assert_eq!((told(&first).len(), first.next.number()), (1, 3));
        let first = read(0, 0, Some("b"));
        assert_eq!((told(&first).len(), first.next.number()), (0, 3));

        run(append(log, &a, &["0123456789"]));
        settle();
        let later = told(&read(3, 999, None));
        assert_eq!(later, ["6 a 4"]);
        assert_eq!(told(&read(0, 999, None)), later, "there is one of a stream");
        run(log.delete(&a)).unwrap();
        settle();
        assert!(told(&read(0, 999, None)).is_empty());
    });
}

#[test]
fn a_stream_without_messages_left_still_causes_a_notice() {
    every_engine(|log, clock, settle| {
        let mut settings = Settings::of_type("text/plain");
        settings.max_age = Some(Duration::from_secs(60));
        let young = name("young");
        run(log.create(&young, Create::new(settings))).unwrap();
        run(append(log, &young, &["1", "2"]));
        clock.advance(Duration::from_secs(61));
        settle();
        let chunk = run(log.read_order(Position::START, 999, None)).unwrap();
        assert!(chunk.entries.is_empty() && chunk.at_head);
        assert_eq!(told(&chunk), ["1 young 2"]);
        let later = run(log.read_order(chunk.next, 999, None)).unwrap();
        assert!(told(&later).is_empty());
    });
}

#[test]
fn a_hidden_stream_causes_no_notice() {
    every_engine(|log, _, settle| {
        let (source, fork) = (name("source"), name("fork"));
        run(log.create(&source, capped(5))).unwrap();
        run(append(log, &source, &["12345"]));
        run(log.create(&fork, fork_of(&source))).unwrap();
        run(append(log, &source, &["67890"]));
        settle();
        let from_start = || run(log.read_order(Position::START, 999, None)).unwrap();
        assert_eq!(told(&from_start()), ["0 source 1"]);
        run(log.delete(&source)).unwrap();
        assert!(told(&from_start()).is_empty());
    });
}

/// A reader that compares what it receives with what was appended.
#[derive(Default)]
struct Reader {
    next: Position,
    /// The next expected offset of each stream.
    due: HashMap<StreamName, u64>,
}

impl Reader {
    async fn read(&mut self, log: &dyn Log, budget: usize) -> bool {
        let chunk = log.read_order(self.next, budget, None).await.unwrap();
        let entries = chunk.entries.iter().map(|entry| {
            let offset = entry.message.offset.number();
            (entry.position, &entry.stream, Some(offset), offset + 1)
        });
        let gaps = chunk
            .trimmed
            .iter()
            .map(|gap| (gap.position, &gap.stream, None, gap.floor.number()));
        let mut all: Vec<_> = entries.chain(gaps).collect();
        all.sort_by_key(|(position, ..)| *position);
        let mut from = self.next;
        for (position, stream, offset, next) in all {
            assert!(
                from <= position && position < chunk.next,
                "{position} is not in order"
            );
            from = Position::new(position.number() + 1);
            let due = self.due.entry(stream.clone()).or_default();
            match offset {
                Some(offset) => assert_eq!(offset, *due, "of {stream} something is missing"),
                None => assert!(next > *due, "of {stream} nothing was missed before {next}"),
            }
            *due = next;
        }
        self.next = chunk.next;
        chunk.at_head
    }

    /// Reads to the end. Every message must have been received or covered by a notice.
    async fn finish(&mut self, log: &dyn Log) {
        while !self.read(log, 50).await {}
        for info in log.list("", None, 99).await.unwrap().streams {
            let due = self.due.get(&info.name).copied().unwrap_or_default();
            assert_eq!(Offset::new(due), info.tail, "{}", info.name);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize, Vec<u8>),
    Read(usize, usize),
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, prop::collection::vec(1..20_u8, 1..4)).prop_map(|(stream, sizes)| Step::Append(stream, sizes)),
        2 => (0..3_usize, 0..60_usize).prop_map(|(reader, budget)| Step::Read(reader, budget)),
        1 => Just(Step::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn readers_receive_every_message_or_a_notice(steps in prop::collection::vec(step(), 1..80)) {
        every_engine(|log, _, settle| {
            let streams = [name("a"), name("b"), name("c")];
            for (stream, cap) in streams.iter().zip([20, 60, 1000]) {
                run(log.create(stream, capped(cap))).unwrap();
            }
            let mut readers: [Reader; 3] = Default::default();
            for step in &steps {
                match step {
                    Step::Append(stream, sizes) => {
                        let messages = sizes.iter().map(|size| vec![b'x'; *size as usize].into());
                        let append = Append::new(messages.collect());
                        run(log.append(&streams[*stream], append)).unwrap();
                    }
                    Step::Read(reader, budget) => {
                        run(readers[*reader].read(log, *budget));
                    }
                    Step::Trim => settle(),
                }
            }
            for reader in &mut readers {
                run(reader.finish(log));
            }
        });
    }
}

#[test]
fn trimming_during_a_read_causes_a_notice() {
    let folder = quick_folder();
    let mut options = options(&Clock::by_hand(START), Limits::default());
    options.reclaim_every = Duration::from_millis(1);
    // Reads come from the disk, where trimming takes place.
    options.recent_bytes = 0;
    let log = Arc::new(DiskLog::open(folder.path(), options).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let writers: Vec<_> = (0..4_u64)
        .map(|n| {
            let log = Arc::clone(&log);
            runtime.spawn(async move {
                let stream = name(&format!("s/{n}"));
                log.create(&stream, capped(200 + 300 * n)).await.unwrap();
                for _ in 0..400 {
                    append(&*log, &stream, &["0123456789", "x"]).await;
                }
            })
        })
        .collect();
    let read = async {
        let mut readers: [Reader; 3] = Default::default();
        while writers.iter().any(|writer| !writer.is_finished()) {
            for (n, reader) in readers.iter_mut().enumerate() {
                reader.read(&*log, 40 * n).await;
            }
            tokio::task::yield_now().await;
        }
        for reader in &mut readers {
            reader.finish(&*log).await;
            assert_eq!(reader.due.len(), 4);
        }
    };
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(60), read).await })
        .expect("it ends within a minute");
    for writer in writers {
        runtime.block_on(writer).unwrap();
    }
}
