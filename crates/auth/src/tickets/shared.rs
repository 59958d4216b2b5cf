//! Tickets that several servers accept.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::{aead, hkdf};

use super::TICKET_PREFIX;
use crate::NoRandom;
use crate::keys::{KEY_PREFIX, prove};
use crate::limits::TOKEN_BYTES;
use crate::random::{BASE62, SECRET_CHARS, text};

/// Separates the secret of a ticket from its place.
const SEPARATOR: char = '.';

/// The salt of all keys. Records of another kind need another one.
const SALT: &[u8] = b"headwater ticket 1";

/// A ticket that any server accepts if it finds the record of it.
///
/// The record has the token with which the ticket was requested, or the proof of a key: a MAC of the ticket under
/// the hash of the key, which the key file has. So each server [verifies](crate::Authenticator::verify_opened) it by
/// its own keys when the ticket is redeemed. It is encrypted (AES-256-GCM) under a key that is derived
/// from the ticket (HKDF-SHA-256), so a record tells nothing to those who don't have the ticket. With the ticket,
/// it gives a token, which expires, but no key. The server stores the record, and makes sure that only one
/// redemption of an [`id`](Self::id) succeeds.
///
/// ```
/// use std::time::SystemTime;
///
/// use headwater_auth::{Grants, Identity, SharedTicket, Tickets};
///
/// let identity = Identity::anonymous(Grants::none());
/// let ticket = Tickets::new().issue_shared(identity, None, SystemTime::now())?;
/// let record = ticket.seal("a.jwt.x", "records").expect("it is short");
/// let text = ticket.at("7");
///
/// let (ticket, place) = SharedTicket::parse(&text).expect("it is one");
/// assert_eq!(place, "7");
/// assert_eq!(ticket.open(&record, "records").as_deref(), Some("a.jwt.x"));
/// # Ok::<(), headwater_auth::TicketError>(())
/// ```
#[derive(PartialEq, Eq)]
pub struct SharedTicket(String);

impl SharedTicket {
    /// Makes a ticket: `hwt_` and 43 characters of `[A-Za-z0-9]`.
    pub(super) fn random() -> Result<Self, NoRandom> {
        Ok(Self(format!(
            "{TICKET_PREFIX}{}",
            text(BASE62, SECRET_CHARS)?
        )))
    }

    /// Returns the ticket and the place of its record. `None` if the text isn't one of [`at`](Self::at).
    #[must_use]
    pub fn parse(text: &str) -> Option<(Self, &str)> {
        let (ticket, place) = text.split_once(SEPARATOR)?;
        let secret = ticket.strip_prefix(TICKET_PREFIX)?;
        let is_secret =
            secret.len() == SECRET_CHARS && secret.bytes().all(|it| BASE62.contains(&it));
        is_secret.then(|| (Self(ticket.to_owned()), place))
    }

    /// Returns the text that a client presents. `place`: where the record is.
    #[must_use]
    pub fn at(&self, place: &str) -> String {
        format!("{}{SEPARATOR}{place}", self.0)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the ticket's redemption. Neither the ticket nor its record can be derived from it.
    #[must_use]
    pub fn id(&self) -> String {
        BASE64.encode(self.derive(b"redemption"))
    }

    /// Returns the record for a key or a token. It can be opened only with the same `context`, such as the name
    /// of what it is stored in. Call it once for a ticket: the key of the encryption is for one text.
    ///
    /// `None` if the token is larger than [`TOKEN_BYTES`], or the key has not the form of one.
    #[must_use]
    pub fn seal(&self, credential: &str, context: &str) -> Option<Vec<u8>> {
        let mut record = match credential.starts_with(KEY_PREFIX) {
            true => prove(credential, &self.id())?.into_bytes(),
            false if credential.len() <= TOKEN_BYTES => credential.as_bytes().to_vec(),
            false => return None,
        };
        let (key, nonce) = self.key();
        let sealed = key.seal_in_place_append_tag(nonce, aead::Aad::from(context), &mut record);
        sealed.ok().map(|()| record)
    }

    /// Returns what a record has: a token, or the proof of a key. `None` if it isn't a record of this ticket with
    /// this context.
    #[must_use]
    pub fn open(&self, record: &[u8], context: &str) -> Option<String> {
        if record.len() > TOKEN_BYTES + aead::MAX_TAG_LEN {
            return None;
        }
        let mut record = record.to_vec();
        let (key, nonce) = self.key();
        let opened = key.open_in_place(nonce, aead::Aad::from(context), &mut record);
        let text = std::str::from_utf8(opened.ok()?);
        text.ok().map(ToOwned::to_owned)
    }

    /// Returns the key of the ticket's record, and the nonce of the one text that it encrypts.
    fn key(&self) -> (aead::LessSafeKey, aead::Nonce) {
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, &self.derive(b"record"));
        let key = key.expect("a key of AES-256 has 32 bytes");
        let nonce = aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN]);
        (aead::LessSafeKey::new(key), nonce)
    }

    fn derive(&self, purpose: &[u8]) -> [u8; 32] {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(self.0.as_bytes());
        let mut derived = [0; 32];
        let purpose = [purpose];
        let made = secret.expand(&purpose, hkdf::HKDF_SHA256);
        made.and_then(|key| key.fill(&mut derived))
            .expect("HKDF-SHA-256 makes 32 bytes");
        derived
    }
}

impl fmt::Debug for SharedTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedTicket")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::{AuthError, Authenticator, Grants, KeyFile, KeyStore};

    const CREDENTIAL: &str = "header.claims.signature";

    fn ticket() -> SharedTicket {
        SharedTicket::random().unwrap()
    }

    #[test]
    fn a_record_is_opened_by_its_ticket_in_its_context_alone() {
        let ticket = ticket();
        let record = ticket.seal(CREDENTIAL, "a").unwrap();
        assert_eq!(ticket.open(&record, "a").as_deref(), Some(CREDENTIAL));
        assert_eq!(ticket.open(&record, "b"), None);
        assert_eq!(SharedTicket::random().unwrap().open(&record, "a"), None);
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ticket.open(&damaged, "a"), None, "{bit}");
        }
        for short in [&record[1..], &record[..record.len() - 1], &[]] {
            assert_eq!(ticket.open(short, "a"), None);
        }
        let longer = [&record[..], &[0]].concat();
        assert_eq!(ticket.open(&longer, "a"), None);
    }

    #[test]
    fn a_record_and_an_id_contain_neither_ticket_nor_credential() {
        let ticket = ticket();
        let record = ticket.seal(CREDENTIAL, "a").unwrap();
        let contains = |part: &str| {
            let part = part.as_bytes();
            record.windows(part.len()).any(|found| found == part)
        };
        assert!(!contains(&CREDENTIAL[..8]) && !contains(&ticket.0[4..12]));
        assert!(!ticket.id().contains(&ticket.0[4..12]));
        assert_eq!(ticket.id().len(), 43);
        assert_ne!(ticket.id(), SharedTicket::random().unwrap().id());
        assert!(!format!("{ticket:?}").contains(&ticket.0[4..]));
    }

    #[test]
    fn of_a_key_a_record_has_a_proof_for_its_ticket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let (file, now) = (KeyFile::new(&path), SystemTime::now());
        let [key, other] = ["a", "b"].map(|name| {
            let key = file.create(name, Grants::none(), None, now);
            key.unwrap().token().to_owned()
        });
        let keys = Arc::new(KeyStore::open(&path).unwrap());
        let authenticator = Authenticator::new().keys(Arc::clone(&keys));
        let ticket = ticket();
        let opened = ticket
            .seal(&key, "a")
            .and_then(|record| ticket.open(&record, "a"));
        let opened = opened.unwrap();
        assert!(!opened.contains(&key[17..]), "{opened}");
        let verify = |ticket: &SharedTicket, opened: &str| {
            let identity = authenticator.verify_opened(ticket, opened, now);
            identity.map(|identity| identity.subject().to_owned())
        };
        assert_eq!(verify(&ticket, &opened), Ok("a".to_owned()));
        // It is no credential, and is of no use for another ticket or key.
        assert_eq!(
            authenticator.verify(&opened, now).unwrap_err().code(),
            "malformed"
        );
        let foreign = SharedTicket::random().unwrap();
        assert_eq!(verify(&foreign, &opened), Err(AuthError::BadSignature));
        let replaced = opened.replace(&key[4..16], &other[4..16]);
        assert_eq!(verify(&ticket, &replaced), Err(AuthError::BadSignature));
        let unknown = opened.replace(&key[4..16], "0123456789ab");
        assert_eq!(verify(&ticket, &unknown), Err(AuthError::BadSignature));
        for bad in [
            "hwp_",
            "hwp_a",
            "hwp__",
            "hwp_a_%",
            &opened[..opened.len() - 1],
        ] {
            assert!(verify(&ticket, bad).is_err(), "{bad}");
        }
        file.revoke("a", now).unwrap();
        keys.reload_if_changed(now).unwrap();
        assert_eq!(verify(&ticket, &opened), Err(AuthError::Revoked));
        let without = Authenticator::new().verify_opened(&ticket, &opened, now);
        assert_eq!(without.unwrap_err().code(), "malformed");
    }

    #[test]
    fn a_credential_has_the_size_of_a_token_at_most() {
        let ticket = ticket();
        let largest = "x".repeat(TOKEN_BYTES);
        let record = ticket.seal(&largest, "a").unwrap();
        assert_eq!(ticket.open(&record, "a"), Some(largest.clone()));
        assert_eq!(ticket.seal(&format!("{largest}x"), "a"), None);
        assert_eq!(ticket.seal("hwk_a_b", "a"), None);
        let mut long = record;
        long.push(0);
        assert_eq!(ticket.open(&long, "a"), None);
    }

    #[test]
    fn a_text_is_parsed_into_ticket_and_place() {
        let ticket = ticket();
        let text = ticket.at("3.7");
        assert_eq!(text.len(), 4 + 43 + 1 + 3);
        assert_eq!(
            SharedTicket::parse(&text),
            Some((SharedTicket(ticket.0.clone()), "3.7"))
        );
        for bad in [
            "",
            "hwt_",
            ".",
            &ticket.0,
            &text[1..],
            &text.replace('.', "a.")[..],
            &text.to_uppercase(),
            &text.replace(&ticket.0[46..], "!"),
        ] {
            assert_eq!(SharedTicket::parse(bad), None, "{bad}");
        }
    }
}
