//! Ids of relays.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use headwater_log::StreamName;

/// Prefix of the names of relays' streams that aren't public.
const PREFIX: &str = "__ds/relay/";

/// Length of the first part of an id, in characters.
const SECRET: usize = 22;

/// A relay's id: 22 characters of URL-safe base64. For the relay of a public stream, a dot and the
/// stream's name in URL-safe base64 follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RelayId {
    /// The part that can't be guessed.
    secret: String,
    /// The public stream.
    stream: Option<StreamName>,
}

impl RelayId {
    pub(super) fn new(secret: [u8; 16], stream: Option<StreamName>) -> Self {
        Self {
            secret: BASE64.encode(secret),
            stream,
        }
    }

    /// Returns the id of the relay that fills a stream, from the first part.
    pub(super) fn of(secret: &str, name: &StreamName) -> Self {
        let is_private = name.as_str().starts_with(PREFIX);
        Self {
            secret: secret.to_owned(),
            stream: (!is_private).then(|| name.clone()),
        }
    }

    /// Parses an id. Returns `None` if it is invalid.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (secret, stream) = match text.split_once('.') {
            Some((secret, stream)) => (secret, Some(stream)),
            None => (text, None),
        };
        let is_secret = secret.len() == SECRET && BASE64.decode(secret).is_ok();
        let stream = match stream.filter(|_| is_secret) {
            Some(stream) => {
                let name = String::from_utf8(BASE64.decode(stream).ok()?).ok()?;
                Some(crate::protocol::path::name_of(&name).ok()?)
            }
            None => None,
        };
        is_secret.then(|| Self {
            secret: secret.to_owned(),
            stream,
        })
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// Returns the public stream, if the relay fills one.
    pub(super) fn public(&self) -> Option<&StreamName> {
        self.stream.as_ref()
    }

    /// Returns the name of the stream in the log.
    pub(super) fn name(&self) -> Result<StreamName, headwater_log::Error> {
        match &self.stream {
            Some(name) => Ok(name.clone()),
            None => StreamName::new(&format!("{PREFIX}{}", self.secret)),
        }
    }
}

impl std::fmt::Display for RelayId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.secret)?;
        match &self.stream {
            Some(stream) => write!(f, ".{}", BASE64.encode(stream.as_str())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_ids_are_parsed() {
        let private = RelayId::new([7; 16], None);
        let public = RelayId::new([7; 16], Some(StreamName::new("a/b c").unwrap()));
        for id in [private, public] {
            let text = id.to_string();
            assert_eq!(RelayId::parse(&text), Some(id.clone()));
            assert_eq!(RelayId::of(id.secret(), &id.name().unwrap()), id);
            for end in 0..SECRET {
                assert_eq!(RelayId::parse(&text[..end]), None);
            }
        }
        let secret = RelayId::new([7; 16], None).to_string();
        let own = BASE64.encode("__ds/journal/0");
        for bad in [
            format!("{secret}."),
            format!("{secret}.{own}"),
            format!("{secret}x"),
            "x".repeat(22) + "!",
        ] {
            assert_eq!(RelayId::parse(&bad), None, "{bad}");
        }
    }
}
