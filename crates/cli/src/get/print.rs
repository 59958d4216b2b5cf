use std::{borrow::Cow, time::SystemTime};

use headwater_client::{Bytes, Event};
use headwater_wire::{Limits, json};

use super::{color, time};
use crate::args;

/// Formats items as lines.
pub(crate) struct Printer {
    timestamps: bool,
    events: bool,
    color: bool,
    terminal: bool,
}

impl Printer {
    pub(crate) fn new(args: &args::Output, terminal: bool) -> Self {
        let color = match args.color {
            args::Color::Always => true,
            args::Color::Never => false,
            args::Color::Auto => {
                let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                terminal && !set("NO_COLOR") && !dumb
            }
        };
        Self {
            timestamps: args.timestamps,
            events: args.events,
            color,
            terminal,
        }
    }

    /// Appends the item and a line feed.
    pub(crate) fn print(&self, event: &Event, out: &mut Vec<u8>) {
        if self.timestamps || self.events {
            self.aside(event, out);
        }
        let data = &*event.data;
        // A single line that is piped without colours needs no further checks.
        let is_one_line =
            !data.contains(['\n', '\r']) && !json::has_line_separators(data.as_bytes());
        let plain = !self.color && !self.terminal && is_one_line;
        if plain {
            out.extend_from_slice(data.as_bytes());
        } else if json::check(data.as_bytes(), Limits::DEFAULT_MAX_DEPTH).is_ok() {
            self.json(data, out);
        } else {
            self.text(data, out);
        }
        out.push(b'\n');
    }

    fn aside(&self, event: &Event, out: &mut Vec<u8>) {
        if self.color {
            out.extend_from_slice(color::DIM.as_bytes());
        }
        if self.timestamps {
            time::write(SystemTime::now(), out);
            out.push(b' ');
        }
        if self.events {
            self.text(&event.event, out);
            out.push(b' ');
            self.text(if event.id.is_empty() { "-" } else { &event.id }, out);
            out.push(b' ');
        }
        if self.color {
            out.extend_from_slice(color::RESET.as_bytes());
        }
    }

    /// Writes JSON on one line: its line breaks are between tokens, where a space is equivalent.
    /// Escapes characters that some readers treat as line breaks, and on a terminal control characters: those
    /// of Unicode's second block are allowed in JSON's strings.
    fn json(&self, data: &str, out: &mut Vec<u8>) {
        let start = out.len();
        let is_control = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
        let mut data = Cow::Borrowed(data);
        if self.terminal && data.contains(is_control) {
            let escaped = |c| match is_control(c) {
                true => format!("\\u{:04x}", u32::from(c)),
                false => c.to_string(),
            };
            data = data.chars().map(escaped).collect();
        }
        let data = json::escape_line_separators(Bytes::copy_from_slice(data.as_bytes()));
        if self.color {
            color::json(str::from_utf8(&data).unwrap_or_default(), out);
        } else {
            out.extend_from_slice(&data);
        }
        for byte in &mut out[start..] {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }

    /// Writes text unchanged, except that on a terminal control characters are escaped, so that
    /// they can't move the cursor.
    fn text(&self, data: &str, out: &mut Vec<u8>) {
        if !self.terminal {
            out.extend_from_slice(data.as_bytes());
            return;
        }
        for c in data.chars() {
            if c.is_control() && c != '\n' && c != '\t' {
                out.extend(c.escape_default().map(|c| c as u8));
            } else {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(printer: &Printer, data: &str) -> String {
        let mut out = Vec::new();
        let mut event = Event::new(data.into());
        event.event = "tick".into();
        printer.print(&event, &mut out);
        String::from_utf8(out).unwrap()
    }

    const PLAIN: Printer = Printer {
        timestamps: false,
        events: false,
        color: false,
        terminal: false,
    };

    #[test]
    fn json_is_printed_on_one_line_and_text_unchanged() {
        assert_eq!(print(&PLAIN, "{\"a\":\n1}"), "{\"a\": 1}\n");
        assert_eq!(
            print(&PLAIN, "[\"a\u{2028}\u{2029}\u{85}\"]"),
            "[\"a\\u2028\\u2029\\u0085\"]\n"
        );
        assert_eq!(print(&PLAIN, "a\u{2028}"), "a\u{2028}\n");
        assert_eq!(print(&PLAIN, "one\ntwo\u{1b}"), "one\ntwo\u{1b}\n");
    }

    #[test]
    fn text_cannot_control_a_terminal() {
        let terminal = Printer {
            terminal: true,
            ..PLAIN
        };
        assert_eq!(
            print(&terminal, "a\tb\u{1b}[2J\u{9b}"),
            "a\tb\\u{1b}[2J\\u{9b}\n"
        );
        assert_eq!(
            print(
                &Printer {
                    color: true,
                    ..terminal
                },
                "1"
            ),
            "\u{1b}[36m1\u{1b}[0m\n"
        );
    }

    #[test]
    fn json_cannot_control_a_terminal() {
        let data = "{\"\u{9b}31m\": \"a\u{7f}\u{e9}\"}";
        let terminal = Printer {
            terminal: true,
            ..PLAIN
        };
        assert_eq!(
            print(&terminal, data),
            "{\"\\u009b31m\": \"a\\u007f\u{e9}\"}\n"
        );
        assert_eq!(print(&PLAIN, data), format!("{data}\n"));
    }

    #[test]
    fn event_and_time_precede_the_item() {
        assert_eq!(
            print(
                &Printer {
                    events: true,
                    ..PLAIN
                },
                "1"
            ),
            "tick - 1\n"
        );
        let line = print(
            &Printer {
                timestamps: true,
                ..PLAIN
            },
            "1",
        );
        let (time, item) = line.split_once(' ').unwrap();
        assert_eq!(
            (time.len(), item),
            ("2024-02-29T12:34:56.789Z".len(), "1\n")
        );
    }
}
