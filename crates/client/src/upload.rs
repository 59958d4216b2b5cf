//! A request with a body of any length, which is read while it is sent.

use bytes::Bytes;
use futures_core::Stream;
use http::header;
use serde::de::DeserializeOwned;

use crate::{
    Request,
    error::Error,
    exchange::connect_error,
    items::deserialize_json,
    session::{readable_type, refusal},
};

/// Maximum number of bytes of the response.
const MAX_BODY: usize = 64 * 1024;

impl Request {
    /// Sends the request with this body, and deserialises the JSON of the response. It is sent once: no failure is retried,
    /// and no redirect is followed, as the body can't be read again. There is no timeout, because the server
    /// answers when it has everything.
    ///
    /// # Errors
    /// The server can't be reached, responds with an error status, or the response isn't a `T`.
    #[doc(hidden)]
    pub async fn upload<T: DeserializeOwned>(
        self,
        body: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<T, Error> {
        let (http, plan) = self.into_parts()?;
        let mut request = plan.request("")?;
        if let Some(token) = plan.token() {
            let bearer = token.clone().ask(None).await?;
            let headers = request.headers_mut();
            headers.insert(header::AUTHORIZATION, bearer.header()?);
        }
        *request.body_mut() = Some(reqwest::Body::wrap_stream(body));
        let mut response = http.execute(request).await.map_err(connect_error)?;
        let mut body = Vec::new();
        while body.len() < MAX_BODY
            && let Some(chunk) = response.chunk().await.map_err(connect_error)?
        {
            body.extend_from_slice(&chunk);
        }
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(status, &readable_type(response.headers()), &body));
        }
        deserialize_json(&String::from_utf8_lossy(&body), None)
    }
}
