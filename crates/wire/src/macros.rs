//! Methods that many types have in the same form.

/// Defines methods that test the kind of an error.
#[doc(hidden)]
#[macro_export]
macro_rules! predicates {
    ($error:ident => $kind:expr; $($(#[$doc:meta])* $name:ident: $pattern:pat,)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(&self) -> bool {
            let $error = self;
            matches!($kind, $pattern)
        }
    )*};
}

/// Defines methods of a builder that set a field.
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($argument:ident: $type:ty) => $($field:tt).+ = $value:expr;)*) => {$(
        $(#[$doc])*
        #[allow(clippy::double_must_use, reason = "the builder may be `must_use` itself")]
        #[must_use]
        pub fn $name(mut self, $argument: $type) -> Self {
            self.$($field).+ = $value;
            self
        }
    )*};
}

/// Defines `Debug` for types whose fields are secret or have no `Debug`: only the name is shown.
#[doc(hidden)]
#[macro_export]
macro_rules! opaque {
    ($($type:ident),*) => {$(
        impl ::std::fmt::Debug for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        }
    )*};
}
