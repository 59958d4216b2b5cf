//! Requests' and replies' bodies: media types and the shape of their content.

use super::SchemaOf;
use crate::Problem;

/// A reply in the document.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) description: String,
    pub(crate) content: Content,
    pub(crate) headers: Vec<Header>,
}

/// A header of a reply in the document. Its value is text.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) name: &'static str,
    pub(crate) description: String,
}

/// Media types of a body. Empty if there is no body.
#[derive(Debug, Clone)]
pub(crate) struct Content(pub(crate) Vec<(&'static str, Shape)>);

/// Content of a body of one media type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// One value that is deserialised.
    Input(SchemaOf),
    /// One value that is serialised.
    Output(SchemaOf),
    /// The items of a stream, in the format of the media type.
    Items(SchemaOf),
    /// Text.
    Text,
    /// Anything.
    Any,
}

impl Reply {
    pub(crate) fn new(description: &str, content: Content) -> Self {
        Self {
            description: description.to_owned(),
            content,
            headers: Vec::new(),
        }
    }

    pub(crate) fn problem(description: &str) -> Self {
        let shape = Shape::Output(SchemaOf::new::<Problem>());
        Self::new(description, Content::of(Problem::CONTENT_TYPE, shape))
    }

    /// Adds the media types and headers of another reply with the same status.
    pub(crate) fn merge(&mut self, other: Self) {
        for (media_type, shape) in other.content.0 {
            if !self.content.0.iter().any(|(known, _)| *known == media_type) {
                self.content.0.push((media_type, shape));
            }
        }
        for header in other.headers {
            self.add_header(header);
        }
    }

    pub(crate) fn add_header(&mut self, header: Header) {
        if !self.headers.iter().any(|known| known.name == header.name) {
            self.headers.push(header);
        }
    }
}

impl Content {
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn of(media_type: &'static str, shape: Shape) -> Self {
        Self(vec![(media_type, shape)])
    }
}
