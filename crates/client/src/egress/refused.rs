use std::net::IpAddr;

/// The reason for which a URL may not be reached. The message describes the fault and the remedy.
/// It never contains the URL's user, password, path or query.
///
/// It is the source of a client's error for which [`is_refused`](crate::Error::is_refused) is
/// `true`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct Refused(pub(super) Why);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Why {
    #[error(
        "the URL holds a user's name or a password, which is not allowed: send them in a header"
    )]
    UserInfo,
    #[error("the URL's scheme is `{scheme}`, but only http and https are allowed")]
    Scheme { scheme: String },
    #[error("`{host}` may not be asked by {scheme}, but by {} only", other(scheme))]
    OtherScheme { scheme: String, host: String },
    #[error("`{host}` is this machine, which may not be reached: it would have to be listed")]
    ThisMachine { host: String },
    #[error("{0} may not be reached: it is not a public address, and in no network that is listed")]
    Address(IpAddr),
    #[error("`{host}` may not be reached: no host is allowed")]
    AnyHost { host: String },
    #[error("`{host}` may not be reached: it is not among the hosts that are allowed")]
    Host { host: String },
    #[error("`{host}` may not be reached at port {port}: only at the ports that are listed")]
    Port { host: String, port: u16 },
    #[error("`{host}` may not be asked for this path: only for the paths that are listed")]
    Path { host: String },
    /// The name resolves to no allowed address.
    #[error(
        "`{host}` may not be reached: none of its addresses is public or in a network that is listed"
    )]
    Resolved { host: String },
}

fn other(scheme: &str) -> &'static str {
    if scheme == "http" { "https" } else { "http" }
}

impl Refused {
    headwater_wire::predicates! { error => error.0;
        /// Returns `true` if the URL contains a user's name or a password.
        is_user_info: Why::UserInfo,
        /// Returns `true` if the scheme is not `http` or `https`, or not the one that is allowed for
        /// the host.
        is_scheme: Why::Scheme { .. } | Why::OtherScheme { .. },
        /// Returns `true` if the host is the local machine, by name or by address, and isn't listed.
        is_this_machine: Why::ThisMachine { .. },
        /// Returns `true` if the host's address isn't public: the one in the URL, or all to which its
        /// name resolves.
        is_address: Why::Address(_) | Why::Resolved { .. },
    }
}

/// The reason for which a text isn't a valid pattern. The message names the text and the valid
/// forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{pattern:?} can't be allowed: {why}; it should be like https://api.example.com/v1/**, \
     https://*.example.com:8443 or 10.0.0.0/8"
)]
pub struct PatternError {
    pub(super) pattern: String,
    pub(super) why: String,
}
