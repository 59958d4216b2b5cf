//! The writer and the reader across hubs that restart, are full, or can't be reached.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use headwater_client::hub::ReadFrom;
use headwater_log::{MemoryLog, MemoryOptions};

use crate::{
    hub::{SOON, TestHub, content},
    proxy::Proxy,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// An address on which nothing listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

twins! {
    fn a_writer_and_a_reader_continue_with_a_replaced_hub() {
        let log = Arc::new(MemoryLog::default());
        let mut hub = TestHub::over(Arc::clone(&log));
        let proxy = Proxy::to(hub.address());
        let patient = client::Client::builder().backoff(SOON, SOON).max_attempts(2000);
        let stream = patient.build().unwrap().stream(proxy.url("/streams/s"));
        let options = stream.writer().create(true).max_in_flight(3).max_batch_bytes(40);
        let writer = wait(options.open()).unwrap();
        let mut reader = wait(stream.reader().open::<u32>()).unwrap();
        for round in 0..4_u32 {
            for n in round * 50..(round + 1) * 50 {
                wait(writer.append(&n)).unwrap();
            }
            // Some of these messages are still in flight.
            pause(SOON);
            drop(hub);
            hub = TestHub::over(Arc::clone(&log));
            proxy.point_at(hub.address());
            for n in round * 50..(round + 1) * 50 {
                assert_eq!(wait(reader.next()).unwrap().unwrap().value, n);
            }
        }
        wait(writer.close_stream()).unwrap();
        assert!(wait(reader.next()).is_none());
        assert_eq!(content(&hub.url("s")), (0..200).collect::<Vec<_>>());
    }

    fn a_repeating_producer_adds_only_new_messages_across_broken_connections() {
        let hub = TestHub::start();
        let proxy = Proxy::cutting_answers(hub.address(), 4);
        let patient = client::Client::builder()
            .backoff(SOON, SOON)
            .max_attempts(200)
            .retry_first_connect(true)
            .build()
            .unwrap();
        for count in [60, 90] {
            let stream = patient.stream(proxy.url("/streams/s"));
            let options = stream.writer().create(true).repeating("import").max_in_flight(8);
            // Each message in its own request, so that many requests are cut.
            let writer = wait(options.max_batch_bytes(1).open()).unwrap();
            for n in 0..count {
                wait(writer.append(&n)).unwrap();
            }
            wait(writer.flush()).unwrap();
            assert_eq!(writer.acknowledged(), u64::from(count));
            assert_eq!(content(&hub.url("s")), (0..count).collect::<Vec<u32>>());
        }
        assert!(proxy.cuts() > 10, "{}", proxy.cuts());
    }

    fn a_writer_waits_while_the_hub_is_full() {
        let mut settings = MemoryOptions::default();
        settings.max_bytes = 64 << 10;
        let hub = TestHub::over(Arc::new(MemoryLog::new(settings)));
        let patient = client::Client::builder().backoff(SOON, SOON).max_attempts(2000);
        let patient = patient.build().unwrap();
        let filler = patient.stream(hub.url("filler"));
        let writer = wait(filler.writer().create(true).open()).unwrap();
        wait(writer.append(&"x".repeat(60 << 10))).unwrap();
        wait(writer.flush()).unwrap();
        let writer = wait(patient.stream(hub.url("s")).writer().create(true).open()).unwrap();
        wait(writer.append(&"y".repeat(20 << 10))).unwrap();
        pause(SOON * 20);
        assert_eq!(writer.acknowledged(), 0, "there is no room");
        wait(filler.delete()).unwrap();
        wait(writer.flush()).unwrap();
        assert_eq!(writer.acknowledged(), 1);
    }

    fn a_writer_fails_after_its_attempts_and_knows_its_acknowledged_messages() {
        let hub = TestHub::start();
        let proxy = Proxy::to(hub.address());
        let client = client::Client::builder().backoff(SOON, SOON).max_attempts(3).build().unwrap();
        let stream = client.stream(proxy.url("/streams/s"));
        let writer = wait(stream.writer().create(true).open()).unwrap();
        wait(writer.append(&1)).unwrap();
        wait(writer.flush()).unwrap();
        proxy.point_at(&nowhere());
        drop(hub);
        wait(writer.append(&2)).unwrap();
        let error = wait(writer.flush()).unwrap_err();
        assert!(error.is_connect(), "{error}");
        assert!(error.to_string().contains("gave up after 3 attempts"), "{error}");
        assert_eq!(writer.acknowledged(), 1);
    }

    fn a_lingering_writer_sends_the_messages_of_that_time_in_one_request() {
        let hub = TestHub::start();
        let proxy = Proxy::to(hub.address());
        let stream = client::stream(proxy.url("/streams/s"));
        let options = stream.writer().create(true).linger(PATIENCE);
        let writer = wait(options.open()).unwrap();
        for n in 0..10_u32 {
            wait(writer.append(&n)).unwrap();
            pause(SOON);
        }
        assert_eq!(proxy.answers(), 1, "the stream was created, and nothing was sent");
        // A flush ends the linger time.
        wait(writer.flush()).unwrap();
        assert_eq!(proxy.answers(), 2);
        assert_eq!(content(&hub.url("s")), (0..10).collect::<Vec<_>>());
    }

    fn a_dropped_writer_sends_its_queued_messages() {
        let hub = TestHub::start();
        let writer = client::stream(hub.url("s")).writer().create(true);
        let writer = wait(writer.linger(PATIENCE).open()).unwrap();
        for n in 0..3_u32 {
            wait(writer.append(&n)).unwrap();
        }
        drop(writer);
        let start = Instant::now();
        while content(&hub.url("s")) != [0, 1, 2] {
            assert!(start.elapsed() < PATIENCE, "{:?}", content(&hub.url("s")));
            pause(SOON);
        }
    }

    fn a_message_of_the_hubs_maximum_size_is_written_and_read() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        wait(stream.create().content_type("application/octet-stream").send()).unwrap();
        let writer = wait(stream.writer().open()).unwrap();
        let message = vec![0x80; 8 << 20];
        wait(writer.append_raw(message.clone())).unwrap();
        wait(writer.close_stream()).unwrap();
        let mut reader = wait(stream.reader().open_raw()).unwrap();
        assert!(wait(reader.next()).unwrap().unwrap().value == message);
        assert!(wait(reader.next()).is_none());
        let stream = client::stream(hub.url("s2"));
        wait(stream.create().content_type("application/octet-stream").send()).unwrap();
        let writer = wait(stream.writer().open()).unwrap();
        wait(writer.append_raw([message, vec![0]].concat())).unwrap();
        let error = wait(writer.flush()).unwrap_err();
        assert_eq!(error.status().map(|status| status.as_u16()), Some(413), "{error}");
    }

    fn a_reader_that_starts_at_a_time_knows_its_offset() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let writer = wait(stream.writer().create(true).open()).unwrap();
        for n in 0..3_u32 {
            wait(writer.append(&n)).unwrap();
        }
        wait(writer.flush()).unwrap();
        let since = |time: &str| stream.reader().from(ReadFrom::Since(time.to_owned()));
        let mut reader = wait(since("2020-01-01T01:00:00+01:00").open::<u32>()).unwrap();
        assert!(reader.position().as_str().starts_with("0000000000000000_"));
        assert_eq!(wait(reader.next()).unwrap().unwrap().value, 0);
        let mut reader = wait(since("2100-01-01T00:00:00Z").open::<u32>()).unwrap();
        assert_eq!(*reader.position(), wait(stream.info()).unwrap().tail);
        wait(writer.append(&3)).unwrap();
        wait(writer.flush()).unwrap();
        assert_eq!(wait(reader.next()).unwrap().unwrap().value, 3);
        let error = wait(since("noon").open::<u32>()).unwrap_err();
        assert!(error.to_string().contains("RFC 3339"), "{error}");
    }
}
