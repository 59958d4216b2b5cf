//! The split of a doc comment into the summary and the description of an operation.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The documentation of an operation.
#[derive(Debug, Default)]
pub(crate) struct Docs {
    /// The first paragraph, on one line. Empty if the comment doesn't begin with a paragraph.
    pub(crate) summary: String,
    /// The rest, as markdown.
    description: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    /// One line, without its line break.
    Line(String),
    /// An expression that only the compiler can evaluate, such as `include_str!("…")`.
    Expression(TokenStream),
}

impl Docs {
    /// Reads the `#[doc = …]` attributes, into which the compiler converts `///` and `/** */`
    /// before a macro sees them.
    pub(crate) fn read(attributes: &[Attribute]) -> Self {
        let mut pieces = Vec::new();
        for attribute in attributes {
            let Meta::NameValue(meta) = &attribute.meta else {
                continue;
            };
            if !meta.path.is_ident("doc") {
                continue;
            }
            match &meta.value {
                Expr::Lit(ExprLit {
                    lit: Lit::Str(text),
                    ..
                }) => pieces.extend(lines(&text.value()).map(Piece::Line)),
                expression => pieces.push(Piece::Expression(quote!(#expression))),
            }
        }
        unindent(&mut pieces);
        Self::split(pieces)
    }

    fn split(pieces: Vec<Piece>) -> Self {
        let mut pieces = pieces.into_iter().skip_while(is_blank).peekable();
        let mut summary = String::new();
        while let Some(Piece::Line(line)) = pieces.next_if(|piece| match piece {
            Piece::Line(line) if summary.is_empty() => begins_paragraph(line),
            Piece::Line(line) => !line.trim().is_empty() && !interrupts_paragraph(line),
            Piece::Expression(_) => false,
        }) {
            if !summary.is_empty() {
                summary.push(' ');
            }
            summary.push_str(line.trim());
        }
        let mut description: Vec<_> = pieces.skip_while(is_blank).collect();
        while description.pop_if(|piece| is_blank(piece)).is_some() {}
        if let Some(Piece::Line(last)) = description.last_mut() {
            last.truncate(last.trim_end().len());
        }
        Self {
            summary,
            description,
        }
    }

    /// Returns the description as a constant expression of type `&'static str`.
    pub(crate) fn description(&self) -> TokenStream {
        let mut parts = Vec::new();
        let mut text = String::new();
        for (index, piece) in self.description.iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            match piece {
                Piece::Line(line) => text.push_str(line),
                Piece::Expression(expression) => {
                    if !text.is_empty() {
                        let text = std::mem::take(&mut text);
                        parts.push(quote!(#text));
                    }
                    parts.push(expression.clone());
                }
            }
        }
        if parts.is_empty() {
            return quote!(#text);
        }
        if !text.is_empty() {
            parts.push(quote!(#text));
        }
        quote!(::core::concat!(#(#parts),*))
    }
}

/// Returns the lines of one `#[doc = "…"]`. Each line of a block comment may begin with a star,
/// which isn't part of the text.
fn lines(text: &str) -> impl Iterator<Item = String> {
    let starred = text.contains('\n')
        && text.lines().skip(1).all(|line| {
            let line = line.trim_start();
            line.is_empty() || line.starts_with('*')
        });
    let text = if text.is_empty() { "\n" } else { text };
    text.lines()
        .enumerate()
        .map(move |(index, line)| match line.trim_start() {
            starless if !starred || index == 0 && !starless.starts_with('*') => line.to_owned(),
            starred => starred.strip_prefix('*').unwrap_or(starred).to_owned(),
        })
        .collect::<Vec<_>>()
        .into_iter()
}

/// Removes the leading spaces that all lines have in common.
fn unindent(pieces: &mut [Piece]) {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let common = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Line(line) if !line.trim().is_empty() => Some(indent(line)),
            _ => None,
        })
        .min()
        .unwrap_or(0);
    for piece in pieces {
        if let Piece::Line(line) = piece {
            // An empty line may have fewer.
            let shared = common.min(indent(line));
            line.drain(..shared);
        }
    }
}

fn is_blank(piece: &Piece) -> bool {
    matches!(piece, Piece::Line(line) if line.trim().is_empty())
}

/// Returns `true` if the first line of a text begins a paragraph rather than another block of
/// markdown.
fn begins_paragraph(line: &str) -> bool {
    let is_code = line.starts_with("    ") || line.starts_with('\t');
    !is_code && !interrupts_paragraph(line) && !is_numbered(line, |_| true)
}

/// Returns `true` if a line ends the paragraph above it without an empty line between them
/// (`CommonMark` 0.31 §4, §5).
fn interrupts_paragraph(line: &str) -> bool {
    let line = line.trim();
    let is_heading = || {
        let text = line.trim_start_matches('#');
        (1..=6).contains(&(line.len() - text.len())) && (text.is_empty() || text.starts_with(' '))
    };
    let is_break = || {
        let marks: String = line.chars().filter(|mark| *mark != ' ').collect();
        marks.len() >= 3
            && ["-", "*", "_"]
                .iter()
                .any(|mark| marks.trim_start_matches(mark).is_empty())
    };
    ["```", "~~~", ">", "|", "- ", "* ", "+ "]
        .iter()
        .any(|block| line.starts_with(block))
        || is_heading()
        || is_break()
        // Other numbers begin a list only after an empty line: a sentence may wrap before "1984. ".
        || is_numbered(line, |number| number == "1")
}

fn is_numbered(line: &str, is_number: impl Fn(&str) -> bool) -> bool {
    let line = line.trim();
    let after = line.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let number = &line[..line.len() - after.len()];
    (1..=9).contains(&number.len())
        && (after.starts_with(". ") || after.starts_with(") "))
        && is_number(number)
}

#[cfg(test)]
mod tests {
    use quote::ToTokens;
    use syn::{ItemFn, LitStr};

    use super::*;

    fn read(source: &str) -> Docs {
        let function: ItemFn =
            syn::parse_str(&format!("{source}\nfn f() {{}}")).expect("the source is Rust");
        Docs::read(&function.attrs)
    }

    fn check(source: &str, summary: &str, description: &str) {
        let docs = read(source);
        assert_eq!(docs.summary, summary, "{source}");
        let literal: LitStr = syn::parse2(docs.description()).expect("text alone is one literal");
        assert_eq!(literal.value(), description, "{source}");
    }

    #[test]
    fn the_first_paragraph_is_the_summary_and_the_rest_the_description() {
        check("", "", "");
        check("#[inline]", "", "");
        check("#[doc(hidden)]", "", "");
        check("/// One.", "One.", "");
        check("///One.", "One.", "");
        check("///\n///\n/// One.\n///", "One.", "");
        check(
            "/// One,\n///   and on.  \n/// The end.",
            "One, and on. The end.",
            "",
        );
        check(
            "/// One.\n///\n///\n/// Two.\n///\n/// Three.",
            "One.",
            "Two.\n\nThree.",
        );
        check(
            "/// Été\n/// 雨.\n///\n/// \"Quoted\" \\ text.",
            "Été 雨.",
            "\"Quoted\" \\ text.",
        );
    }

    #[test]
    fn markdown_is_kept_as_it_is() {
        check(
            "/// One.\n///\n/// ```\n/// if x {\n///     # y\n/// }\n/// ```\n///\n/// - a\n///   - b",
            "One.",
            "```\nif x {\n    # y\n}\n```\n\n- a\n  - b",
        );
        check("/// A `code` and *more*.", "A `code` and *more*.", "");
        check(
            "/// One.\n///\n/// Hard  \n/// break.",
            "One.",
            "Hard  \nbreak.",
        );
    }

    #[test]
    fn another_block_ends_the_summary_without_an_empty_line() {
        for block in [
            "# Errors",
            "###### Deep",
            "```json",
            "~~~",
            "- item",
            "* item",
            "+ item",
            "1. item",
            "1) item",
            "> quote",
            "| a | b |",
            "---",
            "* * *",
        ] {
            check(&format!("/// One.\n/// {block}"), "One.", block);
        }
        for text in [
            "#hash",
            "-dash",
            "1984. A year",
            "####### seven",
            "a | b",
            "**bold**",
            "--",
        ] {
            check(&format!("/// One\n/// {text}"), &format!("One {text}"), "");
        }
    }

    #[test]
    fn a_comment_without_a_first_paragraph_has_no_summary() {
        for text in ["# Errors\n\nNone.", "- a\n- b", "7. a", "```\nx\n```"] {
            let source: String = text.lines().map(|line| format!("/// {line}\n")).collect();
            check(&source, "", text);
        }
    }

    #[test]
    fn every_notation_of_a_doc_comment_is_equivalent() {
        for source in [
            "/// One.\n///\n/// Two.\n///   Three.",
            "#[doc = \"One.\"] #[doc = \"\"] #[doc = \"Two.\"] #[doc = \"  Three.\"]",
            "#[doc = \"One.\\n\\nTwo.\\n  Three.\"]",
            "#[doc = r\"One.\n\nTwo.\n  Three.\"]",
            "/** One.\n *\n * Two.\n *   Three.\n */",
            "/** One.\n *\n * Two.\n *   Three. */",
            "/**\n * One.\n *\n * Two.\n *   Three.\n */",
            "/**\n    One.\n\n    Two.\n      Three.\n*/",
        ] {
            check(source, "One.", "Two.\n  Three.");
        }
    }

    #[test]
    fn an_included_text_is_passed_to_the_compiler() {
        let check = |source: &str, summary: &str, description: TokenStream| {
            let docs = read(source);
            assert_eq!(docs.summary, summary, "{source}");
            assert_eq!(
                docs.description().to_string(),
                description.into_token_stream().to_string(),
                "{source}"
            );
        };
        check(
            "#[doc = include_str!(\"a.md\")]",
            "",
            quote!(::core::concat!(include_str!("a.md"))),
        );
        check(
            "/// One.\n#[doc = include_str!(\"a.md\")]",
            "One.",
            quote!(::core::concat!(include_str!("a.md"))),
        );
        check(
            "/// One.\n///\n/// Two.\n///\n#[doc = include_str!(\"a.md\")]\n/// Three.",
            "One.",
            quote!(::core::concat!(
                "Two.\n\n",
                include_str!("a.md"),
                "\nThree."
            )),
        );
    }
}
