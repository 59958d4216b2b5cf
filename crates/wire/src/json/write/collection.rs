//! Arrays and objects. The lengths that types announce are ignored, so wrong ones do no harm.
//!
//! The functions that are called for each member are always inlined, so that its key and `lead` are
//! constants. [`text::member`] documents the exception for debug builds.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use serde_json::Error;

use super::{Writer, key::KeyWriter, raw, text};

/// An array or an object. Its bracket `OPEN` is written with its first element.
pub(super) struct Bracketed<'a, const OPEN: u8> {
    out: &'a mut Vec<u8>,
    /// The byte before the next element: the bracket or a comma.
    lead: u8,
    of_variant: bool,
}

pub(super) type Array<'a> = Bracketed<'a, b'['>;
pub(super) type Object<'a> = Bracketed<'a, b'{'>;

impl<'a, const OPEN: u8> Bracketed<'a, OPEN> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            lead: OPEN,
            of_variant: false,
        }
    }

    /// Creates an array or an object inside `{"variant":`, which it closes.
    #[inline]
    pub(super) fn of_variant(out: &'a mut Vec<u8>) -> Self {
        Self {
            of_variant: true,
            ..Self::new(out)
        }
    }

    #[inline]
    fn close(self) {
        if self.lead == OPEN {
            self.out.push(OPEN);
        }
        // In ASCII, one character is between `[` and `]`, and one between `{` and `}`.
        self.out.push(OPEN + 2);
        if self.of_variant {
            self.out.push(b'}');
        }
    }
}

impl Array<'_> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.push(self.lead);
        self.lead = b',';
        value.serialize(Writer(self.out))
    }
}

macro_rules! array {
    ($($trait:ident $method:ident)*) => {$(
        impl $trait for Array<'_> {
            type Ok = ();
            type Error = Error;

            #[cfg_attr(not(debug_assertions), inline(always))]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            #[inline]
            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        }
    )*};
}

array! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

impl Object<'_> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        text::member(self.lead, key, self.out);
        self.lead = b',';
        value.serialize(Writer(self.out))
    }
}

impl SerializeMap for Object<'_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.out.push(self.lead);
        self.lead = b',';
        key.serialize(KeyWriter(self.out))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.push(b':');
        value.serialize(Writer(self.out))
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl SerializeStructVariant for Object<'_> {
    type Ok = ();
    type Error = Error;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.field(key, value)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

/// The output of a struct: an object, or the JSON in one of `serde_json`'s own types.
pub(super) enum Fields<'a> {
    Object(Object<'a>),
    Raw(&'a mut Vec<u8>),
}

impl<'a> Fields<'a> {
    #[inline]
    pub(super) fn new(name: &'static str, out: &'a mut Vec<u8>) -> Self {
        if raw::is_token(name) {
            Self::Raw(out)
        } else {
            Self::Object(Object::new(out))
        }
    }
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Error;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        match self {
            Self::Object(object) => object.field(key, value),
            Self::Raw(out) => value.serialize(raw::RawWriter(out)),
        }
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        if let Self::Object(object) = self {
            object.close();
        }
        Ok(())
    }
}
