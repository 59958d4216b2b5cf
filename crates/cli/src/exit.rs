use std::{fmt, process::ExitCode};

use headwater_client::{Error, Problem};

/// The exit codes that [`Failure`] returns. Shown by `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit status:
  0    the stream is complete, --max-items were printed, or the reader of the output closed it
  1    any other error
  2    the command line is wrong
  3    the body was cut: the output is incomplete
  4    the server responded with an error status
  5    no data arrived for the idle timeout, or connecting took too long
  130  ended by Ctrl-C (SIGINT); 143 by SIGTERM";

/// The exit codes of the commands for a hub. Shown by their `--help`.
pub(crate) const HUB_EXIT_CODES: &str = "\
Exit status:
  0    success, or the reader of the output closed it
  1    the hub can't be reached, or any other error
  2    the command line is wrong
  3    the connection broke, and nothing could be resumed
  4    the hub refused: no such stream, it is closed, the producer has
       published other messages, or another run of it has taken over, …
  5    the hub took too long
  130  ended by Ctrl-C (SIGINT); 143 by SIGTERM";

/// The exit codes of the commands that only use local files. Shown by their `--help`.
pub(crate) const LOCAL_EXIT_CODES: &str = "\
Exit status:
  0    success, or the reader of the output closed it
  1    a file can't be read or written, there is no such key, or any other error
  2    the command line is wrong";

/// The exit codes of `gather`. Shown by its `--help`.
pub(crate) const GATHER_EXIT_CODES: &str = "\
Exit status:
  0    every call succeeded, or the reader of the output closed it
  1    the calls can't be read, or the results can't be written
  2    the command line is wrong
  4    some calls failed; their results contain the reason
  130  ended by Ctrl-C (SIGINT), 143 by SIGTERM; the output has whole lines only";

/// The reason for which a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// `None` if there is nothing to report.
    message: Option<String>,
}

impl Failure {
    pub(crate) fn other(message: impl fmt::Display) -> Self {
        Self {
            code: 1,
            message: Some(message.to_string()),
        }
    }

    /// The arguments are invalid in combination.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self {
            code: 2,
            ..Self::other(message)
        }
    }

    /// Prefixes the message with its subject.
    pub(crate) fn about(mut self, what: &str) -> Self {
        if let Some(message) = &mut self.message {
            message.insert_str(0, &format!("{what}: "));
        }
        self
    }

    /// Appends to the message.
    pub(crate) fn with(mut self, more: &str) -> Self {
        if let Some(message) = &mut self.message {
            message.push_str(more);
        }
        self
    }

    /// The hub refuses the request.
    pub(crate) fn refused(message: impl fmt::Display) -> Self {
        Self {
            code: 4,
            ..Self::other(message)
        }
    }

    /// A signal ended the command; the shell's convention is 128 plus its number.
    pub(crate) fn signal(number: u8) -> Self {
        Self {
            code: 128 + number,
            message: None,
        }
    }

    /// Some items were damaged, and have already been reported.
    pub(crate) fn damaged() -> Self {
        Self {
            code: 1,
            message: None,
        }
    }

    /// The last item is incomplete, and has already been reported.
    pub(crate) fn cut() -> Self {
        Self {
            code: 3,
            message: None,
        }
    }

    /// Some calls failed; their results have the errors.
    pub(crate) fn calls() -> Self {
        Self {
            code: 4,
            message: None,
        }
    }

    /// Prints the message and returns the exit status.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(message) = self.message {
            report!("headwater: {message}");
        }
        ExitCode::from(self.code)
    }
}

/// The advice for a request that the server refuses for lack of credentials or permission, in a
/// response or in the middle of a stream.
fn denial(error: &Error) -> Option<&'static str> {
    // A 403 in a stream is that of an upstream.
    let in_stream = || {
        let status = error.problem().and_then(Problem::status);
        status.filter(|status| *status == 401)
    };
    match error
        .status()
        .map(|status| status.as_u16())
        .or_else(in_stream)?
    {
        401 => Some(
            "\n(--token-file, --token or HEADWATER_TOKEN names the token for a server that requires one)",
        ),
        403 => Some(
            "\n(if another token is allowed to: --token-file, --token or HEADWATER_TOKEN names it)",
        ),
        _ => None,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let denial = denial(&error);
        let code = if error.is_timeout() {
            5
        } else if error.is_status()
            || denial.is_some()
            || error.is_stream_closed()
            || error.is_fenced()
            || error.is_not_repeated()
            || error.is_forgotten()
        {
            4
        } else if error.is_truncated() {
            3
        } else {
            1
        };
        let hint = if let Some(hint) = denial {
            hint
        } else if error.is_content_type() {
            "\n(--raw prints any body as it is, --format reads it as what you name)"
        } else if error.is_message_not_json() {
            "\n(--text sends any line or message as a JSON string)"
        } else {
            ""
        };
        Self {
            code,
            message: Some(format!("{error}{hint}")),
        }
    }
}
