//! An empty library: the examples are the folders beside it. It compiles the code in the README and
//! the guides.
#![allow(
    clippy::doc_markdown,
    reason = "these texts are prose, for people who read them on a page"
)]
#![doc = include_str!("../README.md")]

#[doc = include_str!("../docs/framework.md")]
#[doc(hidden)]
pub mod framework {}

#[doc = include_str!("../docs/from-fastapi.md")]
#[doc(hidden)]
pub mod from_fastapi {}

#[doc = include_str!("../docs/hub.md")]
#[doc(hidden)]
pub mod hub {}

#[doc = include_str!("../docs/clients.md")]
#[doc(hidden)]
pub mod clients {}

#[doc = include_str!("../docs/authorization.md")]
#[doc(hidden)]
pub mod authorization {}
