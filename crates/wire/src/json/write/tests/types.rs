//! Structs, enums and types of the standard library.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroU8,
    path::PathBuf,
    time::Duration,
};

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value, json, value::RawValue};

use super::check;

#[derive(Serialize)]
pub(super) struct Unit;

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
pub(super) struct Newtype(pub(super) f32);

#[derive(Serialize)]
pub(super) struct Tuple(
    pub(super) u8,
    pub(super) &'static str,
    pub(super) Option<Unit>,
);

#[derive(Serialize)]
struct NoElements();

#[derive(Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum External {
    Unit,
    #[serde(rename = "a \"new\"\ttype of a length")]
    Newtype(u8),
    Tuple(u8, char),
    NoElements(),
    Struct {
        a: u8,
        b: Option<i64>,
    },
    NoFields {},
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Internal {
    Unit,
    Newtype(BTreeMap<&'static str, u8>),
    Struct { a: u8 },
}

#[derive(Serialize)]
#[serde(tag = "type", content = "data")]
enum Adjacent {
    Unit,
    Newtype(u8),
    Tuple(u8, u8),
    Struct { a: u8 },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Untagged {
    Unit,
    Newtype(u8),
    Tuple(u8, u8),
    Struct { a: u8 },
}

/// Keys of all lengths and kinds, which are constants in a struct.
#[derive(Serialize)]
struct Fields<'a> {
    n: u8,
    six_by: u8,
    seven_b: u8,
    eight_by: u8,
    nine_byte: u8,
    twelve_bytes: u8,
    thirteen_byte: u8,
    a_name_that_is_longer_than_two_words: u8,
    #[serde(rename = "")]
    nothing: u8,
    #[serde(rename = "\"")]
    quote: u8,
    #[serde(rename = "twelve byte\n")]
    escape_at_the_end: u8,
    #[serde(rename = "a longer name with a \t tab")]
    long_escape: u8,
    #[serde(rename = "straße")]
    street: u8,
    #[serde(skip)]
    _skipped: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<u8>,
    borrowed: Cow<'a, str>,
    raw: &'a RawValue,
}

/// A struct that is serialised as a map.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Flattened {
    thirteen_bytes: bool,
    #[serde(rename = "a \"longer\" name")]
    quotes: u8,
    #[serde(flatten)]
    flat: Flat,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Serialize)]
pub(super) struct Flat {
    pub(super) x: i8,
    pub(super) y: Option<Option<u8>>,
}

#[test]
fn structs_and_enums_are_written_as_serde_json_writes_them() {
    check(&Unit);
    check(&Empty {});
    check(&[Newtype(0.1), Newtype(-0.0)]);
    check(&Tuple(1, "two", Some(Unit)));
    check(&NoElements());
    check(&[
        External::Unit,
        External::Newtype(7),
        External::Tuple(1, '"'),
        External::NoElements(),
        External::Struct { a: 1, b: Some(-5) },
        External::NoFields {},
    ]);
    check(&[
        Internal::Unit,
        Internal::Newtype([("k", 1)].into()),
        Internal::Struct { a: 1 },
    ]);
    check(&[
        Adjacent::Unit,
        Adjacent::Newtype(1),
        Adjacent::Tuple(1, 2),
        Adjacent::Struct { a: 1 },
    ]);
    check(&[
        Untagged::Unit,
        Untagged::Newtype(1),
        Untagged::Tuple(1, 2),
        Untagged::Struct { a: 1 },
    ]);
    let raw = RawValue::from_string(r#"[1.50, "a\u0041"]"#.to_owned()).unwrap();
    for absent in [None, Some(3)] {
        check(&Fields {
            n: 1,
            six_by: 6,
            seven_b: 7,
            eight_by: 8,
            nine_byte: 9,
            twelve_bytes: 12,
            thirteen_byte: 13,
            a_name_that_is_longer_than_two_words: 36,
            nothing: 0,
            quote: 1,
            escape_at_the_end: 12,
            long_escape: 26,
            street: 7,
            _skipped: 0,
            absent,
            borrowed: "Cow".into(),
            raw: &raw,
        });
    }
    check(&Flattened {
        thirteen_bytes: true,
        quotes: 1,
        flat: Flat {
            x: -1,
            y: Some(None),
        },
        rest: Map::from_iter([("more\n".to_owned(), json!([{}, []]))]),
    });
}

#[test]
fn the_standard_library_is_written_as_serde_json_writes_it() {
    check(&());
    check(&[None, Some(None), Some(Some(true))]);
    check(&(1, "a", [0u8; 0], [Some('x')], ((),)));
    check(&["a".to_owned().into_boxed_str()]);
    check(&[Ok(1), Err("no")]);
    check(&(
        Duration::from_millis(1500),
        1..5,
        2..=3,
        PathBuf::from("/a\\b"),
    ));
    check(&"192.0.2.1".parse::<IpAddr>().unwrap());
    check(&"[2001:db8::1]:443".parse::<SocketAddr>().unwrap());
    check(&(
        NonZeroU8::MIN,
        std::cell::Cell::new(1),
        std::num::Wrapping(2),
    ));
    check(&format_args!("{} \"and\" a longer {:>30}\n", 1, "piece"));
}

#[test]
fn a_map_may_serialise_its_keys_and_values_separately() {
    struct Apart;
    impl Serialize for Apart {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            for n in 0..3 {
                map.serialize_key(&n)?;
                map.serialize_value(&Newtype(0.5))?;
            }
            map.end()
        }
    }
    check(&Apart);
}
