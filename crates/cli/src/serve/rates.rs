//! The rates of senders.

use clap::Args as ClapArgs;
use headwater_auth::Rates;
use headwater_hub::RateLimits;
use serde::Deserialize;

use super::auth::Required;
use crate::exit::Failure;

#[derive(ClapArgs)]
pub(super) struct RatesArgs {
    /// Limit what each address may use: `requests=20:100,open=50` [default: no limits]
    ///
    /// It applies to requests without a key and without a token that has a subject. An IPv6 network
    /// of 64 bits is one address. Behind a proxy, it needs --trusted-proxy. The limits, each of them
    /// optional: `requests`, `messages` and `bytes` that are sent and streams that are `created`, as
    /// an amount a second, `60/m` a minute or `60/h` an hour, with `:100` for the amount that may be
    /// used at once; and live readers that are `open` at the same time.
    #[arg(long, value_name = "LIMITS", env = "HEADWATER_ADDRESS_RATES")]
    address_rates: Option<Rates>,

    /// Limit what each key may use, in the form of --address-rates [default: no limits]
    ///
    /// `headwater keys create --rates` sets other limits for one key.
    #[arg(long, value_name = "LIMITS", env = "HEADWATER_KEY_RATES")]
    key_rates: Option<Rates>,

    /// Limit what each subject (sub) of tokens may use, in the form of --address-rates [default: no
    /// limits]
    #[arg(long, value_name = "LIMITS", env = "HEADWATER_SUBJECT_RATES")]
    subject_rates: Option<Rates>,
}

/// The section `[rates]` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    address: Option<Rates>,
    key: Option<Rates>,
    subject: Option<Rates>,
}

impl RatesArgs {
    /// Combines the command line and the file. An option replaces all limits of its kind.
    pub(super) fn lay(self, file: &File) -> RateLimits {
        let mut limits = RateLimits::default();
        limits.address = self.address_rates.or(file.address).unwrap_or_default();
        limits.key = self.key_rates.or(file.key).unwrap_or_default();
        limits.subject = self.subject_rates.or(file.subject).unwrap_or_default();
        limits
    }
}

/// Refuses limits of senders that the hub doesn't know.
pub(super) fn check(limits: &RateLimits, required: Option<&Required>) -> Result<(), Failure> {
    let none = Rates::default();
    if limits.key != none && !required.is_some_and(Required::has_keys) {
        return Err(Failure::other(
            "--key-rates (`key` under [rates]) limits keys, and the hub accepts none: name their file by --keys",
        ));
    }
    if limits.subject != none && !required.is_some_and(Required::has_tokens) {
        return Err(Failure::other(
            "--subject-rates (`subject` under [rates]) limits the subjects of tokens, and the hub accepts none: name their \
             key by --jwt-secret-file, --jwt-public-key or --jwks",
        ));
    }
    Ok(())
}
