use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::select};

use super::{Block, Splitter};
use crate::{DecodeError, Format, Limits, testing, testing::Cuts, work_counter::counted};

fn limits(max_item_bytes: usize) -> Limits {
    Limits::default().with_max_item_bytes(max_item_bytes)
}

/// Returns all blocks of a stream that ends cleanly, and the error.
fn split(limits: Limits, chunks: Vec<Bytes>) -> (Vec<Block>, Option<DecodeError>) {
    let mut splitter = Splitter::new(limits);
    let mut blocks = Vec::new();
    let mut chunks = chunks.into_iter();
    let mut finished = false;
    loop {
        match splitter.next() {
            Ok(Some(block)) => blocks.push(block),
            Err(error) => {
                assert_eq!(splitter.next(), Err(error.clone()), "an error stays");
                return (blocks, Some(error));
            }
            Ok(None) if finished => return (blocks, None),
            Ok(None) => match chunks.next() {
                Some(chunk) => splitter.push(chunk),
                None => {
                    finished = true;
                    splitter.finish();
                }
            },
        }
    }
}

fn texts(blocks: &[Block]) -> Vec<String> {
    let text = |block: &Block| block.bytes.escape_ascii().to_string();
    blocks.iter().map(text).collect()
}

#[track_caller]
fn check(stream: &'static [u8], expected: &[&str]) -> Vec<Block> {
    let (blocks, error) = split(Limits::default(), vec![Bytes::from_static(stream)]);
    assert_eq!(error, None);
    assert_eq!(texts(&blocks), expected);
    blocks
}

#[test]
fn a_block_ends_with_a_blank_line() {
    check(
        b"data: a\n\nid: 1\ndata: b\n\n",
        &["data: a\\n\\n", "id: 1\\ndata: b\\n\\n"],
    );
    check(
        b"data: a\r\n\r\ndata: b\r\rdata: c\n\r\n",
        &["data: a\\r\\n\\r\\n", "data: b\\r\\r", "data: c\\n\\r\\n"],
    );
    check(
        b"\n\r\n\rdata: a\n\n\n\n",
        &["\\n\\r\\n\\rdata: a\\n\\n", "\\n\\n"],
    );
    check(b"", &[]);
}

#[test]
fn comments_and_a_byte_order_mark_are_kept_in_place() {
    let blocks = check(
        b"\xef\xbb\xbfid: 1\ndata: a\n\n: hi\n\n:x\nfoo: y\ndata: b\n\n",
        &[
            "\\xef\\xbb\\xbfid: 1\\ndata: a\\n\\n",
            ": hi\\n\\n",
            ":x\\nfoo: y\\ndata: b\\n\\n",
        ],
    );
    let events: Vec<_> = blocks
        .iter()
        .map(|block| block.event.as_ref().map(|event| &*event.data))
        .collect();
    assert_eq!(events, [Some("a"), None, Some("b")]);
    let ids: Vec<_> = blocks.iter().map(|block| block.id.as_deref()).collect();
    assert_eq!(ids, [Some("1"), None, None]);
    assert_eq!(&*blocks[2].event.as_ref().unwrap().id, "1", "it persists");
}

#[test]
fn the_rest_at_the_end_is_a_block_without_an_event() {
    let blocks = check(
        b"data: a\n\nid: 2\ndata: b\n",
        &["data: a\\n\\n", "id: 2\\ndata: b\\n"],
    );
    assert_eq!((&blocks[1].event, &blocks[1].id), (&None, &None));
}

#[test]
fn the_last_valid_id_of_a_block_is_its_own() {
    let id = |stream: &'static [u8]| {
        let (blocks, _) = split(Limits::default(), vec![Bytes::from_static(stream)]);
        blocks[0].id.as_deref().map(str::to_owned)
    };
    assert_eq!(id(b"id: 1\nid:2\nid: 3\0\n\n").as_deref(), Some("2"));
    assert_eq!(id(b"id: 1\nid\n\n").as_deref(), Some(""));
    assert_eq!(id(b"idx: 1\n: id: 2\ndata: id: 3\n\n"), None);
    assert_eq!(id(b"\xef\xbb\xbfid: 1\n\n").as_deref(), Some("1"));
    // Inside a stream it isn't a mark, but part of an unknown name.
    let blocks = check(
        b"data: a\n\n\xef\xbb\xbfid: 7\n\n",
        &["data: a\\n\\n", "\\xef\\xbb\\xbfid: 7\\n\\n"],
    );
    assert_eq!(blocks[1].id, None);
}

#[test]
fn a_block_is_returned_at_a_lone_cr_and_the_lf_is_in_the_next_one() {
    let mut splitter = Splitter::new(Limits::default());
    splitter.push(Bytes::from_static(b"data: a\r\n\r"));
    let block = splitter.next().unwrap().unwrap();
    assert_eq!(block.bytes, "data: a\r\n\r");
    assert_eq!(block.event.unwrap().data, "a");
    splitter.push(Bytes::from_static(b"\ndata: b\r\n\r\n"));
    let block = splitter.next().unwrap().unwrap();
    assert_eq!(block.bytes, "\ndata: b\r\n\r\n");
    assert_eq!(block.event.unwrap().data, "b");
}

#[test]
fn a_block_at_the_limit_passes_and_a_byte_more_fails() {
    for size in [1, 3, usize::MAX] {
        let cuts = Cuts::every(size);
        for stream in [
            &b"data: 12\n\ndata: 12\n\n"[..],
            b"data: 12\r\rdata: 12\r\r",
        ] {
            let (blocks, error) = split(limits(10), cuts.chunks(stream));
            assert_eq!((blocks.len(), error), (2, None));
            let (blocks, error) = split(limits(9), cuts.chunks(stream));
            let error = error.unwrap();
            assert!(blocks.is_empty() && error.is_too_large(), "{error}");
            assert_eq!((error.item(), error.offset()), (1, 9));
        }
        // The LF of the CR that ends a block counts for neither block.
        let (blocks, error) = split(limits(11), cuts.chunks(b"data: 12\r\n\r\ndata: 12\r\n\r\n"));
        assert_eq!(error, None);
        assert!(blocks.len() >= 2);
        let (blocks, error) = split(
            limits(11),
            cuts.chunks(b"data: 12\r\n\r\ndata: 123\r\n\r\n"),
        );
        let error = error.unwrap();
        assert_eq!(
            (blocks.len(), error.item(), error.offset()),
            (1, 2, 12 + 11)
        );
    }
}

#[test]
fn chunks_are_released_once_they_are_read() {
    let mut splitter = Splitter::new(Limits::default());
    let chunk = Bytes::from(b"id: 1\ndata: a\n\n: b".to_vec());
    splitter.push(chunk.clone());
    let block = splitter.next().unwrap().unwrap();
    assert!(splitter.next().unwrap().is_none());
    drop(block);
    assert!(chunk.is_unique());
}

/// Returns the blocks without the LF of a CR that ends one, which can be in either block.
fn normal(blocks: &[Block]) -> Vec<&[u8]> {
    let mut after_cr = false;
    let mut normal = Vec::new();
    for block in blocks {
        let mut bytes = &block.bytes[..];
        if after_cr {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        after_cr = bytes.ends_with(b"\r");
        if bytes.ends_with(b"\r\n") {
            bytes = &bytes[..bytes.len() - 1];
        }
        if !bytes.is_empty() {
            normal.push(bytes);
        }
    }
    normal
}

fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    #[rustfmt::skip]
    let pieces: &[&[u8]] = &[
        b"data: a", b"data", b"id: 7", b"id", b"event: x", b": c", b"x", b"\n", b"\n", b"\n\n", b"\r", b"\r\n",
        b"\r\n\r\n", b"\r\r", b"\0", b"\xef\xbb\xbf", b"\xc3\xbc", b"\xff", b"retry: 5",
    ];
    vec(select(pieces), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_blocks_add_up_to_the_stream_in_any_chunking(
        stream in any_stream(),
        sizes in vec(1..12_usize, 1..6),
        limit in prop_oneof![Just(1000), 0..40_usize],
    ) {
        let (whole, fault) = split(limits(limit), vec![stream.clone().into()]);
        let cuts = Cuts { sizes, push_all_first: false };
        for chunks in [cuts.chunks(&stream), Cuts::every(1).chunks(&stream)] {
            let (blocks, error) = split(limits(limit), chunks);
            prop_assert_eq!(&error, &fault);
            prop_assert_eq!(normal(&blocks), normal(&whole));
            if fault.is_none() {
                let all: Vec<u8> = blocks.iter().flat_map(|block| block.bytes.to_vec()).collect();
                prop_assert_eq!(&all, &stream);
            }
        }
    }

    #[test]
    fn the_blocks_dispatch_what_the_stream_does(stream in any_stream(), sizes in vec(1..12_usize, 1..6)) {
        let cuts = Cuts { sizes, push_all_first: false };
        let outcome = testing::decode(Format::Sse, Limits::default(), &stream, &cuts);
        let events: Vec<_> = outcome.results.into_iter().map(Result::unwrap).collect();
        let (blocks, _) = split(Limits::default(), cuts.chunks(&stream));
        for block in &blocks {
            if let (Some(event), Some(id)) = (&block.event, &block.id) {
                prop_assert_eq!(&event.id, id);
            }
        }
        let found: Vec<_> = blocks.into_iter().filter_map(|block| block.event).collect();
        prop_assert_eq!(found, events);
    }
}

#[test]
fn the_work_is_linear_in_the_input_for_any_chunking() {
    const LEN: usize = 40_000;
    let large = format!("{}\n\n", "data: a\r\nb\r".repeat(LEN / 11));
    let small = "data: a\n\n".repeat(LEN / 9);
    for stream in [large, small] {
        for size in [1, 2, 100, usize::MAX] {
            let work = counted(|| {
                let (_, error) = split(
                    Limits::default(),
                    Cuts::every(size).chunks(stream.as_bytes()),
                );
                assert_eq!(error, None);
            });
            assert!(
                work < 10 * stream.len(),
                "in pieces of {size}: {work} bytes"
            );
        }
    }
}
