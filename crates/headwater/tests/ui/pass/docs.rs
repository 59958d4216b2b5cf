//! Conversion of doc comments.

use headwater::{Described, Docs, operation};

/// Returns the docs that the type of an operation's future carries.
fn docs<R, D: Docs>(_: impl Future<Output = Described<R, D>>) -> [&'static str; 3] {
    [D::NAME, D::SUMMARY, D::DESCRIPTION]
}

#[operation]
async fn undocumented() {}

/// Prices, as they
/// change.
///
/// One symbol, *live*:
///
/// ```text
/// a
///   b
/// ```
///
/// # Errors
///
/// 404 for a symbol that is not known.
#[operation]
async fn prices() {}

#[doc = "From a macro."]
#[operation]
#[doc = include_str!("included.md")]
async fn included() {}

#[operation]
/** A block.
 *
 * With stars. */
async fn r#match() {}

#[test]
fn a_doc_comment_is_carried_by_the_type() {
    assert_eq!(docs(undocumented()), ["undocumented", "", ""]);
    assert_eq!(
        docs(prices()),
        [
            "prices",
            "Prices, as they change.",
            "One symbol, *live*:\n\n```text\na\n  b\n```\n\n# Errors\n\n404 for a symbol that is not known.",
        ]
    );
    assert_eq!(docs(r#match()), ["match", "A block.", "With stars."]);
}

#[test]
fn an_included_file_is_the_description() {
    assert_eq!(
        docs(included()),
        [
            "included",
            "From a macro.",
            "Text from a file.\n\n- with markdown\n"
        ]
    );
}
