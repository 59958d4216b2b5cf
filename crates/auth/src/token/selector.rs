//! The syntax of Mercure's topic selectors, as far as it is supported.

use headwater_wire::glob::Part;

use super::topics::decode;
use crate::StreamPattern;
use crate::limits::PATTERN_SEGMENTS;

/// A piece of a selector. Each has its original text.
#[derive(Clone, Copy)]
pub(super) enum Token<'a> {
    Literal(&'a str),
    /// One or more characters of a segment.
    Variable(&'a str),
    /// One or more segments.
    Segments(&'a str),
    /// A slash and segments, any number of times.
    Rest(&'a str),
}

/// Parses a URI template (RFC 6570): `{name}`, `{+name}` and `{/name*}`.
pub(super) fn template(mut text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    while let Some(start) = text.find(['{', '}']) {
        let (literal, rest) = text.split_at(start);
        let end = rest.find('}').filter(|_| rest.starts_with('{'));
        let end = end.ok_or("a topic selector has a brace without its counterpart")?;
        let (expression, rest) = rest.split_at(end + 1);
        let inner = &expression[1..end];
        let is_name = |name: &str| {
            // RFC 6570 section 2.3, without percent-encoded characters.
            let is_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
            !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_char)
        };
        let exploded = |inner: &str| {
            let name = inner.strip_prefix('/')?.strip_suffix('*')?;
            is_name(name).then_some(())
        };
        tokens.push(Token::Literal(literal));
        tokens.push(match inner {
            name if is_name(name) => Token::Variable(expression),
            inner if inner.strip_prefix('+').is_some_and(is_name) => Token::Segments(expression),
            inner if exploded(inner).is_some() => Token::Rest(expression),
            _ => {
                return Err(format!(
                    "of URI templates, {{name}}, {{+name}} and {{/name*}} are supported, and not \
                     {expression}"
                ));
            }
        });
        text = rest;
    }
    tokens.push(Token::Literal(text));
    Ok(tokens)
}

/// Parses the path of a URL pattern: `:name`, and `*` as a whole segment.
pub(super) fn url_pattern(mut text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    // The syntax characters of the URL Pattern standard, and the starts of a query and a fragment.
    while let Some(start) = text.find([':', '*', '(', ')', '{', '}', '?', '+', '\\', '#']) {
        let (literal, rest) = text.split_at(start);
        tokens.push(Token::Literal(literal));
        let name = rest.strip_prefix(':').unwrap_or_default();
        let is_char = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '$');
        let end = name.find(|char| !is_char(char)).unwrap_or(name.len());
        let has_name = end > 0 && !name.starts_with(|char: char| char.is_ascii_digit());
        let (token, rest) = match rest.starts_with('*') {
            true => (Token::Segments("*"), &rest[1..]),
            false if has_name => (Token::Variable(&rest[..=end]), &rest[end + 1..]),
            false => {
                let reason = "of URL patterns, :name and a segment * are supported, and no groups, \
                              modifiers, queries or fragments";
                return Err(reason.to_owned());
            }
        };
        if matches!(token, Token::Variable(_)) && rest.starts_with(['*', '+', '?', '(']) {
            return Err("of URL patterns, a :name without a modifier is supported".to_owned());
        }
        tokens.push(token);
        text = rest;
    }
    tokens.push(Token::Literal(text));
    Ok(tokens)
}

/// Makes the pattern of a selector. Returns `None` if no stream's name matches.
pub(super) fn pattern(
    tokens: &[Token<'_>],
    is_encoded: bool,
) -> Result<Option<StreamPattern>, String> {
    let mut builder = Builder::default();
    for token in tokens {
        match *token {
            Token::Literal(text) => {
                for (index, piece) in text.split('/').enumerate() {
                    if index > 0 {
                        builder.end_segment(is_encoded)?;
                        builder.text.push('/');
                    }
                    builder.literal(piece);
                }
            }
            Token::Variable(text) => builder.wildcard(text, Wildcard::Variable)?,
            Token::Segments(text) => builder.wildcard(text, Wildcard::Segments)?,
            Token::Rest(text) => {
                // It brings its own slash.
                builder.end_segment(is_encoded)?;
                builder.wildcard(text, Wildcard::Rest)?;
            }
        }
    }
    builder.end_segment(is_encoded)?;
    if builder.parts.len() > PATTERN_SEGMENTS {
        return Err(format!(
            "a topic selector has more than {PATTERN_SEGMENTS} segments"
        ));
    }
    let wildcard = builder.first_wildcard.unwrap_or(builder.text.len());
    let pattern = StreamPattern::of(&builder.text, builder.parts.into(), wildcard);
    Ok((!builder.is_unmatched).then_some(pattern))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wildcard {
    Variable,
    Segments,
    Rest,
}

/// A pattern under construction, and its current segment.
#[derive(Default)]
struct Builder<'a> {
    /// The selector, decoded.
    text: String,
    parts: Vec<Part>,
    first_wildcard: Option<usize>,
    /// `true` if a part is a segment that no name has.
    is_unmatched: bool,
    before: String,
    wildcard: Option<(&'a str, Wildcard)>,
    after: String,
}

impl<'a> Builder<'a> {
    fn literal(&mut self, piece: &str) {
        match self.wildcard {
            None => self.before.push_str(piece),
            Some(_) => self.after.push_str(piece),
        }
    }

    fn wildcard(&mut self, text: &'a str, wildcard: Wildcard) -> Result<(), String> {
        match self.wildcard.replace((text, wildcard)) {
            None => Ok(()),
            Some(_) => Err("a segment of a topic selector has two variables".to_owned()),
        }
    }

    fn end_segment(&mut self, is_encoded: bool) -> Result<(), String> {
        let [before, after] = [&mut self.before, &mut self.after].map(std::mem::take);
        let is_alone = before.is_empty() && after.is_empty();
        let mut decoded = |text: String| match text.is_empty() || !is_encoded {
            true => text,
            false => match decode(&text) {
                Some(decoded) => decoded.into_owned(),
                None => {
                    self.is_unmatched = true;
                    text
                }
            },
        };
        let (before, after) = (decoded(before), decoded(after));
        self.text.push_str(&before);
        let Some((text, wildcard)) = self.wildcard.take() else {
            self.is_unmatched |= before.is_empty();
            self.parts.push(Part::Exactly(before.into_bytes().into()));
            return Ok(());
        };
        self.first_wildcard.get_or_insert(self.text.len());
        self.text.push_str(text);
        self.text.push_str(&after);
        match wildcard {
            Wildcard::Variable if is_alone => self.parts.push(Part::One),
            Wildcard::Variable => self.parts.push(Part::Around {
                before: before.into_bytes().into(),
                after: after.into_bytes().into(),
            }),
            Wildcard::Segments if is_alone => self.parts.extend([Part::One, Part::Any]),
            Wildcard::Rest if is_alone => self.parts.push(Part::Any),
            Wildcard::Segments | Wildcard::Rest => {
                return Err(format!("in a topic selector, {text} is a whole segment"));
            }
        }
        Ok(())
    }
}
