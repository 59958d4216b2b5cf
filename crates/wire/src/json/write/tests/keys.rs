//! The keys of maps.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Serialize, Serializer};

use super::{
    append, check,
    scalars::Bytes,
    types::{External, Flat, Newtype, Tuple, Unit},
};

/// A map of one entry with any key.
struct Entry<K>(K);

impl<K: Serialize> Serialize for Entry<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(&self.0, 1)])
    }
}

#[test]
fn keys_that_serde_json_accepts_are_accepted() {
    check(&BTreeMap::from([
        ("b\n", 1),
        ("", 2),
        ("a key of more bytes than a block has", 3),
    ]));
    check(&Entry('"'));
    check(&(Entry(true), Entry(false)));
    check(&(
        Entry(i8::MIN),
        Entry(i16::MIN),
        Entry(i32::MIN),
        Entry(i64::MIN),
        Entry(i128::MIN),
    ));
    check(&(
        Entry(u8::MAX),
        Entry(u16::MAX),
        Entry(u32::MAX),
        Entry(u64::MAX),
        Entry(u128::MAX),
    ));
    check(&(Entry(1.5_f32), Entry(2.0_f64), Entry(1e300)));
    check(&(Entry(Some("a")), Entry(Newtype(0.5)), Entry(External::Unit)));
    check(&Entry("192.0.2.1".parse::<IpAddr>().unwrap()));
    check(&Entry(format_args!("a\t{}", 1)));
}

#[test]
fn keys_that_serde_json_refuses_are_refused_with_its_error() {
    check(&Entry(()));
    check(&Entry(Unit));
    check(&Entry(None::<u8>));
    check(&Entry([1, 2]));
    check(&Entry(vec![1]));
    check(&Entry((1, 2)));
    check(&Entry(Tuple(1, "", None)));
    check(&Entry(BTreeMap::from([("a", 1)])));
    check(&Entry(Flat { x: 1, y: None }));
    check(&Entry(External::Newtype(1)));
    check(&Entry(External::Tuple(1, 'a')));
    check(&Entry(External::Struct { a: 1, b: None }));
    check(&Entry(Bytes(b"a")));
    check(&(Entry(f32::NAN), ()));
    check(&Entry(f64::INFINITY));
    let mut out = Vec::new();
    assert!(append(&Entry(()), &mut out).unwrap_err().is_syntax());
}
