//! The certificate of the hub, and the redirect from http.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use headwater::Tls;
use serde::Deserialize;

use crate::exit::Failure;

#[derive(ClapArgs)]
pub(super) struct HttpsArgs {
    /// Serve https with this certificate: a PEM file with the chain, the hub's own one first
    ///
    /// It needs --tls-key. Both files are read again when they change, and on SIGHUP, without a
    /// restart. HTTP/2 is negotiated, so a browser can follow many streams at once.
    #[arg(long, value_name = "FILE", env = "HEADWATER_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate: a PEM file
    #[arg(long, value_name = "FILE", env = "HEADWATER_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Listen here too, and redirect every request to https: 0.0.0.0:80
    #[arg(long, value_name = "ADDRESS", env = "HEADWATER_REDIRECT_HTTP")]
    redirect_http: Option<String>,
}

/// The section `[tls]` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    redirect_http: Option<String>,
}

/// The settings of https.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Https {
    cert: PathBuf,
    key: PathBuf,
    redirect_http: Option<String>,
}

impl HttpsArgs {
    /// Combines the command line and the file. Returns `None` if the hub serves http.
    pub(super) fn lay(self, file: File) -> Result<Option<Https>, Failure> {
        let redirect_http = self.redirect_http.or(file.redirect_http);
        match (self.tls_cert.or(file.cert), self.tls_key.or(file.key)) {
            (Some(cert), Some(key)) => Ok(Some(Https {
                cert,
                key,
                redirect_http,
            })),
            (Some(_), None) => Err(Failure::other(
                "a certificate needs its key: --tls-key, or `key` under [tls]",
            )),
            (None, Some(_)) => Err(Failure::other(
                "a key needs its certificate: --tls-cert, or `cert` under [tls]",
            )),
            (None, None) if redirect_http.is_some() => Err(Failure::other(
                "http is redirected to https, so --redirect-http needs --tls-cert and --tls-key",
            )),
            (None, None) => Ok(None),
        }
    }
}

impl Https {
    /// Reads the certificate.
    pub(super) fn load(&self) -> Result<Tls, Failure> {
        Tls::from_pem_files(&self.cert, &self.key)
            .map_err(|error| Failure::other(error).about("the certificate and the key of https"))
    }

    pub(super) fn apply(&self, tls: Tls, server: headwater::Serve) -> headwater::Serve {
        let server = server.tls(tls);
        match &self.redirect_http {
            Some(address) => server.redirect_http(address),
            None => server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay(args: [Option<&str>; 3], file: [Option<&str>; 3]) -> Result<Option<Https>, String> {
        let [tls_cert, tls_key, redirect_http] = args;
        let args = HttpsArgs {
            tls_cert: tls_cert.map(Into::into),
            tls_key: tls_key.map(Into::into),
            redirect_http: redirect_http.map(Into::into),
        };
        let [cert, key, redirect_http] = file;
        let file = File {
            cert: cert.map(Into::into),
            key: key.map(Into::into),
            redirect_http: redirect_http.map(Into::into),
        };
        args.lay(file).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn the_command_line_overrides_the_file() {
        let https = lay([Some("a"), None, None], [Some("b"), Some("c"), Some(":80")]);
        let expected = Https {
            cert: "a".into(),
            key: "c".into(),
            redirect_http: Some(":80".to_owned()),
        };
        assert_eq!(https.unwrap(), Some(expected));
        assert_eq!(lay([None; 3], [None; 3]).unwrap(), None);
    }

    #[test]
    fn a_certificate_a_key_or_a_redirect_alone_is_an_error() {
        for (args, missing) in [
            ([Some("a"), None, None], "--tls-key"),
            ([None, Some("a"), None], "--tls-cert"),
            ([None, None, Some("a")], "--tls-cert and --tls-key"),
        ] {
            let error = lay(args, [None; 3]).unwrap_err();
            assert!(error.contains(missing), "{error}");
        }
    }
}
