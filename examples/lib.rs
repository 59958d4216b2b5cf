//! Nothing to use: the examples are `tour/`, and this library compiles the code in the README.
#![allow(
    clippy::doc_markdown,
    reason = "the README is prose, for people who read it on a page"
)]
#![doc = include_str!("../README.md")]
