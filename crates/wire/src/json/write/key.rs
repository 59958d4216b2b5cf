//! The keys of a map: strings, and scalars between quotes.

use std::fmt::Display;

use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::Error;

use super::{Writer, unsupported::refuse_all_but_scalars};

/// A serialiser of keys. It refuses values that can't be keys.
pub(super) struct KeyWriter<'a>(pub(super) &'a mut Vec<u8>);

impl KeyWriter<'_> {
    #[inline]
    fn quoted<T: Serialize>(self, value: T) -> Result<(), Error> {
        self.0.push(b'"');
        value.serialize(Writer(self.0))?;
        self.0.push(b'"');
        Ok(())
    }
}

macro_rules! between_quotes {
    ($($method:ident $type:ty),* $(,)?) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<(), Error> {
            self.quoted(value)
        }
    )*};
}

impl Serializer for KeyWriter<'_> {
    type Ok = ();
    type Error = Error;

    between_quotes! {
        serialize_bool bool,
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128,
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        match value.is_finite() {
            true => self.quoted(value),
            false => Err(refusal_of(value)),
        }
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        match value.is_finite() {
            true => self.quoted(value),
            false => Err(refusal_of(value)),
        }
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), Error> {
        Writer(self.0).serialize_char(value)
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Error> {
        Writer(self.0).serialize_str(value)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        Writer(self.0).collect_str(value)
    }

    refuse_all_but_scalars!(refusal_of(()));
}

/// Returns the error of `serde_json` for such a key. Only `serde_json` can create it with its kind,
/// so it receives the key to refuse.
#[cold]
fn refusal_of<K: Serialize>(key: K) -> Error {
    struct Map<K>(K);

    impl<K: Serialize> Serialize for Map<K> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map([(&self.0, ())])
        }
    }

    match serde_json::to_vec(&Map(key)) {
        Err(error) => error,
        Ok(_) => Error::custom("this can't be the key of a JSON object"),
    }
}
