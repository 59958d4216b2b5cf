//! Each target, called with its seeds and with mutations of them.
//!
//! `HEADWATER_FUZZ_SECONDS` sets the processor time for each target; the default is a second. `HEADWATER_FUZZ_SEED` repeats a
//! run.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

/// The most bytes of a mutated input.
const MAX_BYTES: usize = 4096;

/// Bytes at which decoders turn.
const BYTES: &[u8] = b"\0\t\n\r\x1e \"#%&',-./0129:;=?@AZ[\\]_az{}\x7f\x80\xbf\xc3\xe2\xed\xf0\xff";

/// Held by the target that runs: the bounds on memory are for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The processor time of this thread: a target gets its share on a busy machine, too.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into().expect("it only grows from zero")
}

/// Changes `input` in a few places. `other` lends a piece.
fn mutate(random: &mut Rng, mut input: Vec<u8>, other: &[u8]) -> Vec<u8> {
    let part = |random: &mut Rng, len: usize| {
        let start = random.usize(..=len);
        let end = (start + random.usize(..=16)).min(len);
        start..end
    };
    for _ in 0..=random.usize(..4) {
        let at = random.usize(..=input.len());
        match random.u8(..7) {
            0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            1 if at < input.len() => input[at] = BYTES[random.usize(..BYTES.len())],
            2 => input.insert(at, BYTES[random.usize(..BYTES.len())]),
            3 => drop(input.drain(part(random, input.len()))),
            4 => {
                let piece = input[part(random, input.len())].to_vec();
                let piece = piece.repeat(1 << random.u8(..6));
                input.splice(at..at, piece);
            }
            5 => {
                let piece = other[part(random, other.len())].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                input.truncate(at);
                input.extend_from_slice(&other[random.usize(..=other.len())..]);
            }
        }
    }
    input.truncate(MAX_BYTES);
    input
}

/// Names the input that a target failed with.
struct OnPanic<'a> {
    target: &'a str,
    input: &'a [u8],
    seed: u64,
}

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self {
                target,
                input,
                seed,
            } = self;
            eprintln!(
                "{target} failed with HEADWATER_FUZZ_SEED={seed}: b\"{}\"",
                input.escape_ascii()
            );
        }
    }
}

fn run(name: &str) {
    let _alone = ALONE.lock();
    let (_, target) = headwater_fuzz::TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target of this name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(name);
    let mut seeds: Vec<_> = fs::read_dir(folder)
        .expect("the target has seeds")
        .map(|entry| entry.expect("a seed").path())
        .collect();
    seeds.sort_unstable();
    let seeds: Vec<_> = seeds
        .into_iter()
        .map(|path| fs::read(path).expect("a seed"))
        .collect();
    let seed = environment("HEADWATER_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let check = |input: &[u8]| {
        let _on_panic = OnPanic {
            target: name,
            input,
            seed,
        };
        target(input);
    };
    check(b"");
    seeds.iter().for_each(|input| check(input));

    let mut random = Rng::with_seed(seed);
    let time = Duration::from_secs(environment("HEADWATER_FUZZ_SECONDS").unwrap_or(1));
    let end = processor_time() + time;
    let mut runs = 0;
    let mut input = Vec::new();
    while processor_time() < end {
        // Mutations add up for a while before the next seed.
        if random.u8(..8) == 0 || input.is_empty() {
            input.clone_from(&seeds[random.usize(..seeds.len())]);
        }
        let other = &seeds[random.usize(..seeds.len())];
        input = mutate(&mut random, input, other);
        check(&input);
        runs += 1;
    }
    eprintln!("{name}: {runs} inputs, HEADWATER_FUZZ_SEED={seed}");
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*

        #[test]
        fn every_target_has_a_test_and_a_binary() {
            let tests = [$(stringify!($name)),*];
            let targets: Vec<_> = headwater_fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(tests[..], targets);
            let binaries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
            for name in targets {
                assert!(binaries.join(name).with_extension("rs").is_file(), "{name}");
            }
        }
    };
}

targets! {
    egress grants hub import json_array json_check json_seq ndjson request round_trip schema sse sse_reference sse_split state
    text token
}
