//! The checks at the start, and what a log consists of in the cluster.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use bytes::Bytes;
use headwater_log::{Append, Log, Offset, Position, ReadFrom};
use headwater_nats::{Durability, NatsOptions};

use crate::servers::Servers;
use crate::support::{all, append, fresh, name, open_log, outside, plain, run, texts, try_open};

/// Returns the reason for which a log is too weak. Servers that have just started are given time.
fn refusal(options: &NatsOptions) -> String {
    let start = Instant::now();
    loop {
        let error = try_open(options).unwrap_err();
        if error.is_too_weak() {
            return error.to_string();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{error}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn one_server_is_refused_unless_the_loss_is_accepted() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let mut options = fresh(&servers);
    options.replicas = 3;
    let text = refusal(&options);
    assert!(text.contains("isn't part of a cluster"), "{text}");
    assert!(text.contains("--nats-replicas 1"), "{text}");
    options.replicas = 1;
    open_log(&options);
    for durability in [Durability::Synced, Durability::Replicated] {
        options.durability = durability;
        let text = refusal(&options);
        assert!(text.contains("has 1 replicas"), "{text}");
        assert!(text.contains("--durability memory"), "{text}");
    }
}

#[test]
fn a_cluster_that_may_not_sync_is_refused_unless_that_is_accepted() {
    let (Some(lax), Some(mut strict)) = (Servers::new(3, ""), Servers::three()) else {
        return;
    };
    let system = |servers: &Servers| {
        let port = servers.all[0].port;
        Some(format!("nats://sys:sys@127.0.0.1:{port}"))
    };
    let mut options = fresh(&lax);
    open_log(&options);
    options.durability = Durability::Synced;
    assert!(refusal(&options).contains("--nats-system"));
    options.system = system(&lax);
    let text = refusal(&options);
    assert!(text.contains("n0, n1, n2 don't sync"), "{text}");

    let mut options = fresh(&strict);
    open_log(&options);
    options.durability = Durability::Synced;
    // The first server of the list is the one that is down.
    let ports = strict.all.iter().map(|server| server.port.to_string());
    let ports: Vec<_> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
    options.system = Some(format!("nats://sys:sys@{}", ports.join(",")));
    try_open(&options).unwrap();
    strict.all[0].kill();
    open_log(&options);
    strict.all[1].kill();
    try_open(&options).unwrap_err();
}

#[test]
fn a_stream_whose_limits_remove_records_is_refused() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = fresh(&servers);
    open_log(&options);
    outside(async {
        let client = async_nats::connect(servers.urls()).await.unwrap();
        let context = jetstream::new(client);
        let stream = context.get_stream(&options.prefix).await.unwrap();
        let mut config = stream.cached_info().config.clone();
        config.max_age = Duration::from_secs(60);
        context.update_stream(config).await.unwrap();
    });
    let error = try_open(&options).unwrap_err().to_string();
    assert!(error.contains("its limits remove records"), "{error}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let mut options = fresh(&servers);
    drop(servers);
    options.prefix = "a.b".to_owned();
    assert!(
        try_open(&options)
            .unwrap_err()
            .to_string()
            .contains("`a.b`")
    );
    options.prefix = "ab".to_owned();
    let error = try_open(&options).unwrap_err().to_string();
    assert!(error.contains(&options.servers[0]), "{error}");
}

#[test]
fn messages_of_other_programs_are_ignored() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = fresh(&servers);
    let log = open_log(&options);
    let stream = name("s");
    run(log.create(&stream, plain())).unwrap();
    outside(async {
        let client = async_nats::connect(servers.urls()).await.unwrap();
        let context = jetstream::new(client);
        let subject = format!("{}.log", options.prefix);
        let sent = context.publish(subject, "not ours".into()).await.unwrap();
        sent.await.unwrap();
    });
    run(append(&log, &stream, &["ours"]));
    let again = open_log(&options);
    for log in [&log, &again] {
        assert_eq!(run(all(log, &stream)), ["ours"]);
    }
}

#[test]
fn an_append_that_exceeds_a_message_of_the_cluster_is_stored_whole() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let mut options = fresh(&servers);
    let log = open_log(&options);
    let (stream, fork) = (name("large"), name("fork"));
    let message = |index: u8, size: usize| Bytes::from(vec![b'a' + index; size]);
    let sizes = [3_000_000, 10, 1_040_000, 0, 2_500_000, 7];
    let messages: Vec<Bytes> = (0..).zip(sizes).map(|(i, size)| message(i, size)).collect();
    run(log.create(&stream, plain())).unwrap();
    run(log.append(&stream, Append::new(messages.clone()))).unwrap();
    run(log.append(
        &stream,
        Append::new(vec!["a\nb".into(), messages[0].clone()]),
    ))
    .unwrap();
    run(log.create(&fork, crate::support::fork_of(&stream))).unwrap();
    options.cache_bytes = 0;
    let cold = open_log(&options);
    for log in [&log, &cold] {
        for stream in [&stream, &fork] {
            let mut found = Vec::new();
            let mut next = Offset::START;
            loop {
                let chunk = run(log.read(stream, ReadFrom::At(next), 1 << 20)).unwrap();
                found.extend(chunk.messages().map(|message| message.bytes));
                next = chunk.next;
                if chunk.at_tail {
                    break;
                }
            }
            assert_eq!(found[..6], messages);
            assert_eq!(found[6..], [Bytes::from("a\nb"), messages[0].clone()]);
        }
        let order = run(log.read_order(Position::new(1), 1 << 20, None)).unwrap();
        assert_eq!(order.entries[0].message.bytes, messages[1]);
    }
}

#[test]
fn a_cold_read_of_many_records_is_bounded_and_complete() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let mut options = fresh(&servers);
    let log = open_log(&options);
    let stream = name("s");
    let expected: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    run(async {
        log.create(&stream, plain()).await.unwrap();
        for text in &expected {
            append(&log, &stream, &[text]).await;
        }
    });
    options.cache_bytes = 0;
    let cold = open_log(&options);
    let (mut found, mut next, mut reads) = (Vec::new(), Offset::START, 0);
    while next.number() < 200 {
        let chunk = run(cold.read(&stream, ReadFrom::At(next), usize::MAX)).unwrap();
        found.extend(texts(&chunk));
        next = chunk.next;
        reads += 1;
        assert_eq!(chunk.at_tail, next.number() == 200);
    }
    assert_eq!(found, expected);
    assert_eq!(reads, 4);
    let (mut found, mut next) = (Vec::new(), Position::START);
    while next.number() < 200 {
        let chunk = run(cold.read_order(next, usize::MAX, None)).unwrap();
        let entries = chunk.entries.iter();
        found.extend(entries.map(|entry| String::from_utf8(entry.message.bytes.to_vec()).unwrap()));
        next = chunk.next;
    }
    assert_eq!(found, expected);
}
