//! The macros of [`headwater`](https://docs.rs/headwater), which re-exports them. Use them from there.
//!
//! - [`macro@operation`] gives a handler's name and doc comment to the API's document.
//! - [`macro@Events`] gives the variants of an enum as the names of events.
//!
//! Both expand to plain impls of traits of `headwater`: there is no registry, and nothing runs before
//! `main`. What a macro can't check it leaves to the compiler, at the place in the handler that it is about.
//!
//! | in | what it does |
//! |---|---|
//! | `operation` | checks the function, and wraps what it returns |
//! | `docs` | splits a doc comment into a summary and a description |
//! | `events` | reads the enum and its serde attributes |
//! | `rename` | serde's rules for the case of a variant's name |
//!
//! The messages of the errors are pinned by `crates/headwater/tests/ui`.

mod docs;
mod events;
mod operation;
mod rename;

use proc_macro::TokenStream;

/// Gives a handler's name and doc comment to the API's document.
///
/// The function's name becomes the operation's id, the first paragraph of the doc comment its summary, and
/// the rest, with its markdown, its description. The attribute takes no arguments: tags, security and so on
/// are said where the route is added. It is optional; without it the document has what the types say.
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
/// The function stays what it was, but returns `Described<R, _>` in place of `R`. Code that calls it
/// directly, a test for example, gets the result with `into_inner`.
///
/// A doc comment that begins with something else than a paragraph (a heading, a list, code) has no summary:
/// all of it is the description. So has one that begins with `#[doc = include_str!("…")]`; text before that
/// is split as usual.
///
/// # Errors
///
/// The compiler says, at the argument or type in question, when the function isn't a handler: when it is no
/// `async fn`, takes `self`, takes what is no extractor, reads the body twice or not last, or returns
/// what is no response.
#[proc_macro_attribute]
pub fn operation(arguments: TokenStream, item: TokenStream) -> TokenStream {
    operation::expand(&arguments.into(), &item.into()).into()
}

/// Sends each variant of an enum under an event name of its own.
///
/// The names are those that serde writes: `#[serde(rename)]` and `#[serde(rename_all)]` count, also in their
/// forms for one direction. Variants that serde skips have no name in `NAMES`.
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
/// The compiler refuses what is no enum; an enum without a variant to send; two variants with one name; a
/// name that is empty or has a line break, which no event can carry; and the names `end` and `error`, by
/// which Headwater itself tells how a stream ended.
#[proc_macro_derive(Events, attributes(serde))]
pub fn events(item: TokenStream) -> TokenStream {
    events::expand(item.into()).into()
}
