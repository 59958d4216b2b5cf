//! Invariants that hold for any steps in any order.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_log::Offset;
use proptest::prelude::*;

use super::{Bench, Claim, config, id, name};
use crate::subscriptions::refusal::Refusal;

#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    Remake(u8),
    Claim,
    /// The number of streams of the wake to acknowledge, and whether that ends it.
    Ack(usize, bool),
    /// Acknowledges with the claim before the last.
    Stale,
    Release,
    Wait(u64),
    Turn,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Step::Append),
        1 => (0..4_u8).prop_map(Step::Remake),
        4 => Just(Step::Claim),
        4 => (0..5_usize, any::<bool>()).prop_map(|(streams, done)| Step::Ack(streams, done)),
        1 => Just(Step::Stale),
        1 => Just(Step::Release),
        2 => (1..12_000_u64).prop_map(Step::Wait),
        2 => Just(Step::Turn),
        1 => Just(Step::Restart),
    ]
}

/// Runs the steps and checks the invariants after each.
async fn run(mut bench: Bench, steps: Vec<Step>) {
    bench.put(id(), config(&["s/0", "named"])).await.unwrap();
    // The acknowledged offsets, by the stream's number in the log.
    let mut processed: BTreeMap<u64, Offset> = BTreeMap::new();
    let mut claims: Vec<Claim> = Vec::new();
    let mut generation = 0;
    for step in steps {
        match step {
            Step::Append(n) => {
                bench.append(&format!("s/{n}")).await;
            }
            Step::Remake(n) => {
                let _ = bench.log.delete(&name(&format!("s/{n}"))).await;
                bench.append(&format!("s/{n}")).await;
            }
            Step::Claim => match bench.claim().await {
                Ok(claim) => {
                    assert!(!claim.streams.is_empty(), "a claim of nothing");
                    assert!(
                        claims
                            .last()
                            .is_none_or(|last| last.generation < claim.generation)
                    );
                    for (name, tail) in &claim.streams {
                        let info = bench.info(name).await;
                        assert_eq!(*tail, info.at(info.tail));
                    }
                    claims.push(claim);
                }
                Err(Refusal::AlreadyClaimed { generation, .. }) => {
                    assert_eq!(claims.last().unwrap().generation, generation);
                }
                Err(Refusal::NoPendingWork) => {
                    assert!(
                        bench
                            .known()
                            .links
                            .iter()
                            .all(|(_, link)| !link.is_pending())
                    );
                }
                Err(refusal) => panic!("{refusal}"),
            },
            Step::Ack(streams, done) => {
                let Some(claim) = claims.last().cloned() else {
                    continue;
                };
                let acks: Vec<_> = claim.streams.iter().take(streams).cloned().collect();
                match bench.ack(&claim, acks.clone(), done).await {
                    Ok(_) => {
                        for (name, offset) in acks {
                            let stream = bench.info(&name).await.id;
                            let known = processed.entry(stream).or_default();
                            *known = offset.at.max(*known);
                        }
                    }
                    Err(Refusal::Fenced) => assert!(!holds(&bench, &claim)),
                    // The stream was created again since, and is shorter.
                    Err(Refusal::InvalidOffset(_)) => {}
                    Err(refusal) => panic!("{refusal}"),
                }
            }
            Step::Stale => {
                let Some(claim) = claims.iter().rev().nth(1).cloned() else {
                    continue;
                };
                let acked = bench.ack(&claim, claim.streams.clone(), true).await;
                assert!(matches!(acked, Err(Refusal::Fenced)));
                assert!(matches!(bench.release(&claim).await, Err(Refusal::Fenced)));
            }
            Step::Release => {
                let Some(claim) = claims.last().cloned() else {
                    continue;
                };
                let held = holds(&bench, &claim);
                assert_eq!(bench.release(&claim).await.is_ok(), held);
            }
            Step::Wait(millis) => bench.clock.advance(Duration::from_millis(millis)),
            Step::Turn => bench.turn().await,
            Step::Restart => {
                bench.turn().await;
                let before = bench.all();
                bench = bench.restart().await;
                assert_eq!(bench.all(), before);
            }
        }
        bench.turn().await;
        let known = bench.known();
        assert!(known.generation >= generation, "a generation came twice");
        generation = known.generation;
        let pending = known.links.iter().any(|(_, link)| link.is_pending());
        assert!(
            !pending || known.wake.is_some(),
            "something is pending, and no one is woken"
        );
        for (name, link) in known.links.iter() {
            let Some(stream) = link.stream else { continue };
            let info = bench.info(name).await;
            if info.id == stream {
                assert_eq!(link.tail, info.tail, "{name}");
                let done = processed.get(&stream).copied().unwrap_or_default();
                assert_eq!(link.acked, done, "{name}");
                assert!(link.acked <= link.tail, "{name} is past its end");
            }
        }
    }
}

fn holds(bench: &Bench, claim: &Claim) -> bool {
    let wake = bench.known().wake.as_ref();
    wake.is_some_and(|wake| {
        wake.id == claim.wake_id && wake.lease.is_some_and(|lease| lease > bench.clock.now())
    })
}

fn block_on(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_work_is_lost_and_no_two_workers_hold_it(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        block_on(async { run(Bench::new().await, steps).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_on_disk(steps in prop::collection::vec(step(), 1..40)) {
        block_on(async { run(Bench::on_disk().await, steps).await });
    }
}
