/// A field that means something (WHATWG HTML §9.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Data,
    Event,
    Id,
    Retry,
}

/// The field of a line, and where in the line its value starts; `None` for comments and for fields
/// that the standard tells to ignore.
#[inline]
pub(super) fn parse(line: &[u8]) -> Option<(Field, usize)> {
    let (field, name) = match line.first()? {
        b'd' => (Field::Data, "data"),
        b'e' => (Field::Event, "event"),
        b'i' => (Field::Id, "id"),
        b'r' => (Field::Retry, "retry"),
        _ => return None,
    };
    if !line.starts_with(name.as_bytes()) {
        return None;
    }
    match line.get(name.len()..name.len() + 2) {
        Some(b": ") => Some((field, name.len() + 2)),
        Some([b':', _]) => Some((field, name.len() + 1)),
        Some(_) => None,
        None => match line.get(name.len()) {
            None => Some((field, name.len())),
            Some(b':') => Some((field, name.len() + 1)),
            Some(_) => None,
        },
    }
}
