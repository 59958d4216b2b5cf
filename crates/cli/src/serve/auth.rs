//! The keys and tokens that the hub requires.

mod jwt;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args as ClapArgs;
use headwater_auth::{Authenticator, Grant, Grants, JwtVerifier, KeyStore};
use headwater_hub::Auth;
use headwater_wire::terminal::ShellWord;
use serde::Deserialize;

use self::jwt::{Jwt, JwtArgs};
use crate::{exit::Failure, keys};

#[derive(ClapArgs)]
pub(super) struct AuthArgs {
    /// Require credentials, and accept the keys in this file [default: keys.json in the data folder,
    /// if it exists at the start]
    ///
    /// `headwater keys create` makes keys. The hub notices changes of the file within a second.
    #[arg(long, value_name = "FILE", env = "HEADWATER_KEYS")]
    keys: Option<PathBuf>,

    #[command(flatten)]
    jwt: JwtArgs,

    /// Allow requests without credentials this: `read:public/**` [default: nothing]
    ///
    /// Actions and the patterns of streams, as for `headwater keys create --allow`. The option may
    /// be repeated. It needs --keys or tokens.
    #[arg(long, value_name = "GRANT", env = "HEADWATER_ANONYMOUS")]
    anonymous: Vec<Grant>,

    /// Open the hub to every client that can reach its address
    ///
    /// Without keys and tokens, the hub otherwise refuses to listen on an address that other
    /// machines can reach.
    #[arg(long, env = "HEADWATER_OPEN")]
    pub(super) open: bool,
}

/// The section `[auth]` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    keys: Option<PathBuf>,
    anonymous: Vec<String>,
    jwt: jwt::File,
}

/// The settings on which those of authorization depend.
pub(super) struct Context<'a> {
    pub(super) data: &'a Path,
    pub(super) root: &'a str,
    pub(super) public_url: Option<&'a str>,
}

/// The settings of authorization. It requires keys, tokens, or either.
#[derive(Debug)]
pub(super) struct Required {
    keys: Option<PathBuf>,
    jwt: Option<Jwt>,
    anonymous: Grants,
}

impl AuthArgs {
    /// Combines the command line and the file. Returns `None` if the hub requires no credentials.
    pub(super) fn lay(
        self,
        file: File,
        context: &Context<'_>,
    ) -> Result<Option<Required>, Failure> {
        let keys = match self.keys.or(file.keys) {
            Some(keys) => Some(keys),
            None => default_keys(context.data)?,
        };
        let jwt = self.jwt.lay(file.jwt, context)?;
        let anonymous = match self.anonymous.is_empty() {
            true => grants(&file.anonymous)?,
            false => self.anonymous,
        };
        if keys.is_none() && jwt.is_none() {
            return match anonymous.is_empty() {
                true => Ok(None),
                false => Err(Failure::other(
                    "--anonymous (`anonymous` under [auth]) limits requests without credentials, but the hub requires \
                     none: name a key file by --keys, or the key of tokens by --jwt-secret-file, --jwt-public-key or --jwks",
                )),
            };
        }
        let anonymous = Grants::new(anonymous)
            .map_err(|error| Failure::other(format!("--anonymous: {error}")))?;
        Ok(Some(Required {
            keys,
            jwt,
            anonymous,
        }))
    }
}

impl Required {
    pub(super) fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    pub(super) fn has_tokens(&self) -> bool {
        self.jwt.is_some()
    }

    /// Reads the files.
    pub(super) fn load(&self) -> Result<Auth, Failure> {
        let mut authenticator = Authenticator::new();
        if let Some(path) = &self.keys {
            let keys = KeyStore::open(path).map_err(Failure::other)?;
            if self.jwt.is_none() && !path.exists() {
                tracing::warn!(
                    "{path} doesn't exist yet: `headwater keys create --keys {}` makes the first key",
                    ShellWord(&path.to_string_lossy()),
                    path = path.display(),
                );
            }
            authenticator = authenticator.keys(Arc::new(keys));
        }
        if let Some(jwt) = &self.jwt {
            authenticator = authenticator.jwt(JwtVerifier::new(jwt.load()?));
        }
        let auth = Auth::new(authenticator).anonymous(self.anonymous.clone());
        #[cfg(feature = "jwks")]
        if let Some(jwt) = &self.jwt
            && let Some(url) = jwt.jwks_url()
        {
            let auth = auth.jwks_url(url).map_err(Failure::other)?;
            return jwt.trust(auth);
        }
        Ok(auth)
    }
}

impl fmt::Display for Required {
    /// Writes what the hub requires, as the end of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.keys, &self.jwt) {
            (Some(_), Some(_)) => "requires a key or a token",
            (Some(_), None) => "requires a key",
            _ => "requires a token",
        })?;
        for (index, grant) in self.anonymous.iter().enumerate() {
            f.write_str(if index == 0 { "; without one: " } else { " " })?;
            write!(f, "{grant}")?;
        }
        Ok(())
    }
}

/// Returns the key file in the data folder, if there is one.
fn default_keys(data: &Path) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = keys::file_in(data) else {
        return Ok(None);
    };
    let exists = match path.try_exists() {
        // Opening the log reports that the folder isn't one.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => false,
        // A hub that can't see its keys must not start without them.
        exists => exists.map_err(|error| {
            let data = data.display();
            Failure::other(format!(
                "{data}: {error}; it isn't known if it has a keys.json"
            ))
        })?,
    };
    // A link whose file is missing counts, too.
    Ok((exists || path.is_symlink()).then_some(path))
}

fn grants(texts: &[String]) -> Result<Vec<Grant>, Failure> {
    let grants = texts.iter().map(|text| {
        let grant = text.parse::<Grant>();
        grant.map_err(|error| Failure::other(format!("anonymous under [auth]: {text:?}: {error}")))
    });
    grants.collect()
}

#[cfg(test)]
mod tests;
