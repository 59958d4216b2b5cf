//! Bearer tokens: their sources, and the decision that follows a refused one.

mod bearer;
mod file;
mod renewal;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, pin::Pin, sync::Arc};

pub(crate) use self::{bearer::Bearer, renewal::Renewal};
use crate::error::{Error, Kind, Source as Cause};

/// The maximum length of a token, in bytes: 16 KiB.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A source of bearer tokens, for [`ClientBuilder::token`](crate::ClientBuilder::token),
/// [`Request::token`](crate::Request::token) and [`hub::Stream::token`](crate::hub::Stream::token).
///
/// The client asks it for a token before each attempt (each request, retry and reconnect) and sends
/// that as `Authorization: Bearer TOKEN`. If the server refuses the token with 401, or ends an SSE
/// stream because the token has expired, the client asks again and continues where it was: see
/// [the crate's guarantees](crate#defaults-and-guarantees).
///
/// A token has at least one byte, at most [`MAX_TOKEN_BYTES`], no control character, and no white
/// space around it; another is an error for which [`is_token`](crate::Error::is_token) is `true`.
/// Tokens appear in no `Debug` output and in no error of this crate.
///
/// Clones are cheap and share the source.
///
/// ```no_run
/// use headwater_client::{Client, Token};
///
/// # async fn run() -> Result<(), headwater_client::Error> {
/// let client = Client::builder()
///     .token(Token::from_file("/run/secrets/hub-token"))
///     .build()?;
/// let mut orders = client.stream("https://hub.example/streams/orders").reader().open_raw().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Token(Arc<Source>);

enum Source {
    Fixed(String),
    File(PathBuf),
    Call(Call),
}

type Call = Box<dyn Fn(TokenRequest) -> Asking + Send + Sync>;
type Asking = Pin<Box<dyn Future<Output = Result<String, Cause>> + Send>>;

impl Token {
    /// Creates a source that always returns this token. Once the server has refused it, the request
    /// ends with the server's error.
    #[must_use]
    pub fn fixed(token: impl Into<String>) -> Self {
        Self(Arc::new(Source::Fixed(token.into())))
    }

    /// Creates a source that reads this file before each attempt, so that a rotated token is used
    /// from the next attempt on. Line breaks at the end of the file are ignored.
    ///
    /// It must be a regular file, or a link to one, of at most [`MAX_TOKEN_BYTES`] besides the line
    /// breaks. An error names the file.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Source::File(path.into())))
    }

    /// Creates a source from a function. It runs in the task that drives the request, so it must not
    /// block: [`from_async_fn`](Self::from_async_fn) may wait. With a blocking client it may block.
    ///
    /// An error of the function counts as a failed attempt to connect, and is retried like one. Its
    /// message is shown, so it must not contain a token.
    ///
    /// ```
    /// use headwater_client::Token;
    ///
    /// let token = Token::from_fn(|_| {
    ///     std::env::var("HUB_TOKEN").map_err(|_| "HUB_TOKEN is not set")
    /// });
    /// ```
    #[must_use]
    pub fn from_fn<F, E>(get: F) -> Self
    where
        F: Fn(TokenRequest) -> Result<String, E> + Send + Sync + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::call(move |request| {
            let token = get(request).map_err(Into::into);
            Box::pin(std::future::ready(token))
        })
    }

    /// Creates a source from an async function. Its errors are handled as those of
    /// [`from_fn`](Self::from_fn).
    ///
    /// # Cancel safety
    /// The client drops the function's future if the request is dropped, or if the future takes
    /// longer than the [idle timeout](crate::ClientBuilder::idle_timeout). A function with a cache
    /// must leave it valid in that case.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use headwater_client::{Token, TokenRequest};
    /// use tokio::sync::Mutex;
    ///
    /// # async fn log_in() -> Result<String, std::io::Error> { Ok("secret".to_owned()) }
    /// let cache = Arc::new(Mutex::new(None));
    /// let token = Token::from_async_fn(move |request: TokenRequest| {
    ///     let cache = Arc::clone(&cache);
    ///     async move {
    ///         let mut cached = cache.lock().await;
    ///         // Another request may have replaced the refused token already.
    ///         cached.take_if(|token: &mut String| request.refused() == Some(token.as_str()));
    ///         if let Some(token) = &*cached {
    ///             return Ok(token.clone());
    ///         }
    ///         let token = log_in().await?;
    ///         *cached = Some(token.clone());
    ///         Ok::<_, std::io::Error>(token)
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn from_async_fn<F, R, E>(get: F) -> Self
    where
        F: Fn(TokenRequest) -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::call(move |request| {
            let asking = get(request);
            Box::pin(async move { asking.await.map_err(Into::into) })
        })
    }

    fn call(call: impl Fn(TokenRequest) -> Asking + Send + Sync + 'static) -> Self {
        Self(Arc::new(Source::Call(Box::new(call))))
    }

    /// Asks for a token. `refused` is the last one, if the server has refused it.
    ///
    /// # Errors
    /// The source fails, or its token can't be sent.
    pub(crate) async fn ask(self, refused: Option<Bearer>) -> Result<Bearer, Error> {
        match &*self.0 {
            Source::Fixed(token) => Bearer::new(token.clone()),
            Source::File(path) => file::read(path.clone()).await,
            Source::Call(call) => {
                let request = TokenRequest {
                    refused: refused.map(Bearer::into_text),
                };
                let token = call(request).await;
                Bearer::new(token.map_err(|error| failed("its source failed").with_source(error))?)
            }
        }
    }
}

/// Shows the kind of the source, and the path of a file; never a token.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Source::Fixed(_) => f.write_str("Token::fixed(..)"),
            Source::File(path) => write!(f, "Token::from_file({path:?})"),
            Source::Call(_) => f.write_str("Token::from_fn(..)"),
        }
    }
}

/// A client's request to a [source of tokens](Token).
#[derive(Clone)]
pub struct TokenRequest {
    refused: Option<String>,
}

impl TokenRequest {
    /// The token that this client sent last, if the server has refused it since. A source with a
    /// cache must not return it again: that ends the request with the server's error.
    ///
    /// `None` if the last token was accepted, or if this is the first.
    #[must_use]
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

/// Doesn't show the token.
impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest")
            .field("is_refused", &self.refused.is_some())
            .finish()
    }
}

/// The error of a missing or invalid token.
fn failed(what: impl fmt::Display) -> Error {
    Error::new(Kind::Token(format!("there is no token to send: {what}")))
}
