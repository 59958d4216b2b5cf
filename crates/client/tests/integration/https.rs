//! https: trusted servers, and the end of a body under TLS.

use std::{env, net::TcpStream, process::Command, sync::Arc};

use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivatePkcs8KeyDer};

use crate::{
    server::{Call, Server},
    twins::{cut_short, good},
};

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A server with a self-signed certificate for `name`, and the certificate as PEM.
fn server(name: &str, answer: impl Fn(&mut Call) + Send + Sync + 'static) -> (Server, String) {
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let wrap = move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        Box::new(Tls::new(connection, stream)) as _
    };
    (Server::over("https", wrap, answer), certified.cert.pem())
}

/// A server that a client can trust.
fn local(answer: impl Fn(&mut Call) + Send + Sync + 'static) -> (Server, String) {
    server("127.0.0.1", answer)
}

fn two_items(call: &mut Call) {
    call.start("application/x-ndjson");
    call.chunk("1\n2\n");
    call.end();
}

twins! {
    fn a_server_with_a_trusted_certificate_is_read() {
        let (server, pem) = local(two_items);
        let (_, other) = local(two_items);
        let client = client::Client::builder().root_certificate(other + &pem).build().unwrap();
        assert_eq!(good(all(wait(client.get(server.url("/")).stream::<u32>()))), [1, 2]);
    }

    fn an_untrusted_certificate_is_refused_before_anything_is_sent() {
        let (server, _) = local(two_items);
        let error = wait(client::get(server.url("/")).bearer("secret").stream::<u32>()).unwrap_err();
        assert!(error.is_connect(), "{error}");
        assert!(error.to_string().contains("UnknownIssuer"), "{error}");
        assert!(server.requests().is_empty());
    }

    fn a_certificate_for_another_name_is_refused() {
        let (server, pem) = server("elsewhere.example", two_items);
        let client = client::Client::builder().root_certificate(pem).build().unwrap();
        let error = wait(client.get(server.url("/")).stream::<u32>()).unwrap_err();
        assert!(error.is_connect(), "{error}");
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }

    fn a_truncated_body_under_tls_is_an_error() {
        let (server, pem) = local(|call| {
            call.start("application/x-ndjson");
            call.chunk("1\n");
        });
        let client = client::Client::builder().root_certificate(pem).build().unwrap();
        let (items, error) = cut_short(all(wait(client.get(server.url("/")).stream::<u32>())));
        assert_eq!(items, [1]);
        assert!(error.is_truncated(), "{error}");
    }

    /// Without TLS such an end can't be told from a break.
    fn a_body_that_ends_with_its_connection_is_complete_only_with_a_tls_close() {
        let (server, pem) = local(|call| {
            call.write("HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n1\n");
        });
        let client = client::Client::builder().root_certificate(pem).build().unwrap();
        let (items, error) = cut_short(all(wait(client.get(server.url("/")).stream::<u32>())));
        assert_eq!(items, [1]);
        assert!(error.is_truncated(), "{error}");
    }

    fn an_invalid_root_certificate_is_an_error_of_the_settings() {
        for (pem, wanted) in [
            ("", "holds no PEM section `CERTIFICATE`"),
            ("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n", "is not valid PEM"),
        ] {
            let error = client::Client::builder().root_certificate(pem).build().unwrap_err();
            assert!(error.is_request(), "{error}");
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }
}

#[test]
fn without_platform_certificates_http_works_and_no_https_server_is_trusted() {
    const NAME: &str =
        "https::without_platform_certificates_http_works_and_no_https_server_is_trusted";
    if env::var_os("SSL_CERT_FILE").is_none_or(|file| file != "/dev/null") {
        // The environment variables for the platform's certificates belong to the whole process.
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env("SSL_CERT_FILE", "/dev/null")
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("1 passed"), "{text}");
        return;
    }
    use headwater_client::blocking::{Client, get};
    let plain = Server::answering("application/x-ndjson", "1\n");
    assert_eq!(get(plain.url("/")).text().unwrap(), "1\n");
    let (server, pem) = local(two_items);
    let error = get(server.url("/")).text().unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    let client = Client::builder().root_certificate(pem).build().unwrap();
    assert_eq!(client.get(server.url("/")).text().unwrap(), "1\n2\n");
}
