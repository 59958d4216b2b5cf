//! Text of others, where people read it.

use std::fmt::{self, Write as _};

/// Returns `true` for a character that changes how a terminal shows the text around it: a control character, or one
/// that sets the direction of what follows (Unicode Standard Annex #9, sections 2.1 to 2.5).
#[must_use]
pub fn alters_text(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Displays text with all characters escaped that [alter](alters_text) what a terminal shows, except line feeds and
/// tabs.
///
/// ```
/// use headwater_wire::terminal::Escaped;
///
/// assert_eq!(Escaped("a\u{1b}[2J\n").to_string(), "a\\u{1b}[2J\n");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match alters_text(c) && !matches!(c, '\n' | '\t') {
                true => write!(f, "{}", c.escape_default())?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Displays text as one word of a POSIX shell (Shell Command Language, section 2.2), for commands that people copy.
///
/// ```
/// use headwater_wire::terminal::ShellWord;
///
/// assert_eq!(ShellWord("orders/1").to_string(), "orders/1");
/// assert_eq!(ShellWord("it's $(x)").to_string(), r"'it'\''s $(x)'");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ShellWord<'a>(pub &'a str);

impl fmt::Display for ShellWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:@_".contains(c);
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            return f.write_str(self.0);
        }
        f.write_char('\'')?;
        for (index, part) in self.0.split('\'').enumerate() {
            if index > 0 {
                f.write_str(r"'\''")?;
            }
            f.write_str(part)?;
        }
        f.write_char('\'')
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_that_alters_text_is_left() {
        let hostile = "\u{1b}]0;x\u{7}\u{9b}2J\r\u{202e}\u{2066}";
        let shown = Escaped(hostile).to_string();
        assert_eq!(shown, r"\u{1b}]0;x\u{7}\u{9b}2J\r\u{202e}\u{2066}");
        let plain = "e\u{301} שלום\u{200f} 🦀\n\t";
        assert_eq!(Escaped(plain).to_string(), plain);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_shell_reads_one_word(text in "[a-z'\"$()`;# *~\\\\\n\u{e9}-]{0,12}") {
            let script = format!("printf %s {}", ShellWord(&text));
            let shell = Command::new("sh").args(["-c", &script]).output().unwrap();
            // Without an argument, printf prints nothing, too.
            prop_assert_eq!(String::from_utf8(shell.stdout).unwrap(), text);
        }
    }
}
