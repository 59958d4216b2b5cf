//! The writer and the reader against a real hub in memory, also through a proxy that breaks
//! connections at critical points.

use std::{
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::Router;
use headwater_client::{StatusCode, hub::ReadFrom};
use headwater_hub::Hub;
use headwater_log::MemoryLog;
use tokio::sync::oneshot;

use crate::proxy::Proxy;

/// A hub on its own thread.
pub(crate) struct TestHub {
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestHub {
    pub(crate) fn start() -> Self {
        Self::over(Arc::new(MemoryLog::default()))
    }

    pub(crate) fn over(log: Arc<MemoryLog>) -> Self {
        Self::behind(log, |hub| hub)
    }

    /// A hub whose router `wrap` extends.
    pub(crate) fn behind(
        log: Arc<MemoryLog>,
        wrap: impl FnOnce(Router) -> Router + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let hub = Hub::new(log);
            let served = headwater::serve(wrap(hub.app().into_router()), "127.0.0.1:0")
                .quiet()
                .on_bound(move |address| bound.send(address.to_string()).unwrap())
                .shutdown_deadline(Duration::from_millis(100))
                .shutdown_on(async {
                    let _ = stopped.await;
                });
            runtime.block_on(async {
                hub.start();
                served.await.unwrap();
            });
        });
        let url = address.recv_timeout(Duration::from_secs(20)).unwrap();
        Self {
            url,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub(crate) fn url(&self, stream: &str) -> String {
        format!("{}/streams/{stream}", self.url)
    }
}

impl Drop for TestHub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) const SOON: Duration = Duration::from_millis(2);

/// All messages that are in a stream now.
pub(crate) fn content(url: &str) -> Vec<u32> {
    let reader = headwater_client::blocking::stream(url).reader().live(false);
    let messages = reader.open::<u32>().unwrap();
    messages.map(|message| message.unwrap().value).collect()
}

/// All messages that are in a stream now, unparsed.
fn raw(url: &str) -> Vec<String> {
    let reader = headwater_client::blocking::stream(url).reader().live(false);
    let messages = reader.open_raw().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    messages
        .map(|message| text(&message.unwrap().value))
        .collect()
}

twins! {
    fn messages_are_read_in_order_with_offsets_to_resume_from() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("a/b"));
        let writer = wait(stream.writer().create(true).open()).unwrap();
        for n in 0..10_u32 {
            wait(writer.append(&n)).unwrap();
        }
        wait(writer.flush()).unwrap();
        assert_eq!(writer.acknowledged(), 10);
        let mut reader = wait(stream.reader().live(false).open::<u32>()).unwrap();
        let mut offsets = Vec::new();
        while let Some(message) = wait(reader.next()) {
            let message = message.unwrap();
            assert_eq!(message.value as usize, offsets.len());
            offsets.push(message.offset);
        }
        assert_eq!(offsets.len(), 10);
        assert_eq!(Some(reader.position()), offsets.last());
        assert_eq!(writer.next_offset().as_ref(), offsets.last());
        assert_eq!(wait(stream.info()).unwrap().tail, offsets[9]);
        for (n, offset) in offsets.into_iter().enumerate().take(9) {
            let mut reader = wait(stream.reader().from(offset).open::<usize>()).unwrap();
            assert_eq!(wait(reader.next()).unwrap().unwrap().value, n + 1);
        }
    }

    fn an_append_without_a_response_is_stored_once() {
        let hub = TestHub::start();
        let proxy = Proxy::cutting_answers(hub.address(), 3);
        let patient = client::Client::builder()
            .backoff(SOON, SOON)
            .max_attempts(200)
            .retry_first_connect(true)
            .build()
            .unwrap();
        let stream = patient.stream(proxy.url("/streams/s"));
        let options = stream.writer().create(true).max_in_flight(6).max_batch_bytes(16);
        let writer = wait(options.open()).unwrap();
        for n in 0..300_u32 {
            wait(writer.append(&n)).unwrap();
        }
        wait(writer.flush()).unwrap();
        assert!(proxy.cuts() > 20, "{}", proxy.cuts());
        assert_eq!(content(&hub.url("s")), (0..300).collect::<Vec<_>>());
    }

    fn a_reader_gets_everything_once_across_broken_connections() {
        let hub = TestHub::start();
        let direct = client::stream(hub.url("s"));
        let writer = wait(direct.writer().create(true).open()).unwrap();
        for n in 0..200_u32 {
            wait(writer.append(&n)).unwrap();
        }
        wait(writer.close_stream()).unwrap();
        let proxy = Proxy::cutting_after(hub.address(), 1500);
        let patient = client::Client::builder().backoff(SOON, SOON).build().unwrap();
        let mut reader = wait(patient.stream(proxy.url("/streams/s")).reader().open::<u32>()).unwrap();
        let mut seen = Vec::new();
        while let Some(message) = wait(reader.next()) {
            seen.push(message.unwrap().value);
        }
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
        assert!(proxy.cuts() > 3, "{}", proxy.cuts());
    }

    fn a_reader_from_now_sees_new_messages_and_the_close() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let writer = wait(stream.writer().create(true).open()).unwrap();
        wait(writer.append("before")).unwrap();
        wait(writer.flush()).unwrap();
        let mut reader = wait(stream.reader().from(ReadFrom::Now).open::<String>()).unwrap();
        assert!(reader.next_ready().is_none());
        wait(writer.append("after")).unwrap();
        wait(writer.flush()).unwrap();
        assert_eq!(wait(reader.next()).unwrap().unwrap().value, "after");
        wait(writer.append("last")).unwrap();
        wait(writer.close_stream()).unwrap();
        assert_eq!(wait(reader.next()).unwrap().unwrap().value, "last");
        assert!(wait(reader.next()).is_none());
        assert!(wait(stream.info()).unwrap().closed);
        let error = wait(stream.writer().open()).unwrap_err();
        assert!(error.is_stream_closed(), "{error}");
    }

    fn a_writer_reports_a_closed_stream_once_and_is_over() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let writer = wait(stream.writer().create(true).open()).unwrap();
        wait(stream.close()).unwrap();
        wait(writer.append(&1)).unwrap();
        let error = wait(writer.flush()).unwrap_err();
        assert!(error.is_stream_closed(), "{error}");
        let error = wait(writer.append(&2)).unwrap_err();
        assert!(error.to_string().contains("already failed"), "{error}");
        assert_eq!(writer.acknowledged(), 0);
    }

    fn a_later_writer_of_the_same_producer_fences_the_earlier_one() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let earlier = wait(stream.writer().create(true).producer("till-1").open()).unwrap();
        wait(earlier.append(&1)).unwrap();
        wait(earlier.flush()).unwrap();
        // A later epoch of now is higher. Within one millisecond that fails in one case of a
        // thousand.
        thread::sleep(SOON);
        let later = wait(stream.writer().producer("till-1").open()).unwrap();
        wait(later.append(&2)).unwrap();
        wait(later.flush()).unwrap();
        wait(earlier.append(&3)).unwrap();
        let error = wait(earlier.flush()).unwrap_err();
        assert!(error.is_fenced(), "{error}");
        wait(later.append(&4)).unwrap();
        wait(later.flush()).unwrap();
        assert_eq!(content(&hub.url("s")), [1, 2, 4]);
    }

    fn a_repeating_producer_adds_only_new_messages() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        for (count, skipped) in [(5, 0), (5, 5), (9, 5), (9, 9)] {
            let writer = wait(stream.writer().create(true).repeating("import").open()).unwrap();
            for n in 0..count {
                wait(writer.append(&n)).unwrap();
            }
            wait(writer.flush()).unwrap();
            assert_eq!((writer.acknowledged(), writer.skipped()), (count, skipped));
        }
        assert_eq!(content(&hub.url("s")), (0..9).collect::<Vec<_>>());
    }

    fn a_repeating_producer_recognises_its_messages_in_any_batching_and_spacing() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let texts = ["{\n \"a\": 1}", " [2,\r\n3] ", "\"x\"", "4"];
        for (bytes, skipped) in [(1, 0), (1 << 20, 3), (7, 4)] {
            let options = stream.writer().create(true).repeating("import");
            let writer = wait(options.max_batch_bytes(bytes).open()).unwrap();
            let count = if skipped == 0 { 3 } else { 4 };
            for text in &texts[..count] {
                wait(writer.append_raw(*text)).unwrap();
            }
            wait(writer.flush()).unwrap();
            assert_eq!((writer.acknowledged(), writer.skipped()), (count as u64, skipped));
        }
        let all = raw(&hub.url("s"));
        assert_eq!(all, ["{  \"a\": 1}", "[2,  3]", "\"x\"", "4"]);
    }

    fn other_or_fewer_messages_of_a_repeating_producer_are_an_error_and_not_stored() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let give = |id: &'static str, messages: &'static [u32]| {
            let writer = wait(stream.writer().create(true).repeating(id).open()).unwrap();
            let mut outcome = Ok(());
            for message in messages {
                outcome = outcome.and_then(|()| wait(writer.append(message)));
            }
            let outcome = outcome.and_then(|()| wait(writer.flush()));
            (outcome, writer.acknowledged())
        };
        assert_eq!(give("p", &[1, 2, 3]).1, 3);
        for other in [&[4][..], &[1, 2], &[1, 3, 2], &[1, 2, 4, 5], &[4, 1, 2, 3]] {
            let (outcome, acknowledged) = give("p", other);
            let error = outcome.unwrap_err();
            assert!(error.is_not_repeated(), "{other:?}: {error}");
            assert!(error.to_string().contains('3'), "{error}");
            assert_eq!(acknowledged, 0);
        }
        assert!(give("p", &[]).0.is_ok(), "none of none is missing");
        assert_eq!(give("q", &[4]).1, 1);
        assert_eq!(content(&hub.url("s")), [1, 2, 3, 4]);
    }

    fn of_two_concurrent_producers_with_one_id_one_is_fenced() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let open = || wait(stream.writer().create(true).repeating("p").open()).unwrap();
        let (first, second) = (open(), open());
        wait(first.append(&1)).unwrap();
        wait(first.flush()).unwrap();
        wait(second.append(&9)).unwrap();
        let error = wait(second.flush()).unwrap_err();
        assert!(error.is_fenced(), "{error}");
        assert_eq!((second.acknowledged(), error.message_number()), (0, Some(1)));
        // A later run with the same messages takes over.
        let third = open();
        for n in [1, 2] {
            wait(third.append(&n)).unwrap();
        }
        wait(third.flush()).unwrap();
        assert_eq!((third.acknowledged(), third.skipped()), (2, 1));
        wait(first.append(&3)).unwrap();
        let error = wait(first.failed());
        assert!(error.is_fenced(), "{error}");
        assert_eq!((first.acknowledged(), error.message_number()), (1, Some(2)));
        assert_eq!(content(&hub.url("s")), [1, 2]);
    }

    fn racing_producers_with_one_id_store_exactly_their_acknowledged_messages() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let mut stored = 0;
        for round in 0..10_u32 {
            let id = format!("p{round}");
            let open = || wait(stream.writer().create(true).repeating(&id).max_batch_bytes(8).open()).unwrap();
            let writers = [open(), open()];
            for n in 0..50 {
                for (which, writer) in (0..).zip(&writers) {
                    let _ = wait(writer.append(&[round, which, n]));
                }
            }
            let done = [0, 1].map(|which| wait(writers[which].flush()).is_ok());
            assert!(done[0] != done[1], "{done:?}");
            stored += writers[0].acknowledged() + writers[1].acknowledged();
        }
        assert_eq!(raw(&hub.url("s")).len() as u64, stored);
    }

    fn a_concurrent_close_is_noticed_at_once_with_the_unstored_message() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let writer = wait(stream.writer().create(true).open()).unwrap();
        for n in [1, 2] {
            wait(writer.append(&n)).unwrap();
        }
        wait(writer.flush()).unwrap();
        wait(stream.close()).unwrap();
        wait(writer.append(&3)).unwrap();
        // The refusal of the third may be known by now, and is returned once.
        let early = [4, 5].iter().find_map(|n| wait(writer.append(n)).err());
        let error = early.unwrap_or_else(|| wait(writer.failed()));
        assert!(error.is_stream_closed(), "{error}");
        assert_eq!((error.message_number(), writer.acknowledged()), (Some(3), 2));
    }

    fn the_message_of_a_batch_that_violates_the_schema_is_identified() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        wait(stream.create().schema("{\"type\":\"integer\"}").send()).unwrap();
        let options = stream.writer().linger(Duration::from_secs(60));
        let writer = wait(options.open()).unwrap();
        wait(writer.append(&1)).unwrap();
        wait(writer.flush()).unwrap();
        for text in ["2", "3", "\"four\"", "5"] {
            wait(writer.append_raw(text)).unwrap();
        }
        let error = wait(writer.flush()).unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::UNPROCESSABLE_ENTITY), "{error}");
        assert_eq!((error.message_number(), writer.acknowledged()), (Some(4), 1));
        assert_eq!(content(&hub.url("s")), [1]);
    }

    fn a_repeating_producer_recognises_its_messages_in_a_stream_of_another_type() {
        for content_type in ["text/plain", "application/x-ndjson", "text/event-stream"] {
            let hub = TestHub::start();
            let stream = client::stream(hub.url("s"));
            wait(stream.create().content_type(content_type).send()).unwrap();
            let texts = ["data: 1\n\ndata: 2\n\n", "data: 3\n\n", "data: 4\n\n"];
            for (count, skipped) in [(2, 0), (3, 2), (3, 3)] {
                let writer = wait(stream.writer().repeating("p").open()).unwrap();
                for text in &texts[..count] {
                    wait(writer.append_raw(*text)).unwrap();
                }
                wait(writer.flush()).unwrap();
                assert_eq!((writer.acknowledged(), writer.skipped()), (count as u64, skipped));
            }
            let writer = wait(stream.writer().repeating("p").open()).unwrap();
            wait(writer.append_raw("other\n")).unwrap();
            assert!(wait(writer.flush()).unwrap_err().is_not_repeated());
        }
    }

    fn a_repeating_producer_succeeds_if_its_stream_is_already_closed() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        for skipped in [0, 2] {
            let writer = wait(stream.writer().create(true).repeating("p").open()).unwrap();
            for n in [1, 2] {
                wait(writer.append(&n)).unwrap();
            }
            wait(writer.flush()).unwrap();
            assert_eq!(writer.skipped(), skipped);
            wait(writer.close_stream()).unwrap();
        }
        let more = wait(stream.writer().repeating("p").open()).unwrap();
        for n in [1, 2, 3] {
            wait(more.append(&n)).unwrap();
        }
        let error = wait(more.failed());
        assert!(error.is_stream_closed(), "{error}");
        assert_eq!(error.message_number(), Some(3));
        let other = wait(stream.writer().repeating("q").open()).unwrap_err();
        assert!(other.is_stream_closed(), "{other}");
    }

    fn a_writer_notices_that_its_stream_was_recreated() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let writer = wait(stream.writer().create(true).open()).unwrap();
        wait(writer.append(&1)).unwrap();
        wait(writer.flush()).unwrap();
        wait(stream.delete()).unwrap();
        assert!(wait(stream.create().send()).unwrap());
        wait(writer.append(&2)).unwrap();
        let error = wait(writer.flush()).unwrap_err();
        assert!(error.is_forgotten(), "{error}");
    }

    fn a_message_that_is_not_json_is_refused_before_it_is_sent() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let writer = wait(stream.writer().create(true).open()).unwrap();
        for bad in ["", "1],[2", "{", "1 2"] {
            let error = wait(writer.append_raw(bad)).unwrap_err();
            assert!(error.is_message_not_json(), "{error}");
        }
        wait(writer.append_raw(" [1] ")).unwrap();
        wait(writer.flush()).unwrap();
        let mut reader = wait(stream.reader().live(false).open::<Vec<u8>>()).unwrap();
        assert_eq!(wait(reader.next()).unwrap().unwrap().value, [1]);
        assert!(wait(reader.next()).is_none());
    }

    fn a_float_that_is_not_finite_is_refused_and_the_writer_remains_usable() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let writer = wait(stream.writer().create(true).open()).unwrap();
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = wait(writer.append(&[1.5, bad])).unwrap_err();
            assert!(error.to_string().contains(" at \"#/1\""), "{error}");
        }
        wait(writer.append(&[Some(1.5), None])).unwrap();
        wait(writer.append_raw("\u{feff}[2.5]")).unwrap();
        wait(writer.flush()).unwrap();
        let mut reader = wait(stream.reader().live(false).open::<Vec<Option<f64>>>()).unwrap();
        assert_eq!(wait(reader.next()).unwrap().unwrap().value, [Some(1.5), None]);
        assert_eq!(wait(reader.next()).unwrap().unwrap().value, [Some(2.5)]);
        assert!(wait(reader.next()).is_none());
    }

    fn a_stream_of_bytes_keeps_them_unchanged() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        wait(stream.create().content_type("application/octet-stream").send()).unwrap();
        let writer = wait(stream.writer().open()).unwrap();
        let error = wait(writer.append(&1)).unwrap_err();
        assert!(error.to_string().contains("application/octet-stream"), "{error}");
        let messages: [&'static [u8]; 3] = [b"\0\xff", b"\r\n", b"x"];
        for message in messages {
            wait(writer.append_raw(message)).unwrap();
        }
        wait(writer.close_stream()).unwrap();
        let mut reader = wait(stream.reader().open_raw()).unwrap();
        for message in messages {
            assert_eq!(&*wait(reader.next()).unwrap().unwrap().value, message);
        }
        assert!(wait(reader.next()).is_none());
    }

    fn a_stale_position_in_a_recreated_stream_is_reported_and_all_messages_follow() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let publish = |numbers: std::ops::Range<u32>| {
            let writer = wait(stream.writer().create(true).open()).unwrap();
            for n in numbers {
                wait(writer.append(&n)).unwrap();
            }
            wait(writer.flush()).unwrap();
            wait(stream.info()).unwrap().tail
        };
        let old = publish(0..3);
        wait(stream.delete()).unwrap();
        let tail = publish(10..15);
        let options = stream.reader().from(ReadFrom::Offset(old)).live(false);
        let mut reader = wait(options.open::<u32>()).unwrap();
        let error = wait(reader.next()).unwrap().unwrap_err();
        assert!(error.is_reset() && error.to_string().contains("starts over"), "{error}");
        assert!(reader.position().as_str().starts_with("0000000000000000_"));
        for n in 10..15 {
            assert_eq!(wait(reader.next()).unwrap().unwrap().value, n);
        }
        assert!(wait(reader.next()).is_none());
        assert_eq!(*reader.position(), tail);
    }

    fn a_message_of_the_wrong_shape_is_an_error_and_the_reader_continues() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let writer = wait(stream.writer().create(true).open()).unwrap();
        for message in ["1", "\"two\"", "3"] {
            wait(writer.append_raw(message)).unwrap();
        }
        wait(writer.close_stream()).unwrap();
        let mut reader = wait(stream.reader().open::<u32>()).unwrap();
        assert_eq!(wait(reader.next()).unwrap().unwrap().value, 1);
        let error = wait(reader.next()).unwrap().unwrap_err();
        assert_eq!((error.is_deserialize(), error.item()), (true, Some(2)));
        assert!(reader.position().as_str().starts_with("0000000000000002_"));
        assert_eq!(wait(reader.next()).unwrap().unwrap().value, 3);
    }

    fn a_missing_stream_is_an_error() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("missing"));
        let errors = [
            wait(stream.writer().open()).unwrap_err(),
            wait(stream.reader().open::<u32>()).unwrap_err(),
            wait(stream.reader().from(ReadFrom::Now).open::<u32>()).unwrap_err(),
            wait(stream.info()).unwrap_err(),
            wait(stream.delete()).unwrap_err(),
            wait(stream.close()).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.status(), Some(StatusCode::NOT_FOUND), "{error}");
        }
    }

    fn a_stream_has_the_settings_that_it_was_created_with() {
        let hub = TestHub::start();
        let stream = client::stream(hub.url("s"));
        let schema = r#"{"type": "object", "required": ["ä"]}"#;
        let create = || {
            let create = stream.create().ttl(Duration::from_secs(60)).schema(schema);
            create.max_age(Duration::from_secs(30)).max_bytes(1000)
        };
        assert!(wait(create().send()).unwrap());
        assert!(!wait(create().send()).unwrap(), "it is there already");
        let info = wait(stream.info()).unwrap();
        assert!(info.is_json() && !info.closed);
        assert_eq!(info.ttl, Some(Duration::from_secs(60)));
        assert_eq!(info.max_age, Some(Duration::from_secs(30)));
        assert_eq!(info.max_bytes, Some(1000));
        let other = wait(stream.create().send()).unwrap_err();
        assert_eq!(other.status(), Some(StatusCode::CONFLICT));
        let writer = wait(stream.writer().open()).unwrap();
        wait(writer.append(&1)).unwrap();
        let error = wait(writer.flush()).unwrap_err();
        assert!(error.is_status(), "{error}");
    }
}
