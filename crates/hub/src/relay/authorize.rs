//! Authorization (§9).

use headwater_auth::Action as Grant;
use headwater_log::{StreamName, Timestamp};
use http::HeaderMap;

use super::{id::RelayId, refusal::Refusal};
use crate::{
    access::Caller,
    protocol::query::{any, query},
    secret,
    state::HubState,
};

query! {
    /// The signature parameters of a URL, as far as present.
    pub(super) struct Signed {
        /// The time at which the URL expires.
        expires: String as u64 = any,
        /// The hub's signature of the URL.
        signature: String as String = any,
    }
}

query! {
    /// The action of a `PATCH`.
    pub(super) struct Action {
        /// `abort`.
        action (required): String as String = any,
    }
}

impl Signed {
    /// Returns `true` if there is a signature, valid or not.
    fn is_any(&self) -> bool {
        self.expires.is_some() || self.signature.is_some()
    }
}

/// Authorizes the creation, deletion and inspection of relays: by the hub's secret, or for every
/// client if there is none (§9.1).
///
/// # Errors
/// The secret is missing or wrong.
pub(super) fn service(hub: &HubState, headers: &HeaderMap) -> Result<(), Refusal> {
    Ok(secret::check(&hub.options.upstream, headers)?)
}

/// Authorizes a caller by its grants, which have to include a public relay's stream.
///
/// # Errors
/// The caller isn't allowed to control this relay.
pub(super) fn granted(id: &RelayId, caller: &Caller) -> Result<(), Refusal> {
    let stream = id.public().map(StreamName::as_str);
    Ok(caller.check(Grant::Relay, stream)?)
}

/// Authorizes a client by the signed URL of a relay (§7).
///
/// # Errors
/// The URL is not signed, or the signature is invalid or expired.
pub(super) async fn signed(hub: &HubState, id: &RelayId, signed: &Signed) -> Result<(), Refusal> {
    let (Some(expires), Some(signature)) = (&signed.expires, &signed.signature) else {
        return Err(Refusal::missing_signature());
    };
    let now = Timestamp::from(std::time::SystemTime::now());
    let signer = hub.relays.signer(hub).await?;
    signer.verify(&id.to_string(), expires, signature, now)
}

/// Authorizes the reader of a relay: by its URL, or by the hub's secret (§9.2). An invalid
/// signature is refused even with the secret.
///
/// # Errors
/// As for [`signed`] and [`service`].
pub(super) async fn reader(
    hub: &HubState,
    id: &RelayId,
    sign: &Signed,
    headers: &HeaderMap,
    caller: &Caller,
) -> Result<(), Refusal> {
    match sign.is_any() {
        true => signed(hub, id, sign).await,
        false => {
            service(hub, headers)?;
            granted(id, caller)
        }
    }
}
