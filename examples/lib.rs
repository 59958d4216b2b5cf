//! Nothing to use: the examples are `tour/`, and this library compiles the code in the README.
#![doc = include_str!("../README.md")]
