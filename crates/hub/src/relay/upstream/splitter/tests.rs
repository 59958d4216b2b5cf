use bytes::Bytes;
use headwater_wire::json;
use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    limits::{JSON_DEPTH, UPSTREAM_CHUNK_BYTES, UpstreamLimits},
    relay::upstream::{
        Fault, Kind,
        tests::session::{Session, Step},
    },
};

fn chunks(body: &[u8], sizes: &[usize]) -> Vec<Bytes> {
    let mut rest = Bytes::copy_from_slice(body);
    let mut chunks = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        chunks.push(rest.split_to(rest.len().min(*size)));
    }
    chunks
}

/// Returns the items of a body that ends regularly, and its fault.
fn cut(kind: Kind, limit: usize, chunks: Vec<Bytes>) -> (Vec<Bytes>, Option<Fault>) {
    let limits = UpstreamLimits {
        item_bytes: limit,
        ..UpstreamLimits::default()
    };
    let mut session = Session::new(kind, false, limits, 7);
    let mut items = Vec::new();
    let mut chunks = chunks.into_iter();
    loop {
        match session.next() {
            Step::Give(item) => items.push(item.bytes),
            Step::Fail(fault) => return (items, Some(fault)),
            Step::End => return (items, None),
            Step::Read | Step::Connect(_) => match chunks.next() {
                Some(chunk) => session.chunk(chunk),
                None => session.end(),
            },
        }
    }
}

/// Compares the items, with the body as one chunk and in small ones. The last of `expected` may be
/// a fault: `! why`.
#[track_caller]
fn check(kind: Kind, limit: usize, body: &[u8], expected: &[&str]) {
    for size in [usize::MAX, 1, 3] {
        let (items, fault) = cut(kind, limit, chunks(body, &[size]));
        let items = items.iter().map(|item| item.escape_ascii().to_string());
        let fault = fault.map(|fault| format!("! {fault}"));
        let found: Vec<String> = items.chain(fault).collect();
        assert_eq!(found, expected, "in pieces of {size}");
    }
}

const TRUNCATED: &str = "! the connection broke before the end, or the body ends within an item";

#[test]
fn a_line_of_json_is_an_item_with_its_lf() {
    let check = |body: &[u8], expected| check(Kind::Ndjson, 12, body, expected);
    check(b"{\"a\":1}\n[2] \r\n", &["{\\\"a\\\":1}\\n", "[2] \\r\\n"]);
    check(b"1\n\n \n2", &["1\\n", "\\n", " \\n", "2"]);
    check(b"\xef\xbb\xbf1\n", &["1\\n"]);
    check(b"\xef\xbb\xbf1", &["1"]);
    check(b"\xef\xbb\xbf", &[]);
    check(b"", &[]);
    check(b"1\n{\"a\":", &["1\\n", TRUNCATED]);
    check(
        b"1\n{\"a\":\n",
        &["1\\n", "! line 2, byte 6: expected a value, found the end"],
    );
    check(
        b"1\n\"\xff\"\n",
        &["1\\n", "! line 2, byte 1: not valid UTF-8"],
    );
    check(b"1\noops", &["1\\n", "! line 2, byte 0: expected a value"]);
    check(b"\"1234567890\"\n1", &["\\\"1234567890\\\"\\n", "1"]);
    check(
        b"1\n\"12345678901\"\n",
        &["1\\n", "! line 2 is larger than the limit of 12 bytes"],
    );
    check(
        b"1\n              ",
        &["1\\n", "! line 2 is larger than the limit of 12 bytes"],
    );
}

#[test]
fn an_element_of_an_array_or_any_other_value_is_an_item_on_one_line() {
    let check = |body: &[u8], expected| check(Kind::Json, 12, body, expected);
    check(
        b" [1, {\"a\":\n2},\"x\" ] \n",
        &["1", "{\\\"a\\\": 2}", "\\\"x\\\""],
    );
    check(b"[]", &[]);
    check(b" \n{\"a\":\n1}\n", &["{\\\"a\\\": 1}"]);
    check(b"12", &["12"]);
    check(b"[1,2", &["1", TRUNCATED]);
    check(b"[1,[2,3", &["1", TRUNCATED]);
    check(b"{\"a\":", &[TRUNCATED]);
    check(b"", &["! byte 0: expected a value"]);
}

#[test]
fn line_separators_are_escaped_and_a_byte_order_mark_is_removed() {
    let raw = "\"a\u{2028}\u{2029}\u{85}\"";
    let escaped = r#""a\u2028\u2029\u0085""#;
    for size in [1, 2, 3, 100] {
        let cut = |kind, text: &str| {
            let (items, fault) = cut(kind, 100, chunks(text.as_bytes(), &[size]));
            assert!(fault.is_none(), "{text:?} in pieces of {size}");
            items
        };
        assert_eq!(
            cut(Kind::Json, &format!("\u{feff}[{raw},1]")),
            [escaped, "1"]
        );
        assert_eq!(cut(Kind::Json, &format!("\u{feff} {raw}")), [escaped]);
        let lines = format!("{raw}\n{raw}\n");
        assert_eq!(
            cut(Kind::Ndjson, &lines),
            [format!("{escaped}\n"), format!("{escaped}\n")]
        );
    }
}

#[test]
fn invalid_json_is_reported_with_its_location() {
    let fault = |body: &[u8]| {
        let (items, fault) = cut(Kind::Json, 100, chunks(body, &[2]));
        (
            items.len(),
            fault.map(|fault| fault.to_string()).unwrap_or_default(),
        )
    };
    assert_eq!(
        fault(b"[1, {\"a\" 2}]"),
        (
            1,
            "element 2 of the array, byte 5: expected \":\"".to_owned()
        )
    );
    assert_eq!(
        fault(b"[1 2]"),
        (1, "json item 2, byte 3: expected \",\" or \"]\"".to_owned())
    );
    assert_eq!(
        fault(b"[1] x"),
        (
            1,
            "json item 2, byte 4: expected the end after \"]\"".to_owned()
        )
    );
    assert_eq!(fault(b"  {1:2}").0, 0);
    assert!(
        fault(b"  {1:2}").1.starts_with("byte 3: "),
        "{:?}",
        fault(b"  {1:2}")
    );
    assert!(fault(b"[\"\xff\"]").1.contains("not valid UTF-8"));
    assert!(fault(b"\"\xff\"").1.contains("not valid UTF-8"));
}

#[test]
fn limits_of_json_are_exact() {
    let count = |body: String| cut(Kind::Json, 10, chunks(body.as_bytes(), &[3]));
    assert_eq!(count("[\"12345678\",1]".to_owned()).0.len(), 2);
    assert!(count("[\"123456789\",1]".to_owned()).1.is_some());
    assert_eq!(count("\"12345678\"".to_owned()).0.len(), 1);
    assert!(matches!(
        count("\"123456789\"".to_owned()).1,
        Some(Fault::ItemTooLarge { limit: 10, .. })
    ));
    let deep = |depth: usize| {
        let value = format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
        cut(Kind::Json, 1000, chunks(value.as_bytes(), &[7])).1
    };
    assert_eq!(deep(JSON_DEPTH), None);
    assert!(matches!(deep(JSON_DEPTH + 1), Some(Fault::Invalid(_))));
}

#[test]
fn text_is_returned_as_it_arrives_without_splitting_characters() {
    let text = "aü€😀b".as_bytes();
    for size in 1..8 {
        let (items, fault) = cut(Kind::Text, 9, chunks(text, &[size]));
        assert_eq!(fault, None);
        assert!(items.iter().all(|item| std::str::from_utf8(item).is_ok()));
        assert_eq!(items.concat(), text);
    }
    // Bytes that aren't UTF-8 pass, and so does a character that is truncated by the end.
    let (items, _) = cut(Kind::Text, 9, chunks(b"a\xff\x80b\xe2\x82", &[100]));
    assert_eq!(items, [&b"a\xff\x80b"[..], b"\xe2\x82"]);
}

#[test]
fn a_large_chunk_is_split() {
    let text = "€".repeat(UPSTREAM_CHUNK_BYTES);
    for kind in [Kind::Text, Kind::Bytes] {
        let (items, _) = cut(kind, 9, vec![Bytes::from(text.clone()), Bytes::new()]);
        assert!(items.iter().all(|item| item.len() <= UPSTREAM_CHUNK_BYTES));
        assert!(items.len() <= 4);
        assert_eq!(items.concat(), text.as_bytes());
        if kind == Kind::Text {
            assert!(items.iter().all(|item| std::str::from_utf8(item).is_ok()));
        }
    }
}

fn any_body() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    #[rustfmt::skip]
    let pieces: &[&[u8]] = &[
        b"data: 1\n\n", b"id: 1\r\n", b"\r", b"\n", b"[", b"]", b",", b"{\"a\":1}", b"1", b"\"x\"", b" ", b"true",
        b"\xc3\xbc", b"\xc3", b"\xff", b"\xef\xbb\xbf", b"{\"a\":1}\n", b"[1,2]\n", b":",
    ];
    let kinds = [Kind::Sse, Kind::Ndjson, Kind::Json, Kind::Text, Kind::Bytes];
    let body = vec(select(pieces), 0..16).prop_map(|pieces| pieces.concat());
    (select(kinds.to_vec()), any::<bool>(), body).prop_map(|(kind, regular, body)| {
        let start = if regular && kind == Kind::Json {
            "["
        } else {
            ""
        };
        (kind, [start.as_bytes(), &body].concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_leads_to_the_same_items_and_they_are_the_body(
        (kind, body) in any_body(),
        sizes in vec(1..9_usize, 1..5),
        limit in prop_oneof![Just(1000), 1..24_usize],
    ) {
        let (whole, fault) = cut(kind, limit, vec![body.clone().into()]);
        let (items, other) = cut(kind, limit, chunks(&body, &sizes));
        if kind != Kind::Json && fault.is_none() {
            // Except for a byte order mark before lines of JSON.
            let text = match kind {
                Kind::Ndjson => json::without_bom(&body),
                _ => &body,
            };
            prop_assert_eq!(items.concat(), text);
            prop_assert_eq!(whole.concat(), text);
        }
        prop_assert_eq!(&other, &fault);
        if matches!(kind, Kind::Ndjson | Kind::Json) {
            prop_assert_eq!(items, whole);
        }
    }
}
