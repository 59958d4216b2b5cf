//! A process killed with -9 at any time: acknowledged messages exist once, in order.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headwater_log::{
    Append, Create, DiskLog, DiskOptions, Durability, Log, Offset, Outcome, Position, ReadFrom,
    Settings, StreamName,
};

use crate::settings::{random, setting};
use crate::support::{name, run};

/// Set for the process that is killed: the folder of its log.
const FOLDER: &str = "HEADWATER_LOG_KILL_FOLDER";
const STREAMS: usize = 3;
const PRODUCERS: usize = 4;
/// Number of lives of one log.
const LIVES: u64 = 20;

fn stream(index: usize) -> StreamName {
    name(&format!("stream/{index}"))
}

fn settings() -> DiskOptions {
    let mut options = DiskOptions::default();
    options.durability = Durability::Fsync;
    options.reserve_bytes = 0;
    // Small, so that tables, checkpoints and trimming happen in each life.
    options.segment_bytes = 64 << 10;
    options.checkpoint_bytes = 32 << 10;
    options.reclaim_every = Duration::from_millis(5);
    options.hot_streams = 16;
    options
}

/// Returns the text of a producer's append: its identification, and filler of varying length.
fn text(producer: usize, life: u64, seq: u64, message: usize) -> String {
    let filler = "x".repeat((seq as usize * 7 + message * 31) % 400);
    format!("{producer} {life:05} {seq:09} {message} {filler}")
}

/// Appends from several producers, and reports each acknowledged append.
async fn produce(log: Arc<DiskLog>, life: u64, most: u64, tell: fn(&str)) {
    for index in 0..STREAMS {
        log.create(&stream(index), Create::new(Settings::of_type("text/plain")))
            .await
            .unwrap();
    }
    let ended = Arc::new(AtomicBool::new(false));
    let gives = {
        let (log, ended) = (Arc::clone(&log), Arc::clone(&ended));
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                log.give_back().unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    let tasks = (0..PRODUCERS).map(|producer| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for seq in 0..most {
                for index in 0..STREAMS {
                    let count = 1 + (seq as usize + producer) % 3;
                    let messages = (0..count)
                        .map(|at| text(producer, life, seq, at).into())
                        .collect();
                    let append = Append::new(messages).by(&format!("p{producer}"), life, seq);
                    match log.append(&stream(index), append).await.unwrap() {
                        Outcome::Appended(receipt) => tell(&format!(
                            "ok {index} {producer} {life} {seq} {count} {} {}",
                            receipt.next, receipt.position
                        )),
                        other => panic!("{other:?}"),
                    }
                }
                // Streams that are created and deleted, so that there is something to clean up.
                let passing = name(&format!("passing/{producer}"));
                if seq % 5 == 0 {
                    let mut create = Create::new(Settings::of_type("text/plain"));
                    create.messages = vec!["gone soon".into(); 20];
                    log.create(&passing, create).await.unwrap();
                } else if seq % 5 == 3 {
                    log.delete(&passing).await.unwrap();
                    tell(&format!("end {producer}"));
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    ended.store(true, Ordering::Relaxed);
    gives.join().unwrap();
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // One write, so that a line is written as a whole or not at all.
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The acknowledged messages before each offset, by stream.
#[derive(Default)]
struct Acknowledged {
    /// Stream, offset and position of the first message, and the messages.
    appends: Vec<(usize, u64, u64, Vec<String>)>,
    /// Number of times that each producer's temporary stream was deleted.
    ends: [u64; PRODUCERS],
    lives: u64,
}

impl Acknowledged {
    fn note(&mut self, line: &str) {
        if let Some(producer) = line.strip_prefix("end ") {
            self.ends[producer.parse::<usize>().unwrap()] += 1;
            return;
        }
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, stream, producer, life, seq, count, next, position] = fields[..] else {
            panic!("{line:?}")
        };
        let count: u64 = count.parse().unwrap();
        let next: Offset = next.parse().unwrap();
        let position: Position = position.parse().unwrap();
        let (producer, life) = (producer.parse().unwrap(), life.parse().unwrap());
        let seq = seq.parse().unwrap();
        let messages = (0..count as usize)
            .map(|at| text(producer, life, seq, at))
            .collect();
        let stream = stream.parse().unwrap();
        let (first, position) = (next.number() - count, position.number() - count);
        self.appends.push((stream, first, position, messages));
    }

    /// Checks that every acknowledged message exists and none exists twice.
    async fn check(&self, log: &DiskLog) {
        let mut streams: HashMap<usize, Vec<String>> = HashMap::new();
        for index in 0..STREAMS {
            let Ok(chunk) = log.read(&stream(index), ReadFrom::Start, usize::MAX).await else {
                assert!(self.appends.iter().all(|append| append.0 != index));
                continue;
            };
            streams.insert(index, crate::support::texts(&chunk));
        }
        for (index, first, _, messages) in &self.appends {
            let first = *first as usize;
            assert_eq!(
                &streams[index][first..first + messages.len()],
                messages,
                "stream {index}"
            );
        }
        let order = log
            .read_order(Position::START, usize::MAX, None)
            .await
            .unwrap();
        assert!(order.at_head);
        let by_position: HashMap<u64, (&StreamName, u64)> = order
            .entries
            .iter()
            .map(|entry| {
                (
                    entry.position.number(),
                    (&entry.stream, entry.message.offset.number()),
                )
            })
            .collect();
        for (index, first, position, messages) in &self.appends {
            for at in 0..messages.len() as u64 {
                let expected = (&stream(*index), first + at);
                assert_eq!(by_position[&(position + at)], expected);
            }
        }
        for messages in streams.values_mut() {
            // The texts of one producer sort in the order of the appends, and none exists twice.
            for producer in 0..PRODUCERS {
                let own = format!("{producer} ");
                let own: Vec<_> = messages
                    .iter()
                    .filter(|text| text.starts_with(&own))
                    .collect();
                assert!(
                    own.windows(2).all(|pair| pair[0] < pair[1]),
                    "producer {producer}"
                );
            }
        }
        let mut last = None;
        for entry in &order.entries {
            assert!(last < Some(entry.position), "positions grow");
            last = Some(entry.position);
        }
        let mut last = None;
        for end in &order.ended {
            assert!(last < Some(end.position), "positions grow");
            assert!(!by_position.contains_key(&end.position.number()));
            last = Some(end.position);
        }
        for (producer, &acknowledged) in self.ends.iter().enumerate() {
            let passing = name(&format!("passing/{producer}"));
            let told = order.ended.iter().filter(|end| end.stream == passing);
            let told = told.count() as u64;
            // In each life, one deletion may have been done without a response.
            assert!((acknowledged..=acknowledged + self.lives).contains(&told));
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn life(folder: &Path, number: u64, kill_after: Duration, known: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "kill::acknowledged_messages_exist",
            "--exact",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .env("HEADWATER_LOG_LIFE", number.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .map(Killed)
        .unwrap();
    let out = child.0.stdout.take().unwrap();
    let (said, heard) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if said.send(line).is_err() {
                break;
            }
        }
    });
    // Measured from its first response, because opening takes a varying time.
    let first = heard.iter().find(|line| line.contains("ok "));
    let first = first.expect("it acknowledges something");
    known.note(&first[first.find("ok ").unwrap()..]);
    let started = Instant::now();
    std::thread::sleep(kill_after.saturating_sub(started.elapsed()));
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    reader.join().unwrap();
    for line in heard {
        if line.starts_with("ok ") || line.starts_with("end ") {
            known.note(&line);
        }
    }
    known.lives += 1;
}

#[test]
fn acknowledged_messages_exist() {
    if let Ok(folder) = std::env::var(FOLDER) {
        // This process is the one that is killed.
        let life = setting("HEADWATER_LOG_LIFE").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let log = DiskLog::open(folder, settings()).unwrap();
        runtime.block_on(produce(Arc::new(log), life, u64::MAX, say));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(DiskLog::open(folder.path(), settings()).unwrap());
    run(produce(Arc::clone(&log), 0, 10, |_| {}));
    let before = run(log.read(&stream(0), ReadFrom::Start, usize::MAX)).unwrap();
    drop(log);
    let log = DiskLog::open(folder.path(), settings()).unwrap();
    let after = run(log.read(&stream(0), ReadFrom::Start, usize::MAX)).unwrap();
    assert_eq!(after, before);
    assert!(!after.is_empty());
}

#[test]
fn a_killed_log_has_every_acknowledged_message_once_and_in_order() {
    let rounds: u64 = setting("HEADWATER_LOG_KILLS").unwrap_or(20);
    let mut random = random();
    let mut folder = tempfile::tempdir().unwrap();
    let mut known = Acknowledged::default();
    for round in 0..rounds {
        if round > 0 && round.is_multiple_of(LIVES) {
            // Everything is read after each life, so the log must not grow without bound.
            folder = tempfile::tempdir().unwrap();
            known = Acknowledged::default();
        }
        let lived = Duration::from_millis(random.u64(0..100));
        life(folder.path(), round, lived, &mut known);
        let log = DiskLog::open(folder.path(), settings()).unwrap();
        assert_eq!(log.recovery().missing, 0, "round {round}");
        run(known.check(&log));
    }
    assert!(known.appends.len() as u64 >= rounds.min(LIVES));
}
