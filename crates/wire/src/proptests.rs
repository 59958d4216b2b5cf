//! Properties of every stream in every chunking.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use crate::{
    Encoder, Format, Limits, Meta, json,
    sse::reference,
    testing::{Cuts, decode, decode_chunks},
    work_counter::counted,
};

fn any_cuts() -> impl Strategy<Value = Cuts> {
    (vec(1..24_usize, 1..6), any::<bool>()).prop_map(|(sizes, push_all_first)| Cuts {
        sizes,
        push_all_first,
    })
}

fn any_format() -> impl Strategy<Value = Format> {
    select(&Format::ALL[..])
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[\\[\\]{}\",:\\\\\r\n\u{1e}ü]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((".{0,4}", inner), 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Returns the building blocks of streams of a format, and of faults in them.
#[rustfmt::skip]
fn pieces(format: Format) -> &'static [&'static [u8]] {
    match format {
        Format::Sse => &[
            b"data", b"data:", b"data: ", b"event:", b"event: x", b"id:", b"id: 7", b"retry: 5",
            b"retry:", b":", b" ", b"\n", b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b"\0",
            b"abc", b"\xef\xbb\xbf", b"\xef\xbb", b"\xc3\xbc", b"\xc3", b"\xff", b"dat", b"1234567",
        ],
        Format::Text => &[
            b"abc", b"\n", b"\r\n", b"\r", b"\xc3\xbc", b"\xe2\x82\xac", b"\xf0\x9f\x98\x80",
            b"\xf0\x9f", b"\xc3", b"\xff", b"\xef\xbb\xbf",
        ],
        _ => &[
            b"[", b"]", b"{", b"}", b"\"", b"\\", b",", b":", b" ", b"\n", b"\n", b"\r\n", b"\x1e",
            b"\x1e", b"1", b"-0.5e+7", b"true", b"null", b"\"a\":", b"\"b\"", b"{\"a\":[1,\"]\"]}",
            b"[[[]]]", b"\"\xc3\xbc\"", b"\xc3", b"\xff", b"\xef\xbb\xbf", b"x", b"[\n{},",
            b"\x1e{\"a\":\n1}\n", b"\x1e12\n", b"\"\\\"\\u12aF\"", b"[[[[[[",
        ],
    }
}

/// Generates bytes that resemble the format, with some faults.
fn any_stream(format: Format) -> impl Strategy<Value = Vec<u8>> {
    let start: &[u8] = match format {
        Format::JsonArray => b"[",
        Format::JsonSeq => b"\x1e",
        _ => b"",
    };
    let piece = prop_oneof![
        9 => select(pieces(format)).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..3),
    ];
    (any::<bool>(), vec(piece, 0..24)).prop_map(move |(regular, pieces)| {
        let start = if regular { start } else { b"" };
        [start, &pieces.concat()].concat()
    })
}

fn any_limits() -> impl Strategy<Value = Limits> {
    (0..24_usize, 0..5_usize).prop_map(|(bytes, depth)| {
        Limits::default()
            .with_max_item_bytes(bytes)
            .with_max_depth(depth)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn encoded_items_decode_to_the_same_items(
        format in any_format(),
        values in vec(any_value(), 0..6),
        id in "[^\0\r\n]{0,6}",
        event in "[^\r\n]{1,6}",
        cuts in any_cuts(),
    ) {
        let mut encoder = Encoder::new(format);
        let mut bytes = Vec::new();
        for value in &values {
            // As text a string is written unquoted, so one with line breaks would be several lines.
            let item = if format.is_json() { value.clone() } else { json!([value]) };
            encoder.item(&Meta::default().id(&id).event(&event), &item, &mut bytes).unwrap();
        }
        encoder.end(&mut bytes);

        let outcome = decode(format, Limits::default(), &bytes, &cuts);
        prop_assert_eq!(outcome.error(), None);
        prop_assert_eq!(outcome.items, values.len() as u64);
        let decoded: Vec<Value> =
            outcome.data().iter().map(|data| serde_json::from_str(data).unwrap()).collect();
        if format.is_json() {
            prop_assert_eq!(decoded, values);
        } else {
            let values: Vec<Value> = values.iter().map(|value| json!([value])).collect();
            prop_assert_eq!(decoded, values);
        }
        if format == Format::Sse {
            for result in outcome.results {
                let decoded = result.unwrap();
                prop_assert_eq!((&*decoded.id, &*decoded.event), (&*id, &*event));
            }
        }
    }

    #[test]
    fn text_of_any_kind_survives_sse(data in "[a\n :ü]{0,20}", cuts in any_cuts()) {
        let mut bytes = Vec::new();
        crate::sse::encode_text(&Meta::default(), &data, &mut bytes).unwrap();
        let outcome = decode(Format::Sse, Limits::default(), &bytes, &cuts);
        prop_assert_eq!(outcome.data(), [&*data]);
    }

    #[test]
    fn lines_of_text_survive(lines in vec("[a ü\u{feff}]{0,8}", 0..6), cuts in any_cuts()) {
        let mut bytes = Vec::new();
        for line in &lines {
            crate::text::encode_line(line, &mut bytes).unwrap();
        }
        let outcome = decode(Format::Text, Limits::default(), &bytes, &cuts);
        prop_assert_eq!(outcome.data(), lines);
    }

    #[test]
    fn the_chunking_has_no_effect(
        (format, bytes) in any_format().prop_flat_map(|format| (Just(format), any_stream(format))),
        limits in prop_oneof![Just(Limits::default()), any_limits()],
        cuts in any_cuts(),
    ) {
        let whole = decode(format, limits, &bytes, &Cuts::every(usize::MAX));
        prop_assert_eq!(&decode(format, limits, &bytes, &Cuts::every(1)), &whole);
        prop_assert_eq!(&decode(format, limits, &bytes, &cuts), &whole);
    }

    #[test]
    fn sse_is_decoded_as_the_standard_defines(bytes in any_stream(Format::Sse), cuts in any_cuts()) {
        let outcome = decode(Format::Sse, Limits::default(), &bytes, &cuts);
        let reference = reference::interpret(&bytes);
        let events: Vec<_> = outcome.results.into_iter().map(Result::unwrap).map(|event| {
            (event.data.to_string(), event.event.to_string(), event.id.to_string())
        }).collect();
        prop_assert_eq!(events, reference.events);
        prop_assert_eq!(outcome.last_event_id, reference.last_event_id);
        prop_assert_eq!(outcome.retry.map(|retry| retry.as_millis()), reference.retry.map(u128::from));
    }

    #[test]
    fn no_item_exceeds_the_limits(
        (format, bytes) in any_format().prop_flat_map(|format| (Just(format), any_stream(format))),
        limits in any_limits(),
        cuts in any_cuts(),
    ) {
        for event in decode(format, limits, &bytes, &cuts).results.into_iter().flatten() {
            // Each invalid byte becomes a character of three bytes.
            let factor = if format == Format::Sse { 3 } else { 1 };
            prop_assert!(event.data.len() <= factor * limits.max_item_bytes);
            if format.is_json() && format != Format::Sse && json::check(event.data.as_bytes(), usize::MAX).is_ok() {
                prop_assert_eq!(json::check(event.data.as_bytes(), limits.max_depth), Ok(()));
            }
        }
    }

    #[test]
    fn chunks_of_text_add_up_to_the_text(
        bytes in any_stream(Format::Text),
        limits in prop_oneof![Just(Limits::default()), any_limits()],
        cuts in any_cuts(),
    ) {
        let (texts, error) = decode_chunks(limits, &bytes, &cuts);
        prop_assert!(texts.iter().all(|text| !text.is_empty()));
        prop_assert!(texts.iter().all(|text| text.len() <= limits.max_item_bytes.max(4)));
        match std::str::from_utf8(&bytes) {
            Ok(text) => {
                prop_assert_eq!(error, None);
                prop_assert_eq!(texts.concat(), text);
            }
            Err(fault) => {
                let error = error.unwrap();
                prop_assert_eq!(texts.concat().into_bytes(), &bytes[..fault.valid_up_to()]);
                prop_assert_eq!(error.offset(), fault.valid_up_to() as u64);
                prop_assert_eq!(error.is_truncated(), fault.error_len().is_none());
                prop_assert_eq!(error.is_utf8(), fault.error_len().is_some());
            }
        }
    }

    #[test]
    fn the_check_accepts_what_a_deserialiser_accepts(bytes in any_stream(Format::Ndjson)) {
        let accepted = std::str::from_utf8(&bytes)
            .is_ok_and(|text| serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok());
        prop_assert_eq!(json::check(&bytes, usize::MAX).is_ok(), accepted);
    }

    #[test]
    fn the_check_accepts_every_value_and_reports_each_prefix_as_truncated(value in any_value()) {
        let text = value.to_string();
        prop_assert_eq!(json::check(text.as_bytes(), 128), Ok(()));
        for len in 0..text.len() {
            match json::check(&text.as_bytes()[..len], 128) {
                Ok(()) => prop_assert!(value.is_number()),
                Err(error) => prop_assert!(error.is_end(), "{error}"),
            }
        }
    }
}

/// Returns one item of about `len` bytes, full of structures that make decoders look back: lines
/// without their end, quotes, escapes and brackets.
fn large_item(format: Format, len: usize) -> String {
    match format {
        Format::Sse => format!("{}\n\n", "data: a:b\r\ndata\r:\r".repeat(len / 20)),
        Format::JsonSeq => format!("\x1e[{}1]\n", "[\"\\\"\"],\n1,\n".repeat(len / 11)),
        Format::JsonArray => format!("[[{}1]]", "[\"\\\"\"],\n1,\n".repeat(len / 11)),
        Format::Ndjson => format!("[{}1]\n", "[\"\\\"\"], 1, ".repeat(len / 11)),
        Format::Text => format!("{}\n", "a\rb ".repeat(len / 4)),
    }
}

#[test]
fn the_work_is_linear_in_the_input_for_any_chunking() {
    const LEN: usize = 40_000;
    for format in Format::ALL {
        let large = large_item(format, LEN);
        let small = match format {
            Format::Sse => "data: a\n\n".repeat(LEN / 9),
            Format::JsonSeq => "\x1e1\n".repeat(LEN / 3),
            Format::JsonArray => format!("[{}1]", "1,".repeat(LEN / 2)),
            Format::Ndjson | Format::Text => "1\n".repeat(LEN / 2),
        };
        for bytes in [large, small] {
            for size in [1, 2, 100, usize::MAX] {
                let work = counted(|| {
                    let limits = Limits::default();
                    let outcome = decode(format, limits, bytes.as_bytes(), &Cuts::every(size));
                    assert_eq!(outcome.error(), None);
                    assert!(outcome.items > 0);
                });
                assert!(
                    work >= bytes.len() / 2,
                    "{format}: {work} bytes is not all of the work"
                );
                assert!(
                    work < 8 * bytes.len(),
                    "{format} in pieces of {size}: {work} bytes"
                );
            }
        }
    }
}
