//! The protocols by which live readers follow a stream.

use super::server::Kind;

/// A server and the protocol of its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) kind: Kind,
    /// If `true`, the SSE mode of the Durable Streams protocol. Otherwise, plain SSE as for an
    /// `EventSource`.
    protocol: bool,
}

const fn way(kind: Kind, protocol: bool) -> Way {
    Way { kind, protocol }
}

/// The first is compared with all others.
pub(super) const WAYS: [Way; 5] = [
    way(Kind::Headwater, true),
    way(Kind::Headwater, false),
    way(Kind::DurableStreams, true),
    way(Kind::Reference, true),
    way(Kind::Nchan, false),
];

impl Way {
    /// Returns the ways that can be measured on this machine.
    pub(super) fn all() -> Vec<Self> {
        WAYS.into_iter().filter(|way| way.kind.is_there()).collect()
    }

    pub(super) fn name(self) -> String {
        let events = match self {
            Self {
                kind: Kind::Headwater,
                protocol: false,
            } => ", `EventSource`",
            _ => "",
        };
        format!("{}{events}", self.kind.name())
    }

    /// Returns the target of a reader at the tail of a stream.
    pub(super) fn target(self, stream: &str) -> String {
        match self {
            Self {
                kind: Kind::Nchan, ..
            } => format!("/follow/{stream}"),
            Self {
                kind,
                protocol: true,
            } => {
                format!("{}?offset=now&live=sse", kind.target(stream))
            }
            Self { kind, .. } => format!("{}?offset=now", kind.target(stream)),
        }
    }
}
