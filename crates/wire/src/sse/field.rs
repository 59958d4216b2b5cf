/// A field that the standard defines (WHATWG HTML §9.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Data,
    Event,
    Id,
    Retry,
}

/// Returns the field of a line and the start of its value, or `None` for comments and for fields
/// that the standard ignores.
#[inline]
pub(super) fn parse(line: &[u8]) -> Option<(Field, usize)> {
    let (field, after_name) = match line.first()? {
        b'd' => (Field::Data, line.strip_prefix(b"data")?),
        b'e' => (Field::Event, line.strip_prefix(b"event")?),
        b'i' => (Field::Id, line.strip_prefix(b"id")?),
        b'r' => (Field::Retry, line.strip_prefix(b"retry")?),
        _ => return None,
    };
    let value = match after_name {
        [b':', b' ', value @ ..] | [b':', value @ ..] => value,
        [] => after_name,
        _ => return None,
    };
    Some((field, line.len() - value.len()))
}
