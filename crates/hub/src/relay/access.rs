//! Who may do what (§9).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use headwater_log::Timestamp;
use http::{HeaderMap, header};

use super::{id::RelayId, refusal::Refusal};
use crate::Core;

/// What a URL was signed with, as far as it is there.
#[derive(Debug, Default)]
pub(super) struct Signed {
    expires: Option<String>,
    signature: Option<String>,
    /// What is to be done, of a `PATCH`.
    pub(super) action: Option<String>,
}

impl Signed {
    pub(super) fn parse(query: &str) -> Self {
        let mut signed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let part = match &*name {
                "expires" => &mut signed.expires,
                "signature" => &mut signed.signature,
                "action" => &mut signed.action,
                _ => continue,
            };
            *part = Some(value.into_owned());
        }
        signed
    }

    /// Whether it is signed at all, well or badly.
    fn is_any(&self) -> bool {
        self.expires.is_some() || self.signature.is_some()
    }
}

/// Lets those pass who may create and delete relays and know of them: by the hub's secret, or anyone where it has none
/// (§9.1).
///
/// # Errors
/// The secret is missing, or another.
pub(super) fn service(core: &Core, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(secret) = &core.options.relay_secret else {
        return Ok(());
    };
    let value = headers.get(header::AUTHORIZATION);
    let value = value.ok_or_else(Refusal::missing_secret)?.as_bytes();
    let scheme = b"bearer ";
    let given = match value.split_at_checked(scheme.len()) {
        Some((head, given)) if head.eq_ignore_ascii_case(scheme) => given.trim_ascii(),
        _ => return Err(Refusal::bad_secret()),
    };
    verify_slices_are_equal(given, secret.as_bytes()).map_err(|_| Refusal::bad_secret())
}

/// Lets those pass who have the URL of a relay (§7).
///
/// # Errors
/// It is not signed, or badly, or too long ago.
pub(super) async fn signed(core: &Core, id: &RelayId, signed: &Signed) -> Result<(), Refusal> {
    let (Some(expires), Some(signature)) = (&signed.expires, &signed.signature) else {
        return Err(Refusal::missing_signature());
    };
    let now = Timestamp::from(std::time::SystemTime::now());
    let signer = core.relays.signer(core).await?;
    signer.verify(&id.to_string(), expires, signature, now)
}

/// Lets those pass who may read a relay: who have its URL, or the hub's secret (§9.2). A bad signature is refused,
/// whatever comes with it.
///
/// # Errors
/// As [`signed`] and [`service`].
pub(super) async fn reader(
    core: &Core,
    id: &RelayId,
    sign: &Signed,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    match sign.is_any() {
        true => signed(core, id, sign).await,
        false => service(core, headers),
    }
}
