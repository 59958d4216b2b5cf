//! The settings of gathers and relays.

use clap::Args as ClapArgs;
use headwater_client::Egress;
use headwater_hub::Options;
use serde::Deserialize;

use super::config::list;
#[cfg(feature = "relay")]
use super::config::{Span, timed};
use crate::exit::Failure;

// A doc comment here would replace the description of the command.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// The hosts that the hub may call for its clients: `https://api.example.com/v1/**` [default:
    /// none]
    ///
    /// `https://*.example.com` matches each name that ends so, `https://*` any public host, and
    /// `:8443` or `:*` sets the port. An address that isn't public is called only if it is listed
    /// itself, `http://127.0.0.1:9000`, or if names may resolve to it, `10.0.0.0/8`. Several
    /// patterns are separated by commas, or the option is repeated.
    #[arg(
        long,
        value_name = "PATTERN",
        env = "HEADWATER_ALLOW_UPSTREAM",
        value_delimiter = ','
    )]
    allow_upstream: Vec<String>,

    /// The secret for creating and deleting relays [default: none]
    ///
    /// It is sent as `Authorization: Bearer …`. Other users can see a command line: set it in the
    /// environment or the file. With keys or tokens, grant the action `relay` instead.
    #[arg(
        long,
        value_name = "SECRET",
        env = "HEADWATER_RELAY_SECRET",
        hide_env_values = true
    )]
    relay_secret: Option<String>,
}

/// The section `upstream` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UpstreamFile {
    allow: Vec<String>,
    #[cfg(feature = "relay")]
    head_timeout: Option<Span>,
    #[cfg(feature = "relay")]
    idle_timeout: Option<Span>,
}

/// The section `relay` of the file.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RelayFile {
    secret: Option<String>,
    #[cfg(feature = "relay")]
    ttl: Option<Span>,
}

// Without the secret.
headwater_wire::opaque!(RelayFile);

impl Args {
    /// Returns `true` if the command line or the file sets the secret of relays.
    pub(super) fn has_secret(&self, relay: &RelayFile) -> bool {
        self.relay_secret.is_some() || relay.secret.is_some()
    }

    /// Applies these settings, or else those of the file.
    pub(super) fn apply(
        self,
        hub: Options,
        upstream: &UpstreamFile,
        relay: &RelayFile,
    ) -> Result<Options, Failure> {
        let allowed = list(&self.allow_upstream, &upstream.allow);
        let allowed = Egress::allow(allowed).map_err(|error| Failure::other(error.to_string()))?;
        let mut hub = hub.upstreams(allowed);
        #[cfg(feature = "relay")]
        {
            hub = timed(hub, relay.ttl, Options::relay_ttl);
            hub = timed(hub, upstream.head_timeout, Options::upstream_head_timeout);
            hub = timed(hub, upstream.idle_timeout, Options::upstream_idle_timeout);
        }
        if let Some(secret) = self.relay_secret.or_else(|| relay.secret.clone()) {
            if secret.is_empty() {
                return Err(Failure::other(
                    "the secret of relays is empty: leave it out instead",
                ));
            }
            hub = hub.relay_secret(&secret);
        }
        Ok(hub)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{config::tests::lay, settings_file},
        *,
    };

    #[cfg(feature = "relay")]
    #[test]
    fn the_printed_file_has_every_setting_of_relays() {
        let text = settings_file::text().replace("# secret = ", "secret = ");
        let start = text.find("[relay]\n").unwrap() + "[relay]\n".len();
        let file: RelayFile = toml::from_str(&text[start..]).unwrap();
        assert!(file.secret.is_some() && file.ttl.is_some());
    }

    #[test]
    fn upstreams_come_from_the_command_line_or_else_from_the_file() {
        let shown = |args: &[&str], file| format!("{:?}", lay(args, file).hub);
        let file = "[upstream]\nallow = [\"https://file.example\"]\n";
        let args = &["--allow-upstream", "https://a.example,https://b.example"];
        assert!(!shown(&[], "").contains("example"));
        assert!(shown(&[], file).contains("file.example"));
        let both = shown(args, file);
        assert!(both.contains("a.example") && both.contains("b.example"));
        assert!(!both.contains("file.example"));
        let args = Args {
            allow_upstream: vec!["api.example".to_owned()],
            relay_secret: None,
        };
        let failure = args
            .apply(
                Options::new(),
                &UpstreamFile::default(),
                &RelayFile::default(),
            )
            .unwrap_err();
        let error = format!("{failure:?}");
        assert!(error.contains("can't be allowed"), "{error}");
    }

    #[test]
    fn the_secret_of_relays_is_not_shown() {
        let file = "[relay]\nsecret = \"hunter2\"\n";
        let args = ["--relay-secret", "hunter2"];
        for config in [lay(&[], file), lay(&args, "")] {
            let shown = format!("{config:?}");
            assert!(
                shown.contains("Secret") && !shown.contains("hunter2"),
                "{shown}"
            );
        }
    }
}
