//! A direct and slow implementation of WHATWG HTML §9.2.6, "Interpreting an event stream". The
//! decoder is compared with it here and in `crates/fuzz`.

/// The interpretation of a whole stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stream {
    /// Data, event type and last event id of each event.
    pub(crate) events: Vec<(String, String, String)>,
    /// The last event id string.
    pub(crate) last_event_id: String,
    /// The reconnection time in milliseconds.
    pub(crate) retry: Option<u64>,
}

/// Interprets a whole stream.
pub(crate) fn interpret(bytes: &[u8]) -> Stream {
    // "Streams must be decoded using the UTF-8 decode algorithm", which "strips one leading UTF-8
    // Byte Order Mark (BOM), if any".
    let text = String::from_utf8_lossy(bytes);
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(&text);

    let mut stream = Stream::default();
    let mut data = String::new();
    let mut event_type = String::new();
    let mut last_event_id = String::new();
    // "Once the end of the file is reached, any pending data must be discarded": a line without its
    // end is ignored.
    while let Some(end) = rest.find(['\n', '\r']) {
        let line = &rest[..end];
        rest = &rest[end..];
        rest = rest.strip_prefix("\r\n").unwrap_or_else(|| &rest[1..]);

        if line.is_empty() {
            stream.last_event_id.clone_from(&last_event_id);
            if data.is_empty() {
                event_type.clear();
                continue;
            }
            if data.ends_with('\n') {
                data.pop();
            }
            let name = if event_type.is_empty() {
                "message".to_owned()
            } else {
                event_type
            };
            stream.events.push((data, name, last_event_id.clone()));
            data = String::new();
            event_type = String::new();
            continue;
        }
        if line.starts_with(':') {
            continue;
        }
        let (field, value) = match line.split_once(':') {
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (line, ""),
        };
        match field {
            "event" => event_type = value.to_owned(),
            "data" => {
                data += value;
                data.push('\n');
            }
            "id" if !value.contains('\0') => last_event_id = value.to_owned(),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                stream.retry = Some(value.parse().unwrap_or(u64::MAX));
            }
            _ => {}
        }
    }
    stream
}
