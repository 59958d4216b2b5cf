//! The settings that the async and the blocking types share, written once.

/// The methods that configure a request. The type has `fn plan(&mut self) -> &mut Plan`.
macro_rules! request_options {
    () => {
        /// Adds a header. It takes the place of a header of this name that the client sends by
        /// default; given twice, both are sent.
        pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
            self.plan().header(name.as_ref(), value.as_ref());
            self
        }

        /// Sends `Authorization: Bearer TOKEN`. After a redirect to another host it isn't sent.
        pub fn bearer(self, token: impl AsRef<str>) -> Self {
            self.header("authorization", format!("Bearer {}", token.as_ref()))
        }

        /// Appends a pair to the URL's query, percent-encoded.
        pub fn query(mut self, name: impl AsRef<str>, value: impl ToString) -> Self {
            self.plan().query(name.as_ref(), &value.to_string());
            self
        }

        /// Sends this `Accept` and not the one that fits what is read.
        pub fn accept(self, media_types: impl AsRef<str>) -> Self {
            self.header("accept", media_types)
        }

        /// Reads the body in this format, whatever its content type, and asks for it.
        pub fn format(mut self, format: $crate::Format) -> Self {
            self.plan().format = Some(format);
            self
        }

        /// Sends a body.
        pub fn body(mut self, body: impl Into<bytes::Bytes>) -> Self {
            self.plan().body = Some(body.into());
            self
        }

        /// Sends `body` as JSON, as `Content-Type: application/json` unless one was set before. A float that isn't finite
        /// is an error.
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

        /// Whether the request may be sent more than once though its method may change something
        /// on the server: then a POST is taken up again like a GET. Default: no. (GET, HEAD and
        /// OPTIONS always may.)
        pub fn replay(mut self, replay: bool) -> Self {
            self.plan().replay = replay;
            self
        }

        /// Resumes after this event: the first request has it as `Last-Event-ID`.
        pub fn last_event_id(mut self, id: impl AsRef<str>) -> Self {
            self.plan().last_event_id = id.as_ref().into();
            self
        }

        setting_options!(|request| &mut request.plan().settings);
    };
}

/// The methods that configure a request or, for all its requests, a client.
macro_rules! setting_options {
    (|$self:ident| $settings:expr) => {
        /// Whether an SSE stream that breaks, or ends without saying that it is finished, is taken
        /// up again where it was. Default: yes. Other formats can't be resumed.
        pub fn reconnect(mut self, reconnect: bool) -> Self {
            let $self = &mut self;
            $settings.reconnect = reconnect;
            self
        }

        /// Whether the first connection, too, is tried again. Default: no, so that a wrong URL or a
        /// server that isn't there is seen at once.
        pub fn retry_first_connect(mut self, retry: bool) -> Self {
            let $self = &mut self;
            $settings.retry_first_connect = retry;
            self
        }

        /// How often in a row connecting may fail (no response, 5xx or 429) before the error is
        /// given. At least 1; default: 10, which is two to three minutes. A response that is
        /// accepted starts the count anew, so a stream that is quiet, or ends again and again, is
        /// taken up without limit.
        pub fn max_attempts(mut self, attempts: u32) -> Self {
            let $self = &mut self;
            $settings.max_attempts = attempts;
            self
        }

        /// The time to wait before a reconnect: anything up to `base` the first time, up to twice
        /// as much each time after that without an item in between, but never more than up to
        /// `cap`. A server's `retry:` or `Retry-After` is the least, up to
        /// [`max_server_delay`](Self::max_server_delay). Default: 1 s and 30 s.
        pub fn backoff(mut self, base: std::time::Duration, cap: std::time::Duration) -> Self {
            let $self = &mut self;
            $settings.backoff.base = base;
            $settings.backoff.cap = cap;
            self
        }

        /// The longest wait that a server may ask for by `retry:` or `Retry-After`. A longer one is cut to
        /// it. Default: 60 s.
        pub fn max_server_delay(mut self, delay: std::time::Duration) -> Self {
            let $self = &mut self;
            $settings.backoff.named_cap = delay;
            self
        }

        /// Calls `tell` before each wait for another attempt: a program can so say why nothing comes.
        /// It is called where the request is driven, and should be quick.
        pub fn on_wait(mut self, tell: impl Fn(&$crate::Wait) + Send + Sync + 'static) -> Self {
            let $self = &mut self;
            $settings.on_wait = Some($crate::wait::OnWait::new(tell));
            self
        }

        /// How long to wait without a single byte: for the response and for more of its body. Then
        /// SSE reconnects; elsewhere it is an error. Default: 60 s; zero turns it off.
        pub fn idle_timeout(mut self, timeout: std::time::Duration) -> Self {
            let $self = &mut self;
            $settings.idle_timeout = timeout;
            self
        }

        /// The largest item, in bytes without its framing. Default: 8 MiB.
        pub fn max_item_bytes(mut self, bytes: usize) -> Self {
            let $self = &mut self;
            $settings.limits.max_item_bytes = bytes;
            self
        }

        /// How deep a JSON item may nest. Default: 128. Where items are deserialised, `serde_json`
        /// goes no deeper than 127.
        pub fn max_depth(mut self, depth: usize) -> Self {
            let $self = &mut self;
            $settings.limits.max_depth = depth;
            self
        }

        /// The largest body that is read as a whole, in bytes. Default: 16 MiB.
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
        /// A header for every request that doesn't set it itself.
        pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
            self.parts().header(name.as_ref(), value.as_ref());
            self
        }

        /// Sends `Authorization: Bearer TOKEN` with every request. After a redirect to another host
        /// it isn't sent.
        pub fn bearer(self, token: impl AsRef<str>) -> Self {
            self.header("authorization", format!("Bearer {}", token.as_ref()))
        }

        /// How long connecting may take, TLS included. Default: 10 s.
        pub fn connect_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.parts().connect_timeout = timeout;
            self
        }

        /// How long a connection that isn't used is kept for the next request. Zero: it isn't. Default:
        /// 90 s. Who speaks to very many hosts wants less, as each holds a file descriptor.
        pub fn keep_connections(mut self, time: std::time::Duration) -> Self {
            self.parts().keep_connections = Some(time);
            self
        }

        /// Trusts these certificates, too, as roots of https: PEM, one or more. Beside the
        /// platform's own, which are trusted in any case. For a server that has its certificate
        /// from an authority of your own, or has signed it itself.
        #[cfg(feature = "tls")]
        pub fn root_certificate(mut self, pem: impl AsRef<[u8]>) -> Self {
            self.parts().root_certificate(pem.as_ref());
            self
        }

        /// Which hosts it may reach: see [`Egress`](crate::Egress). What isn't allowed is an error
        /// that is [`is_refused`](crate::Error::is_refused). With this, no proxy is asked. Default:
        /// anywhere.
        pub fn egress(mut self, egress: $crate::Egress) -> Self {
            self.parts().settings.egress = Some(egress);
            self
        }

        /// Speaks HTTP/2 without asking first, also over cleartext. Default: HTTP/1.1, or what TLS
        /// agrees on.
        pub fn http2_prior_knowledge(mut self) -> Self {
            self.parts().http2_prior_knowledge = true;
            self
        }

        setting_options!(|client| &mut client.parts().settings);
    };
}

pub(crate) use {client_options, request_options, setting_options};
