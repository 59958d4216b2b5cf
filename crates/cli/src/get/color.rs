const KEY: &str = "\x1b[34m";
const STRING: &str = "\x1b[32m";
const NUMBER: &str = "\x1b[36m";
const WORD: &str = "\x1b[35m";
pub(super) const DIM: &str = "\x1b[2m";
pub(super) const RESET: &str = "\x1b[0m";

/// Appends JSON with colours for a terminal. Adds nothing but the colours.
pub(super) fn json(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&first) = bytes.get(at) {
        let (color, end) = match first {
            b'"' => {
                let end = string_end(bytes, at);
                let next = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace());
                (if next == Some(&b':') { KEY } else { STRING }, end)
            }
            b'-' | b'0'..=b'9' => (
                NUMBER,
                run(bytes, at, |byte| b"+-.eE0123456789".contains(&byte)),
            ),
            b'a'..=b'z' => (WORD, run(bytes, at, |byte| byte.is_ascii_lowercase())),
            _ => ("", at + 1),
        };
        out.extend_from_slice(color.as_bytes());
        out.extend_from_slice(&bytes[at..end]);
        if !color.is_empty() {
            out.extend_from_slice(RESET.as_bytes());
        }
        at = end;
    }
}

/// Returns the end of the string that starts here, after its closing quote.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn run(bytes: &[u8], start: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let length = bytes[start..]
        .iter()
        .take_while(|byte| belongs(**byte))
        .count();
    start + length.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str) -> String {
        let mut out = Vec::new();
        json(text, &mut out);
        let mut text = String::from_utf8(out).unwrap();
        for (code, mark) in [
            (KEY, "K<"),
            (STRING, "S<"),
            (NUMBER, "N<"),
            (WORD, "W<"),
            (RESET, ">"),
        ] {
            text = text.replace(code, mark);
        }
        text
    }

    #[test]
    fn keys_strings_numbers_and_words_have_a_colour_each() {
        assert_eq!(
            marked(r#"{"a" :"b\"c","d":[-1.5e+3,true,null]}"#),
            r#"{K<"a"> :S<"b\"c">,K<"d">:[N<-1.5e+3>,W<true>,W<null>]}"#
        );
    }

    #[test]
    fn a_text_that_is_not_json_loses_nothing() {
        for text in [
            "\"never ends",
            "\"ends with a \\",
            "grüße & ünicode",
            "Infinity",
        ] {
            let plain = marked(text).replace(['<', '>', 'K', 'S', 'N', 'W'], "");
            assert_eq!(plain, text.replace(['K', 'S', 'N', 'W'], ""));
        }
    }
}
