use std::{error::Error as StdError, fmt, net::IpAddr};

/// The reason for which a URL may not be reached. The message describes the fault and the remedy.
/// It never contains the URL's user, password, path or query.
///
/// It is the source of a client's error for which [`is_refused`](crate::Error::is_refused) is
/// `true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub(super) Why);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    UserInfo,
    Scheme {
        scheme: String,
        host: Option<String>,
    },
    ThisMachine {
        host: String,
    },
    Address(IpAddr),
    Host {
        host: String,
        nothing_is_allowed: bool,
    },
    Port {
        host: String,
        port: u16,
    },
    Path {
        host: String,
    },
    /// The name resolves to no allowed address.
    Resolved {
        host: String,
    },
}

impl Refused {
    /// Returns `true` if the URL contains a user's name or a password.
    #[must_use]
    pub fn is_user_info(&self) -> bool {
        matches!(self.0, Why::UserInfo)
    }

    /// Returns `true` if the scheme is not `http` or `https`, or not the one that is allowed for
    /// the host.
    #[must_use]
    pub fn is_scheme(&self) -> bool {
        matches!(self.0, Why::Scheme { .. })
    }

    /// Returns `true` if the host is the local machine, by name or by address, and isn't listed.
    #[must_use]
    pub fn is_this_machine(&self) -> bool {
        matches!(self.0, Why::ThisMachine { .. })
    }

    /// Returns `true` if the host's address isn't public: the one in the URL, or all to which its
    /// name resolves.
    #[must_use]
    pub fn is_address(&self) -> bool {
        matches!(self.0, Why::Address(_) | Why::Resolved { .. })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::UserInfo => f.write_str(
                "the URL holds a user's name or a password, which is not allowed: send them in a \
                 header",
            ),
            Why::Scheme { scheme, host: None } => write!(
                f,
                "the URL's scheme is `{scheme}`, but only http and https are allowed"
            ),
            Why::Scheme {
                scheme,
                host: Some(host),
            } => {
                let other = if scheme == "http" { "https" } else { "http" };
                write!(
                    f,
                    "`{host}` may not be asked by {scheme}, but by {other} only"
                )
            }
            Why::ThisMachine { host } => write!(
                f,
                "`{host}` is this machine, which may not be reached: it would have to be listed"
            ),
            Why::Address(address) => write!(
                f,
                "{address} may not be reached: it is not a public address, and in no network that \
                 is listed"
            ),
            Why::Host {
                host,
                nothing_is_allowed: true,
            } => write!(f, "`{host}` may not be reached: no host is allowed"),
            Why::Host { host, .. } => write!(
                f,
                "`{host}` may not be reached: it is not among the hosts that are allowed"
            ),
            Why::Port { host, port } => write!(
                f,
                "`{host}` may not be reached at port {port}: only at the ports that are listed"
            ),
            Why::Path { host } => write!(
                f,
                "`{host}` may not be asked for this path: only for the paths that are listed"
            ),
            Why::Resolved { host } => write!(
                f,
                "`{host}` may not be reached: none of its addresses is public or in a network that \
                 is listed"
            ),
        }
    }
}

impl StdError for Refused {}

/// The reason for which a text isn't a valid pattern. The message names the text and the valid
/// forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    pub(super) pattern: String,
    pub(super) why: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} can't be allowed: {}; it should be like https://api.example.com/v1/**, \
             https://*.example.com:8443 or 10.0.0.0/8",
            self.pattern, self.why
        )
    }
}

impl StdError for PatternError {}
