use std::fmt;

/// A streaming format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Newline-delimited JSON, one value per line.
    Ndjson,
    /// Server-Sent Events, as defined by the WHATWG HTML standard.
    Sse,
    /// JSON text sequences, RFC 7464.
    JsonSeq,
    /// One JSON array whose elements are the items.
    JsonArray,
    /// Plain text, one item per line.
    Text,
}

impl Format {
    /// Every format, in the order of a server's preference for clients without one.
    pub const ALL: [Self; 5] = [
        Self::Ndjson,
        Self::Sse,
        Self::JsonSeq,
        Self::JsonArray,
        Self::Text,
    ];

    /// Returns the media types of the format, without parameters. The first is the one to send.
    #[must_use]
    pub const fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Ndjson => &[
                "application/x-ndjson",
                "application/jsonl",
                "application/ndjson",
            ],
            Self::Sse => &["text/event-stream"],
            Self::JsonSeq => &["application/json-seq"],
            Self::JsonArray => &["application/json"],
            Self::Text => &["text/plain"],
        }
    }

    /// Returns the value of `Content-Type` for the format.
    ///
    /// `text/event-stream` has no parameter: the standard fixes its encoding as UTF-8.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            other => other.media_types()[0],
        }
    }

    /// Returns the short name, as used in `?format=`: `ndjson`, `sse`, `json-seq`, `json` or
    /// `text`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Sse => "sse",
            Self::JsonSeq => "json-seq",
            Self::JsonArray => "json",
            Self::Text => "text",
        }
    }

    /// Returns the format with this short [`name`](Self::name) or media type, ignoring case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.name().eq_ignore_ascii_case(name))
            .or_else(|| Self::from_content_type(name))
    }

    /// Returns the format of a `Content-Type`. The parameters are ignored.
    ///
    /// ```
    /// use headwater_wire::Format;
    ///
    /// let format = Format::from_content_type("Text/Event-Stream; charset=utf-8");
    /// assert_eq!(format, Some(Format::Sse));
    /// assert_eq!(Format::from_content_type("text/html"), None);
    /// ```
    #[must_use]
    pub fn from_content_type(value: &str) -> Option<Self> {
        let essence = value.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|format| {
            format
                .media_types()
                .iter()
                .any(|media| media.eq_ignore_ascii_case(essence))
        })
    }

    /// Returns `true` if every item is a JSON value, which holds for all formats but
    /// [`Format::Text`].
    #[must_use]
    pub const fn is_json(self) -> bool {
        !matches!(self, Self::Text)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_media_type_resolves_to_its_format() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name()), Some(format));
            assert_eq!(
                Format::from_content_type(format.content_type()),
                Some(format)
            );
            for media in format.media_types() {
                assert_eq!(Format::from_name(&media.to_uppercase()), Some(format));
            }
        }
        assert_eq!(Format::from_name("xml"), None);
        assert_eq!(Format::from_content_type(""), None);
    }
}
