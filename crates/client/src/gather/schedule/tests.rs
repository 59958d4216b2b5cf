use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn all(schedule: &mut Schedule, now: Instant) -> Vec<u64> {
    std::iter::from_fn(|| schedule.start(now, None)).collect()
}

#[test]
fn calls_start_in_order_except_for_hosts_at_their_limit() {
    let now = Instant::now();
    let mut schedule = Schedule::new(2, None);
    let hosts: Vec<_> = ["a", "a", "a", "b", "a"]
        .iter()
        .enumerate()
        .map(|(call, host)| schedule.admit(call as u64, host, now))
        .collect();
    assert_eq!(all(&mut schedule, now), [0, 1, 3]);
    assert_eq!((schedule.running(), schedule.waiting()), (3, 2));
    schedule.finish(&hosts[0], now);
    assert_eq!(all(&mut schedule, now), [2]);
    assert_eq!(schedule.wake_at(), None);
}

#[test]
fn a_rate_is_kept_on_average_though_timers_are_late() {
    let start = Instant::now();
    let mut schedule = Schedule::new(1000, Some(ms(10)));
    for call in 0..300 {
        schedule.admit(call, "a", start);
    }
    let (mut now, mut started) = (start, 0);
    while schedule.waiting() > 0 {
        started += all(&mut schedule, now).len();
        let elapsed = now.duration_since(start).as_millis();
        assert!(
            started as u128 <= elapsed / 10 + 2,
            "{started} in {elapsed} ms"
        );
        if let Some(at) = schedule.wake_at() {
            now = at + ms(2);
        }
    }
    let took = now.duration_since(start);
    assert!((ms(2980)..ms(3010)).contains(&took), "{took:?}");
}

#[test]
fn a_host_that_requests_a_pause_gets_it_and_others_continue() {
    let now = Instant::now();
    let mut schedule = Schedule::new(8, None);
    let a = schedule.admit(0, "a", now);
    assert_eq!(all(&mut schedule, now), [0]);
    schedule.finish(&a, now);
    schedule.pause(0, &a, now + ms(50));
    schedule.admit(1, "a", now);
    schedule.hold(&a, now + ms(50), now);
    schedule.admit(2, "b", now);
    assert_eq!(all(&mut schedule, now), [2]);
    assert_eq!(schedule.wake_at(), Some(now + ms(50)));
    assert_eq!(all(&mut schedule, now + ms(49)), [] as [u64; 0]);
    assert_eq!(all(&mut schedule, now + ms(50)), [0, 1]);
}

#[test]
fn a_host_is_forgotten_when_its_rate_allows_a_call_again() {
    let now = Instant::now();
    let mut schedule = Schedule::new(8, Some(ms(10)));
    for call in 0..1000 {
        let host = schedule.admit(call, &format!("host {call}"), now);
        assert_eq!(all(&mut schedule, now), [call]);
        schedule.finish(&host, now);
    }
    assert_eq!(schedule.remembered(), 1000);
    assert_eq!(all(&mut schedule, now + ms(20)), [] as [u64; 0]);
    assert_eq!(schedule.remembered(), 0);
}

#[test]
fn some_of_very_many_hosts_are_forgotten_early() {
    let now = Instant::now();
    let mut schedule = Schedule::new(8, Some(Duration::from_secs(3600)));
    for call in 0..MAX_REMEMBERED as u64 + 100 {
        let host = schedule.admit(call, &format!("host {call}"), now);
        assert_eq!(all(&mut schedule, now), [call]);
        schedule.finish(&host, now);
    }
    assert!(schedule.remembered() <= MAX_REMEMBERED + 1);
}

#[derive(Debug, Clone)]
enum Event {
    Admit(u8),
    Start,
    /// Finish the nth running call, and pause it for this long, if at all.
    Finish(usize, Option<u64>),
    Hold(u8, u64),
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0_u8..4).prop_map(Event::Admit),
        4 => Just(Event::Start),
        3 => (any::<usize>(), prop::option::of(0_u64..40)).prop_map(|(n, p)| Event::Finish(n, p)),
        1 => (0_u8..4, 0_u64..60).prop_map(|(host, time)| Event::Hold(host, time)),
        2 => (0_u64..30).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 0..200)
}

/// A reference model that examines all calls each time.
#[derive(Default)]
struct Model {
    /// The earliest start and the host of each call.
    waiting: BTreeMap<u64, (Instant, u8)>,
    running: Vec<(u64, u8)>,
    held: BTreeMap<u8, Instant>,
}

impl Model {
    fn next(&self, now: Instant, per_host: usize) -> Option<u64> {
        let free = |host: u8| {
            let running = self
                .running
                .iter()
                .filter(|(_, other)| *other == host)
                .count();
            running < per_host && self.held.get(&host).is_none_or(|until| *until <= now)
        };
        let may = self
            .waiting
            .iter()
            .find(|(_, (at, host))| *at <= now && free(*host));
        may.map(|(call, _)| *call)
    }
}

proptest! {
    #[test]
    fn the_schedule_starts_the_same_calls_as_the_model(
        events in events(),
        per_host in 1_usize..3,
    ) {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(per_host, None);
        let mut model = Model::default();
        let mut next_call = 0;
        let name = |host: u8| Host::from(host.to_string());
        for event in events {
            match event {
                Event::Admit(host) => {
                    schedule.admit(next_call, &host.to_string(), now);
                    model.waiting.insert(next_call, (now, host));
                    next_call += 1;
                }
                Event::Start => {
                    let expected = model.next(now, per_host);
                    prop_assert_eq!(schedule.start(now, None), expected);
                    if let Some(call) = expected {
                        let (_, host) = model.waiting.remove(&call).unwrap();
                        model.running.push((call, host));
                    }
                }
                Event::Finish(n, pause) if !model.running.is_empty() => {
                    let (call, host) = model.running.remove(n % model.running.len());
                    schedule.finish(&name(host), now);
                    if let Some(pause) = pause {
                        schedule.pause(call, &name(host), now + ms(pause));
                        model.waiting.insert(call, (now + ms(pause), host));
                    }
                }
                // Only a known host can request a pause.
                Event::Hold(host, time)
                    if model.running.iter().any(|(_, other)| *other == host) =>
                {
                    schedule.hold(&name(host), now + ms(time), now);
                    let until = model.held.entry(host).or_insert(now);
                    *until = (*until).max(now + ms(time));
                }
                Event::Finish(..) | Event::Hold(..) => {}
                Event::Pass(time) => now += ms(time),
            }
            prop_assert_eq!(schedule.running(), model.running.len());
            prop_assert_eq!(schedule.waiting(), model.waiting.len());
        }
    }

    #[test]
    fn every_call_starts_exactly_once(
        hosts in prop::collection::vec(0_u8..5, 1..100),
        per_host in 1_usize..4,
        interval in prop::option::of(1_u64..20),
    ) {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(per_host, interval.map(ms));
        for (call, host) in hosts.iter().enumerate() {
            schedule.admit(call as u64, &host.to_string(), now);
        }
        let mut started = HashSet::new();
        while schedule.waiting() > 0 {
            let mut any = false;
            for call in all(&mut schedule, now) {
                any = true;
                prop_assert!(started.insert(call));
                let host = hosts[usize::try_from(call).unwrap()];
                schedule.finish(&Host::from(host.to_string()), now);
            }
            if !any {
                now = schedule.wake_at().expect("something is due");
            }
        }
        prop_assert_eq!(started.len(), hosts.len());
        prop_assert_eq!(schedule.wake_at(), None);
    }
}
