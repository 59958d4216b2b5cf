//! The certificates by which servers of https are trusted.

use clap::Args as ClapArgs;
use headwater_client::ClientBuilder;

use crate::exit::Failure;

#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct Trust {
    /// For https, also trust the certificates in this PEM file, besides those of the system
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", env = "HEADWATER_CACERT", global = true)]
    cacert: Option<std::path::PathBuf>,
}

impl Trust {
    /// Adds the certificates to those that a client trusts.
    ///
    /// # Errors
    /// The file can't be read. The builder reports what is wrong with its content.
    #[cfg(feature = "tls")]
    pub(crate) fn apply(&self, builder: ClientBuilder) -> Result<ClientBuilder, Failure> {
        let Some(path) = &self.cacert else {
            return Ok(builder);
        };
        let pem = std::fs::read(path)
            .map_err(|error| Failure::usage(format!("--cacert {}: {error}", path.display())))?;
        Ok(builder.root_certificate(pem))
    }

    #[cfg(not(feature = "tls"))]
    #[allow(
        clippy::unnecessary_wraps,
        reason = "with the feature tls, it reads a file"
    )]
    pub(crate) fn apply(&self, builder: ClientBuilder) -> Result<ClientBuilder, Failure> {
        Ok(builder)
    }
}
