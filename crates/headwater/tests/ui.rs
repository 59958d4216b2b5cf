//! Compiler messages for users. `ui/fail` has programs that must not compile, each with the
//! expected message. `ui/pass` has programs that must compile and work, as modules of this test.
//!
//! After a change of a message, `TRYBUILD=overwrite cargo test -p headwater --test ui` writes the
//! new ones. Review them: each must state the mistake, its location and the remedy.

#![cfg(feature = "openapi")]

use std::{env, process::Command};

#[path = "ui/pass/mod.rs"]
mod pass;

#[test]
fn each_mistake_is_reported_at_its_location_with_a_remedy() {
    if !compiler_is_stable() {
        eprintln!("skipped: the messages are those of the stable compiler");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}

/// Other channels have other messages.
fn compiler_is_stable() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("--version")
        .output()
        .expect("cargo runs, so there is a compiler");
    let version = String::from_utf8_lossy(&output.stdout);
    let release = version.split(' ').nth(1).unwrap_or_default();
    !release.contains('-')
}
