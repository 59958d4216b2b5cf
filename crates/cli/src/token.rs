//! The token of the commands that are clients: from an option, a file or the environment.

use std::{env, ffi::OsString, path::PathBuf};

use clap::Args as ClapArgs;
use headwater_client::{Token, Url};

use crate::exit::Failure;

/// The variable that has a token.
pub(crate) const TOKEN: &str = "HEADWATER_TOKEN";
/// The variable that names a file with a token.
pub(crate) const TOKEN_FILE: &str = "HEADWATER_TOKEN_FILE";

#[derive(ClapArgs, Clone, Default)]
#[command(next_help_heading = "Authentication")]
pub(crate) struct TokenArgs {
    #[allow(
        clippy::doc_markdown,
        reason = "it is shown as it stands, not rendered"
    )]
    /// Send this token; `ps` shows it, so prefer HEADWATER_TOKEN or a file
    ///
    /// It is sent as `Authorization: Bearer TOKEN`, to the server that the command names and to no
    /// other. The arguments of a command are visible to all users of the machine: prefer the
    /// variable HEADWATER_TOKEN, or --token-file.
    #[arg(
        long,
        value_name = "TOKEN",
        global = true,
        conflicts_with = "token_file"
    )]
    token: Option<String>,

    #[allow(
        clippy::doc_markdown,
        reason = "it is shown as it stands, not rendered"
    )]
    /// Send the token in this file; HEADWATER_TOKEN_FILE names one, too
    ///
    /// It is read again for each request and each reconnect, so that it can be replaced while the
    /// command runs. Line breaks at its end are ignored.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// Returns `true` if an option names the token.
    pub(crate) fn is_given(&self) -> bool {
        self.token.is_some() || self.token_file.is_some()
    }

    /// The source of tokens for requests with these headers to this URL. Credentials of their own
    /// replace a token from the environment, and exclude an option.
    pub(crate) fn source(
        &self,
        headers: &[(String, String)],
        url: &str,
    ) -> Result<Option<Token>, Failure> {
        self.with_environment(headers, url, |name| env::var_os(name))
    }

    fn with_environment(
        &self,
        headers: &[(String, String)],
        url: &str,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Token>, Failure> {
        let has_header = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let given = match (&self.token, &self.token_file) {
            // The parser doesn't notice it if one of them is before a subcommand.
            (Some(_), Some(_)) => {
                return Err(Failure::usage(
                    "--token and --token-file can't be used together",
                ));
            }
            (Some(token), None) => Some(Token::fixed(token)),
            (None, Some(path)) => Some(Token::from_file(path)),
            (None, None) => None,
        };
        match given {
            Some(_) if has_header => Err(Failure::usage(
                "--header 'Authorization: …' can't be used with --token or --token-file",
            )),
            Some(token) => Ok(Some(token)),
            None if has_header || has_credentials(url) => Ok(None),
            None => from_environment(variable),
        }
    }
}

/// The token that the environment names. An empty variable counts as unset.
fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Token>, Failure> {
    let value = |name| variable(name).filter(|value| !value.is_empty());
    match (value(TOKEN), value(TOKEN_FILE)) {
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "{TOKEN} and {TOKEN_FILE} are both set: unset one of them"
        ))),
        (Some(token), None) => match token.into_string() {
            Ok(token) => Ok(Some(Token::fixed(token))),
            Err(_) => Err(Failure::usage(format!("{TOKEN} is not UTF-8"))),
        },
        (None, Some(path)) => Ok(Some(Token::from_file(path))),
        (None, None) => Ok(None),
    }
}

fn has_credentials(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The source of a command with these options, headers and variables, or its error.
    fn source(
        options: (Option<&str>, Option<&str>),
        headers: &[&str],
        variables: &[(&str, &str)],
    ) -> String {
        let args = TokenArgs {
            token: options.0.map(str::to_owned),
            token_file: options.1.map(PathBuf::from),
        };
        let headers: Vec<_> = headers
            .iter()
            .map(|name| ((*name).to_owned(), "Bearer x".to_owned()))
            .collect();
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| OsString::from(value))
        };
        match args.with_environment(&headers, "http://a/", variable) {
            Ok(None) => "none".to_owned(),
            Ok(Some(token)) => format!("{token:?}"),
            Err(failure) => format!("{failure:?}"),
        }
    }

    #[test]
    fn an_option_precedes_the_environment() {
        let fixed = "Token::fixed(..)";
        let file = "Token::from_file(\"f\")";
        let both = [(TOKEN, "t"), (TOKEN_FILE, "g")];
        assert_eq!(source((None, None), &["x-a"], &[]), "none");
        assert_eq!(source((Some("t"), None), &[], &both), fixed);
        assert_eq!(source((None, Some("f")), &["x-a"], &both), file);
        assert_eq!(source((None, None), &[], &[(TOKEN, "t")]), fixed);
        assert_eq!(source((None, None), &[], &[(TOKEN_FILE, "f")]), file);
        let empty = [(TOKEN, ""), (TOKEN_FILE, "f")];
        assert_eq!(source((None, None), &[], &empty), file);
        assert!(source((None, None), &[], &both).contains("are both set"));
        assert!(source((Some("t"), Some("f")), &[], &[]).contains("together"));
    }

    #[test]
    fn credentials_of_the_request_replace_the_environments_and_exclude_an_option() {
        let variables = [(TOKEN, "t")];
        assert_eq!(source((None, None), &["AUTHORIZATION"], &variables), "none");
        for options in [(Some("t"), None), (None, Some("f"))] {
            let error = source(options, &["authorization"], &[]);
            assert!(error.contains("code: 2") && error.contains("can't be used with"));
        }
        assert!(has_credentials("http://me:pw@a/") && has_credentials("http://me@a/"));
        assert!(!has_credentials("http://a/me:pw@") && !has_credentials("no URL"));
    }
}
