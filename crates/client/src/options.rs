//! The settings that the async and the blocking types share, defined once.

/// The methods that configure a request. The type has `fn plan(&mut self) -> &mut Plan`.
macro_rules! request_options {
    () => {
        /// Adds a header. It replaces a header of the same name that the client sends by default.
        /// If called twice with one name, both values are sent.
        pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
            self.plan().header(name.as_ref(), value.as_ref());
            self
        }

        /// Sends `Authorization: Bearer TOKEN`. A redirect to another origin drops it.
        pub fn bearer(self, token: impl AsRef<str>) -> Self {
            self.header("authorization", format!("Bearer {}", token.as_ref()))
        }

        /// Sends the token of this source, which is asked before each attempt: see
        /// [`Token`](crate::Token). A redirect to another origin drops it. The last call of
        /// `token`, [`bearer`](Self::bearer) and [`header`](Self::header) for `Authorization`
        /// counts, and one of the request replaces those of the client.
        pub fn token(mut self, token: $crate::Token) -> Self {
            self.plan().set_token(token);
            self
        }

        /// Appends a pair to the URL's query, percent-encoded.
        pub fn query(mut self, name: impl AsRef<str>, value: impl ToString) -> Self {
            self.plan().query(name.as_ref(), &value.to_string());
            self
        }

        /// Sends this `Accept` instead of the one that matches the chosen way to read the response.
        pub fn accept(self, media_types: impl AsRef<str>) -> Self {
            self.header("accept", media_types)
        }

        /// Requests this format, and reads the body in it regardless of its content type.
        pub fn format(mut self, format: $crate::Format) -> Self {
            self.plan().format = Some(format);
            self
        }

        /// Sends a body.
        pub fn body(mut self, body: impl Into<bytes::Bytes>) -> Self {
            self.plan().body = Some(body.into());
            self
        }

        /// Sends `body` as JSON, with `Content-Type: application/json` unless that header is
        /// already set. A float that isn't finite is an error.
        pub fn json<B: serde::Serialize + ?Sized>(mut self, body: &B) -> Self {
            let mut json = Vec::new();
            match headwater_wire::json::encode_on_one_line(body, &mut json) {
                Ok(()) => {
                    self.plan()
                        .default_header(http::header::CONTENT_TYPE, "application/json");
                    self.plan().body = Some(json.into());
                }
                Err(error) => {
                    let what = "the body can't be serialised as JSON";
                    self.plan()
                        .fail($crate::Error::request(what).with_source(error));
                }
            }
            self
        }

        /// If `true`, the request may be sent more than once although its method may change
        /// something on the server. A POST is then resumed like a GET. Default: `false`. (GET, HEAD
        /// and OPTIONS may always be sent again.)
        pub fn replay(mut self, replay: bool) -> Self {
            self.plan().replay = replay;
            self
        }

        /// Resumes after this event: the first request sends it as `Last-Event-ID`.
        pub fn last_event_id(mut self, id: impl AsRef<str>) -> Self {
            self.plan().last_event_id = id.as_ref().into();
            self
        }

        setting_options!(|request| &mut request.plan().settings);
    };
}

/// The methods that configure a request, or all requests of a client.
macro_rules! setting_options {
    (|$self:ident| $settings:expr) => {
        /// If `true`, an SSE stream that breaks, or that ends without an end mark, reconnects and
        /// resumes, and a stream whose first response is 502, 503 or 504 is requested again. Default:
        /// `true`. Other formats can't be resumed.
        pub fn reconnect(mut self, reconnect: bool) -> Self {
            let $self = &mut self;
            $settings.reconnect = reconnect;
            self
        }

        /// If `true`, the first connection is retried too. Default: `false`, so that a wrong URL or
        /// an unreachable server fails at once. A stream's first response of 502, 503 or 504 is retried
        /// in any case, unless [`reconnect`](Self::reconnect) is `false`.
        pub fn retry_first_connect(mut self, retry: bool) -> Self {
            let $self = &mut self;
            $settings.retry_first_connect = retry;
            self
        }

        /// Sets how many attempts to connect in a row may fail (no response, 5xx or 429) before the
        /// error is returned. At least 1. A first attempt counts if it is repeated: also a 429 or 503
        /// with `Retry-After` is, for all requests that are safe to repeat. Default: 10, which takes
        /// two to three minutes. An
        /// accepted response resets the count, so a stream that is quiet, or that ends repeatedly,
        /// is resumed without limit.
        pub fn max_attempts(mut self, attempts: u32) -> Self {
            let $self = &mut self;
            $settings.max_attempts = attempts;
            self
        }

        /// Sets the backoff before a reconnect. The wait is random: up to `base` the first time,
        /// and up to twice the previous bound each further time without an item in between, but at
        /// most `cap`. A server's `retry:` or `Retry-After` is the minimum, up to
        /// [`max_server_delay`](Self::max_server_delay). Default: 1 s and 30 s.
        pub fn backoff(mut self, base: std::time::Duration, cap: std::time::Duration) -> Self {
            let $self = &mut self;
            $settings.backoff.base = base;
            $settings.backoff.cap = cap;
            self
        }

        /// Sets the longest wait that a server may request by `retry:` or `Retry-After`. A longer
        /// one is reduced to it. Default: 60 s.
        pub fn max_server_delay(mut self, delay: std::time::Duration) -> Self {
            let $self = &mut self;
            $settings.backoff.max_server_delay = delay;
            self
        }

        /// Calls `tell` before each wait for another attempt, so that a program can report why no
        /// items arrive. The call runs in the task that drives the request, and should be quick.
        pub fn on_wait(mut self, tell: impl Fn(&$crate::Wait) + Send + Sync + 'static) -> Self {
            let $self = &mut self;
            $settings.on_wait = Some($crate::retry_wait::OnWait::new(tell));
            self
        }

        /// Sets the maximum time without a single byte, while waiting for the response or for more
        /// of its body. After it, SSE reconnects; elsewhere it is an error. The body of a response that isn't
        /// a success has this time in all. Default: 60 s. Zero disables it.
        pub fn idle_timeout(mut self, timeout: std::time::Duration) -> Self {
            let $self = &mut self;
            $settings.idle_timeout = timeout;
            self
        }

        /// Sets the maximum size of an item, in bytes without its framing. Default: 8 MiB.
        pub fn max_item_bytes(mut self, bytes: usize) -> Self {
            let $self = &mut self;
            $settings.limits.max_item_bytes = bytes;
            self
        }

        /// Sets the maximum nesting depth of a JSON item. Default: 127. If items are deserialised,
        /// `serde_json` limits the depth to 127 as well.
        pub fn max_depth(mut self, depth: usize) -> Self {
            let $self = &mut self;
            $settings.limits.max_depth = depth;
            self
        }

        /// Sets the maximum size of a body that is read as a whole, in bytes. Default: 16 MiB.
        pub fn max_body_bytes(mut self, bytes: usize) -> Self {
            let $self = &mut self;
            $settings.max_body_bytes = bytes;
            self
        }
    };
}

/// The methods that configure a client. The type has `fn parts(&mut self) -> &mut Parts`.
macro_rules! client_options {
    () => {
        /// Adds a header to every request that doesn't set it itself.
        pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
            self.parts().header(name.as_ref(), value.as_ref());
            self
        }

        /// Sends `Authorization: Bearer TOKEN` with every request. A redirect to another origin
        /// drops it.
        pub fn bearer(self, token: impl AsRef<str>) -> Self {
            self.header("authorization", format!("Bearer {}", token.as_ref()))
        }

        /// Sends the token of this source, which is asked before each attempt, with every request:
        /// see [`Token`](crate::Token). A redirect to another origin drops it, and a
        /// [gather](crate::gather()) doesn't send it. The last call of `token`,
        /// [`bearer`](Self::bearer) and [`header`](Self::header) for `Authorization` counts.
        pub fn token(mut self, token: $crate::Token) -> Self {
            self.parts().token(token);
            self
        }

        /// Sets the maximum time for connecting, including TLS. Default: 10 s.
        pub fn connect_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.parts().connect_timeout = timeout;
            self
        }

        /// Sets how long an unused connection is kept for later requests. Zero keeps none. Default:
        /// 90 s. Use less for calls to very many hosts, because each connection holds a file
        /// descriptor.
        pub fn keep_connections(mut self, time: std::time::Duration) -> Self {
            self.parts().keep_connections = Some(time);
            self
        }

        /// Trusts these certificates as additional roots for https: one or more in PEM. The
        /// platform's own roots remain trusted. Use it for a server whose certificate is
        /// self-signed or issued by a private authority.
        #[cfg(feature = "tls")]
        pub fn root_certificate(mut self, pem: impl AsRef<[u8]>) -> Self {
            self.parts().root_certificate(pem.as_ref());
            self
        }

        /// Restricts which hosts the client may reach: see [`Egress`](crate::Egress). A refused
        /// address is an error for which [`is_refused`](crate::Error::is_refused) is `true`. With
        /// egress rules no proxy is used. Default: no restriction.
        pub fn egress(mut self, egress: $crate::Egress) -> Self {
            self.parts().settings.egress = Some(egress);
            self
        }

        /// Speaks HTTP/2 with prior knowledge, also over cleartext. Default: HTTP/1.1, or the
        /// version that TLS negotiates.
        pub fn http2_prior_knowledge(mut self) -> Self {
            self.parts().http2_prior_knowledge = true;
            self
        }

        setting_options!(|client| &mut client.parts().settings);
    };
}

pub(crate) use {client_options, request_options, setting_options};
