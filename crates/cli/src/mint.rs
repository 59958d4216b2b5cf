//! `headwater token`: makes a token.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{ArgGroup, Args as ClapArgs};
use headwater_auth::{Claims, Grant, Grants, SigningKey, limits::SUBJECT_BYTES};

use crate::{args::lifetime, exit::Failure, key_file, output_line::say};

#[derive(ClapArgs)]
#[command(
    override_usage = "headwater token --jwt-secret-file <FILE> --allow <GRANT>... [OPTIONS]
       headwater token --jwt-private-key <FILE> --allow <GRANT>... [OPTIONS]"
)]
#[command(group = ArgGroup::new("signing key").required(true).args(["jwt_secret_file", "jwt_private_key"]))]
pub(crate) struct Mint {
    /// Sign with the secret in this file, as the hub's --jwt-secret-file (HS256)
    #[arg(long, value_name = "FILE")]
    jwt_secret_file: Option<PathBuf>,

    /// Sign with this private key: a PEM file of RSA, P-256, P-384 or Ed25519
    #[arg(long, value_name = "FILE")]
    jwt_private_key: Option<PathBuf>,

    /// The id of the key (kid) in the hub's JWK Set
    #[arg(long, value_name = "ID")]
    kid: Option<String>,

    /// Allow actions on streams: `read,publish:orders/**`; may be repeated
    #[arg(long, value_name = "GRANT", required = true, num_args = 1..)]
    allow: Vec<Grant>,

    /// The owner of the token (sub), which the hub's log names
    #[arg(long, value_name = "NAME", value_parser = subject)]
    subject: Option<String>,

    /// Let the token expire after this time: 90s, 10m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = lifetime)]
    expires: Duration,

    /// The issuer (iss), if the hub requires one
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,

    /// The audience (aud), if the hub requires one; a hub that doesn't refuses a token with one
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
}

/// Parses a subject as the hub accepts it.
fn subject(text: &str) -> Result<String, String> {
    match text.len() > SUBJECT_BYTES || text.chars().any(char::is_control) {
        true => Err(format!(
            "a subject has at most {SUBJECT_BYTES} bytes and no control characters"
        )),
        false => Ok(text.to_owned()),
    }
}

pub(crate) fn run(args: Mint) -> Result<(), Failure> {
    let mut key = signing_key(&args)?;
    if let Some(kid) = &args.kid {
        key = key.kid(kid);
    }
    let grants =
        Grants::new(args.allow).map_err(|error| Failure::usage(format!("--allow: {error}")))?;
    let now = SystemTime::now();
    let mut claims = Claims::new(now + args.expires)
        .issued_at(now)
        .grants(grants);
    if let Some(subject) = &args.subject {
        claims = claims.subject(subject);
    }
    if let Some(issuer) = &args.issuer {
        claims = claims.issuer(issuer);
    }
    if let Some(audience) = &args.audience {
        claims = claims.audience(audience);
    }
    say(&key.mint(&claims).map_err(Failure::other)?)
}

const SECRET: &str = "--jwt-secret-file";
const PRIVATE_KEY: &str = "--jwt-private-key";

fn signing_key(args: &Mint) -> Result<SigningKey, Failure> {
    let (path, option) = match (&args.jwt_secret_file, &args.jwt_private_key) {
        (Some(path), _) => (path, SECRET),
        (None, Some(path)) => (path, PRIVATE_KEY),
        // The parser requires one of them.
        (None, None) => return Err(Failure::usage("a token needs a key to sign it")),
    };
    let secret = key_file::read_secret(path).map_err(|failure| failure.about(option))?;
    if let Some(warning) = secret.warning {
        report!("headwater: {warning}");
    }
    let key = match option == SECRET {
        true => SigningKey::from_secret(&secret.bytes),
        false => SigningKey::from_pem(&secret.bytes),
    };
    key.map_err(|error| Failure::other(format!("{option}: {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_that_the_hub_accepts() {
        assert!(subject(&"a".repeat(SUBJECT_BYTES)).is_ok());
        assert!(subject(&"a".repeat(SUBJECT_BYTES + 1)).is_err());
        assert!(subject("a\nb").is_err());
    }
}
