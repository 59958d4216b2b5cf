//! The key of tokens, and the claims that they need.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args as ClapArgs;
use headwater_auth::{
    Jwks, JwtOptions, TopicNames,
    limits::{JWKS_BYTES, MAX_LEEWAY, PEM_BYTES},
};
#[cfg(feature = "jwks")]
use headwater_hub::Auth;
use serde::Deserialize;

use super::{super::config::Time, Context};
use crate::{exit::Failure, key_file};

// A doc comment here would replace the description of the command.
#[derive(ClapArgs)]
pub(super) struct JwtArgs {
    /// Require credentials, and accept tokens (JWT) signed with the secret in this file
    ///
    /// It has at least 32 bytes; a line break at its end isn't a part of it. `headwater token`
    /// makes tokens.
    #[arg(long, value_name = "FILE", env = "HEADWATER_JWT_SECRET_FILE")]
    jwt_secret_file: Option<PathBuf>,

    /// Require credentials, and accept tokens (JWT) of this public key: a PEM file
    #[arg(long, value_name = "FILE", env = "HEADWATER_JWT_PUBLIC_KEY")]
    jwt_public_key: Option<PathBuf>,

    /// Require credentials, and accept tokens (JWT) of the keys in this JWK Set: a file or a URL
    ///
    /// A file is read at the start. From a URL, the keys are fetched at the start and followed from
    /// then on; it is https, or http at a loopback address.
    #[arg(long, value_name = "FILE|URL", env = "HEADWATER_JWKS")]
    jwks: Option<PathBuf>,

    /// For the https URL of --jwks, also trust the certificates in this PEM file, besides those of the
    /// system
    ///
    /// It is for an issuer whose certificate is of a private authority. The file is read at the start.
    #[arg(long, value_name = "FILE", env = "HEADWATER_JWKS_CA")]
    jwks_ca: Option<PathBuf>,

    /// The issuer (iss) that tokens need [default: any or none]
    #[arg(long, value_name = "NAME", env = "HEADWATER_JWT_ISSUER")]
    jwt_issuer: Option<String>,

    /// The audience (aud) that tokens need [default: they have none]
    #[arg(long, value_name = "NAME", env = "HEADWATER_JWT_AUDIENCE")]
    jwt_audience: Option<String>,
}

/// The section `[auth.jwt]` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    secret_file: Option<PathBuf>,
    public_key: Option<PathBuf>,
    jwks: Option<PathBuf>,
    jwks_ca: Option<PathBuf>,
    issuer: Option<String>,
    audience: Option<String>,
    leeway: Option<Time>,
    mercure: bool,
}

/// The settings of tokens.
#[derive(Debug)]
pub(super) struct Jwt {
    key: Key,
    /// The certificates that are trusted for the URL of the JWK Set.
    #[cfg_attr(
        not(feature = "jwks"),
        allow(dead_code, reason = "only a build that fetches has a URL")
    )]
    ca: Option<PathBuf>,
    issuer: Option<String>,
    audience: Option<String>,
    leeway: Option<Duration>,
    /// The streams of topics, if Mercure's claims count.
    topics: Option<TopicNames>,
}

/// The place of what verifies tokens.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    Secret(PathBuf),
    Public(PathBuf),
    Set(PathBuf),
    #[cfg(feature = "jwks")]
    SetAt(String),
}

impl JwtArgs {
    /// Combines the command line and the file. Returns `None` if the hub accepts no tokens.
    pub(super) fn lay(self, file: File, context: &Context<'_>) -> Result<Option<Jwt>, Failure> {
        let named = key(self.jwt_secret_file, self.jwt_public_key, self.jwks)?;
        let is_replaced = named.is_some();
        let key = match named {
            Some(key) => Some(key),
            None => key(file.secret_file, file.public_key, file.jwks)?,
        };
        let issuer = self.jwt_issuer.or(file.issuer);
        let audience = self.jwt_audience.or(file.audience);
        let Some(key) = key else {
            let has_ca = self.jwks_ca.is_some() || file.jwks_ca.is_some();
            let has_parties = issuer.is_some() || audience.is_some();
            let has_more = has_ca || has_parties || file.leeway.is_some() || file.mercure;
            return match has_more {
                true => Err(Failure::other(
                    "tokens need a key that verifies them: --jwt-secret-file, --jwt-public-key or --jwks, or \
                     `secret_file`, `public_key` or `jwks` under [auth.jwt]",
                )),
                false => Ok(None),
            };
        };
        let key = key.with_url()?;
        // With another key on the command line, the authority of the file's key isn't needed.
        let of_file = file.jwks_ca.filter(|_| key.is_at_url() || !is_replaced);
        let ca = self.jwks_ca.or(of_file);
        if ca.is_some() && !key.is_at_url() {
            return Err(Failure::other(
                "--jwks-ca (`jwks_ca` under [auth.jwt]) is for the https URL of a JWK Set, and the hub has none: name it by \
                 --jwks",
            ));
        }
        let leeway = file.leeway.map(|Time(leeway)| leeway);
        if let Some(leeway) = leeway.filter(|leeway| *leeway > MAX_LEEWAY) {
            return Err(Failure::other(format!(
                "leeway under [auth.jwt] is {leeway:?}, and its maximum is {MAX_LEEWAY:?}"
            )));
        }
        let topics = match file.mercure {
            true => Some(topics(context)?),
            false => None,
        };
        Ok(Some(Jwt {
            key,
            ca,
            issuer,
            audience,
            leeway,
            topics,
        }))
    }
}

impl Jwt {
    /// Returns the URL of the JWK Set, if it has one.
    #[cfg(feature = "jwks")]
    pub(super) fn jwks_url(&self) -> Option<&str> {
        match &self.key {
            Key::SetAt(url) => Some(url),
            _ => None,
        }
    }

    /// Lets the hub trust the authority of the URL, if there is one.
    #[cfg(feature = "jwks")]
    pub(super) fn trust(&self, auth: Auth) -> Result<Auth, Failure> {
        match &self.ca {
            #[cfg(feature = "tls")]
            Some(path) => {
                let pem = key_file::read(path, PEM_BYTES);
                let pem = pem.map_err(|failure| failure.about("the authority of the JWK Set"))?;
                let failed = |error| Failure::other(format!("{}: {error}", path.display()));
                auth.jwks_ca(pem).map_err(failed)
            }
            #[cfg(not(feature = "tls"))]
            Some(path) => Err(Failure::other(format!(
                "{}: this build has no https (feature `tls`), so it checks no certificate",
                path.display()
            ))),
            None => Ok(auth),
        }
    }

    /// Reads the key. That of a URL is fetched later.
    pub(super) fn load(&self) -> Result<JwtOptions, Failure> {
        let mut options = self.key.load()?;
        if let Some(issuer) = &self.issuer {
            options = options.issuer(issuer);
        }
        if let Some(audience) = &self.audience {
            options = options.audience(audience);
        }
        if let Some(leeway) = self.leeway {
            options = options.leeway(leeway);
        }
        if let Some(topics) = &self.topics {
            options = options.mercure(topics.clone());
        }
        Ok(options)
    }
}

impl Key {
    /// Takes the name of a JWK Set for a URL if it looks like one.
    fn with_url(self) -> Result<Self, Failure> {
        match self {
            Self::Set(path) if is_url(&path) => Self::at_url(&path),
            key => Ok(key),
        }
    }

    #[cfg(feature = "jwks")]
    fn at_url(url: &Path) -> Result<Self, Failure> {
        match url.to_str() {
            Some(url) => Ok(Self::SetAt(url.to_owned())),
            None => Err(Failure::other("the URL of the JWK Set is not UTF-8")),
        }
    }

    #[cfg(not(feature = "jwks"))]
    fn at_url(url: &Path) -> Result<Self, Failure> {
        Err(Failure::other(format!(
            "{}: this build can't fetch a JWK Set from a URL (feature `jwks`); save the document in a file, and name that",
            url.display()
        )))
    }

    fn is_at_url(&self) -> bool {
        #[cfg(feature = "jwks")]
        let is_at_url = matches!(self, Self::SetAt(_));
        #[cfg(not(feature = "jwks"))]
        let is_at_url = false;
        is_at_url
    }

    fn load(&self) -> Result<JwtOptions, Failure> {
        let at = |path: &Path| {
            let path = path.display().to_string();
            move |error: headwater_auth::KeyError| Failure::other(format!("{path}: {error}"))
        };
        match self {
            Self::Secret(path) => {
                let secret = key_file::read_secret(path);
                let secret = secret.map_err(|failure| failure.about("the secret of tokens"))?;
                if let Some(warning) = secret.warning {
                    tracing::warn!("{warning}");
                }
                JwtOptions::secret(&secret.bytes).map_err(at(path))
            }
            Self::Public(path) => {
                let pem = key_file::read(path, PEM_BYTES);
                let pem = pem.map_err(|failure| failure.about("the public key of tokens"))?;
                JwtOptions::public_key(&pem).map_err(at(path))
            }
            Self::Set(path) => {
                let keys = key_file::read(path, JWKS_BYTES);
                let keys = keys.map_err(|failure| failure.about("the JWK Set"))?;
                let keys = Jwks::parse(&keys).map_err(at(path))?;
                let path = path.display();
                for reason in keys.skipped() {
                    tracing::warn!("{path}: a key is skipped: {reason}");
                }
                if keys.is_empty() {
                    return Err(Failure::other(format!(
                        "{path}: no key of the JWK Set can verify tokens"
                    )));
                }
                Ok(JwtOptions::jwks(keys))
            }
            #[cfg(feature = "jwks")]
            Self::SetAt(_) => Ok(JwtOptions::jwks(Jwks::default())),
        }
    }
}

/// Returns the only key.
fn key(
    secret: Option<PathBuf>,
    public: Option<PathBuf>,
    set: Option<PathBuf>,
) -> Result<Option<Key>, Failure> {
    match (secret, public, set) {
        (None, None, None) => Ok(None),
        (Some(path), None, None) => Ok(Some(Key::Secret(path))),
        (None, Some(path), None) => Ok(Some(Key::Public(path))),
        (None, None, Some(path)) => Ok(Some(Key::Set(path))),
        _ => Err(Failure::other(
            "tokens have one source of keys: a secret (--jwt-secret-file), a public key (--jwt-public-key) or a JWK Set \
             (--jwks)",
        )),
    }
}

fn is_url(path: &Path) -> bool {
    let text = path.to_string_lossy().to_ascii_lowercase();
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    // `https://…` is a path, too, though an unlikely one.
    is_url && fs::symlink_metadata(path).is_err()
}

/// Returns the streams of Mercure's topics: URLs under the root of the streams.
fn topics(context: &Context<'_>) -> Result<TopicNames, Failure> {
    let topics = TopicNames::new();
    let Some(url) = context.public_url else {
        return Ok(topics);
    };
    let (url, root) = (url.trim_end_matches('/'), context.root.trim_matches('/'));
    let root = match root {
        "" => format!("{url}/"),
        root => format!("{url}/{root}/"),
    };
    let failed = |error| Failure::other(format!("mercure under [auth.jwt]: {error}"));
    topics.root(&root).map_err(failed)
}

#[cfg(test)]
mod tests;
