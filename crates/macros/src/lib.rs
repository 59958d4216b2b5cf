//! The macros of [`headwater`](https://docs.rs/headwater), which re-exports them. Use them from
//! there.
//!
//! - [`macro@operation`] adds a handler's name and doc comment to the OpenAPI document.
//! - [`macro@Events`] sends the variants of an enum under separate event names.
//!
//! Both expand to plain impls of traits of `headwater`: there is no registry, and nothing runs
//! before `main`. The compiler checks the types, and reports an error at the part of the handler
//! that causes it.
//!
//! | module | purpose |
//! |---|---|
//! | `operation` | checks the function, and wraps what it returns |
//! | `docs` | splits a doc comment into a summary and a description |
//! | `events` | reads the enum and its serde attributes |
//! | `rename` | serde's rules for the case of a variant's name |
//!
//! The error messages are pinned by `crates/headwater/tests/ui`.

mod docs;
mod events;
mod operation;
mod rename;

use proc_macro::TokenStream;

/// Adds a handler's name and doc comment to the OpenAPI document.
///
/// The function's name becomes the operation's id, the first paragraph of the doc comment its
/// summary, and the rest, as markdown, its description. The attribute accepts no arguments: tags,
/// security and so on are set where the route is added. The attribute is optional. Without it, the
/// document contains only what the types define.
///
/// ```
/// use futures_util::stream;
/// use headwater::{Path, Problem, StatusCode, Streaming};
///
/// /// Prices, as they change.
/// ///
/// /// One symbol, in cents. Ends when the market closes.
/// #[headwater::operation]
/// async fn prices(Path(symbol): Path<String>) -> Result<Streaming<u32>, Problem> {
///     if symbol.is_empty() {
///         return Err(Problem::new(StatusCode::NOT_FOUND));
///     }
///     Ok(Streaming::new(stream::iter([1250, 1249])))
/// }
/// ```
///
/// The function is unchanged, but returns `Described<R, _>` in place of `R`. Code that calls it
/// directly, such as a test, gets the result with `into_inner`.
///
/// A doc comment that begins with something other than a paragraph (a heading, a list, code) has no
/// summary, and all of it is the description. The same holds for one that begins with
/// `#[doc = include_str!("…")]`. Text before an included text is split as usual.
///
/// # Errors
///
/// The function isn't a handler: it isn't an `async fn`, has a `self`, an argument that isn't an
/// extractor or a return type that isn't a response, or reads the body twice or not last. The
/// compiler reports the error at the argument or type.
#[proc_macro_attribute]
pub fn operation(arguments: TokenStream, item: TokenStream) -> TokenStream {
    operation::expand(&arguments.into(), &item.into()).into()
}

/// Sends each variant of an enum under its own event name.
///
/// The names are those that serde writes. `#[serde(rename)]` and `#[serde(rename_all)]` apply,
/// including their forms for one direction. Variants that serde skips have no name in `NAMES`.
///
/// ```
/// use headwater::Events;
///
/// #[derive(serde::Serialize, schemars::JsonSchema, Events)]
/// #[serde(tag = "type", rename_all = "snake_case")]
/// enum Update {
///     Price { symbol: String, cents: u32 },
///     MarketClosed,
/// }
///
/// assert_eq!(Update::NAMES, ["price", "market_closed"]);
/// assert_eq!(Update::MarketClosed.event(), "market_closed");
/// ```
///
/// # Errors
///
/// The item isn't an enum; the enum has no variant to send; two variants have the same name; a name
/// is empty or has a line break, which no event can carry; or a name begins with `headwater:`,
/// which is reserved for Headwater's own events.
#[proc_macro_derive(Events, attributes(serde))]
pub fn events(item: TokenStream) -> TokenStream {
    events::expand(item.into()).into()
}
