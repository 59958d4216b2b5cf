//! The command line that continues an interrupted run.

use std::{env, ffi::OsString};

use super::Gather;

/// Prints on stderr the command line that continues this run.
pub(super) fn tell(args: &Gather) {
    let Some(file) = args.output.resume.as_ref().or(args.output.output.as_ref()) else {
        return;
    };
    let file = file.display().to_string();
    // Only UTF-8 arguments can be printed so that they can be pasted.
    let Ok(line) = env::args_os().map(OsString::into_string).collect() else {
        return;
    };
    let line = match args.output.resume {
        Some(_) => line,
        None => resuming(line, &file),
    };
    let line: Vec<_> = line.iter().map(|word| quoted(word)).collect();
    let calls = match args.file.as_ref().filter(|path| path.as_os_str() != "-") {
        Some(_) => "",
        None => ", with the same calls on the standard input",
    };
    report!("to continue{calls}:\n  {}", line.join(" "));
}

/// Returns the command line with `--resume FILE` in place of `--output FILE`.
fn resuming(line: Vec<String>, file: &str) -> Vec<String> {
    let mut words = line.into_iter();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "--" {
            // The arguments after `--` aren't options.
            kept.extend(["--resume".to_owned(), file.to_owned(), word]);
            kept.extend(words);
            return kept;
        }
        if word == "--output" {
            words.next();
        } else if word.starts_with("--") {
            if !word.starts_with("--output=") {
                kept.push(word);
            }
        } else if let Some(flags) = word.strip_prefix('-') {
            // In a group of short options only the last can have a value.
            match flags.find(['o', 'H', 'c']) {
                Some(at) if flags[at..].starts_with('o') => {
                    if flags.len() == at + 1 {
                        words.next();
                    }
                    if at > 0 {
                        kept.push(format!("-{}", &flags[..at]));
                    }
                }
                Some(at) => {
                    let value = (flags.len() == at + 1).then(|| words.next()).flatten();
                    kept.push(word);
                    kept.extend(value);
                }
                None => kept.push(word),
            }
        } else {
            kept.push(word);
        }
    }
    kept.extend(["--resume".to_owned(), file.to_owned()]);
    kept
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resume_replaces_output() {
        for (given, wanted) in [
            ("h gather -o r calls", "h gather calls --resume r"),
            ("h gather calls -or", "h gather calls --resume r"),
            (
                "h gather calls --output=r -q",
                "h gather calls -q --resume r",
            ),
            (
                "h gather --output r -c 3 calls",
                "h gather -c 3 calls --resume r",
            ),
            (
                "h gather -qo r -H a:o calls",
                "h gather -q -H a:o calls --resume r",
            ),
            ("h gather -o=r -qHa:o - ", "h gather -qHa:o - --resume r"),
            ("h gather -o r -- -calls", "h gather --resume r -- -calls"),
        ] {
            let line = given.split_whitespace().map(str::to_owned).collect();
            assert_eq!(resuming(line, "r").join(" "), wanted);
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("a/b.ndjson"), "a/b.ndjson");
        assert_eq!(quoted("X-A: it's"), r"'X-A: it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
