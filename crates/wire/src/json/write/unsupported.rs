//! The methods of serialisers that accept only some kinds of values.

/// Refuses everything but scalars, and the scalars without a text.
macro_rules! refuse_all_but_scalars {
    ($error:expr) => {
        type SerializeSeq = serde::ser::Impossible<(), serde_json::Error>;
        type SerializeTuple = serde::ser::Impossible<(), serde_json::Error>;
        type SerializeTupleStruct = serde::ser::Impossible<(), serde_json::Error>;
        type SerializeTupleVariant = serde::ser::Impossible<(), serde_json::Error>;
        type SerializeMap = serde::ser::Impossible<(), serde_json::Error>;
        type SerializeStruct = serde::ser::Impossible<(), serde_json::Error>;
        type SerializeStructVariant = serde::ser::Impossible<(), serde_json::Error>;

        fn serialize_bytes(self, _: &[u8]) -> Result<(), serde_json::Error> {
            Err($error)
        }

        fn serialize_none(self) -> Result<(), serde_json::Error> {
            Err($error)
        }

        fn serialize_unit(self) -> Result<(), serde_json::Error> {
            Err($error)
        }

        fn serialize_unit_struct(self, _: &'static str) -> Result<(), serde_json::Error> {
            Err($error)
        }

        fn serialize_newtype_variant<T: serde::Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<(), serde_json::Error> {
            Err($error)
        }

        fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, serde_json::Error> {
            Err($error)
        }

        fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, serde_json::Error> {
            Err($error)
        }

        fn serialize_tuple_struct(
            self,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleStruct, serde_json::Error> {
            Err($error)
        }

        fn serialize_tuple_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleVariant, serde_json::Error> {
            Err($error)
        }

        fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, serde_json::Error> {
            Err($error)
        }

        fn serialize_struct(
            self,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeStruct, serde_json::Error> {
            Err($error)
        }

        fn serialize_struct_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeStructVariant, serde_json::Error> {
            Err($error)
        }
    };
}

/// Refuses the scalars that aren't strings, and wrappers of a value.
macro_rules! refuse_scalars {
    ($error:expr; $($method:ident $type:ty),* $(,)?) => {
        $(
            fn $method(self, _: $type) -> Result<(), serde_json::Error> {
                Err($error)
            }
        )*

        fn serialize_some<T: serde::Serialize + ?Sized>(
            self,
            _: &T,
        ) -> Result<(), serde_json::Error> {
            Err($error)
        }

        fn serialize_unit_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
        ) -> Result<(), serde_json::Error> {
            Err($error)
        }

        fn serialize_newtype_struct<T: serde::Serialize + ?Sized>(
            self,
            _: &'static str,
            _: &T,
        ) -> Result<(), serde_json::Error> {
            Err($error)
        }
    };
}

pub(super) use {refuse_all_but_scalars, refuse_scalars};
