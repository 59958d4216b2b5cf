//! The keys of tokens by an https URL whose certificate is of a private authority.

use axum::{Json, Router, routing::get};
use headwater::Tls;
use headwater_hub::JwksUrlError;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::json;
use tokio::sync::oneshot;

use super::{
    jwks::{IssuerKey, auth, is_accepted, read, until},
    *,
};

/// A certificate authority of its own.
struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("it is random");
        let mut params = CertificateParams::new(Vec::new()).expect("it has no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("it can sign");
        Self {
            pem: certificate.pem(),
            issuer: rcgen::Issuer::new(params, key),
        }
    }

    /// Returns a certificate for this machine, and its key.
    fn certify(&self) -> Tls {
        let key = KeyPair::generate().expect("it is random");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("it is an address");
        let certificate = params.signed_by(&key, &self.issuer);
        let certificate = certificate.expect("it can sign");
        Tls::from_pem(certificate.pem(), key.serialize_pem()).expect("they belong together")
    }
}

/// Serves the key as a JWK Set over https until the test ends. Returns the URL.
async fn serve(authority: &Authority, key: &IssuerKey) -> String {
    let set = json!({"keys": [key.jwk]});
    let app = Router::new().route("/jwks", get(async move || Json(set)));
    let (tell, told) = oneshot::channel();
    let server = headwater::serve(app, "127.0.0.1:0").tls(authority.certify());
    let server = server.quiet().shutdown_on(std::future::pending());
    let server = server.on_bound(|address| _ = tell.send(address.to_string()));
    tokio::spawn(server.into_future());
    let url = told.await.expect("it is bound");
    assert!(url.starts_with("https://"), "{url}");
    format!("{}/jwks", url.trim_end_matches('/'))
}

/// Returns a hub that follows the keys, with this authority besides those of the system.
fn hub_of(url: &str, authority: Option<&Authority>) -> Server {
    let auth = auth().jwks_url(url).expect("it is a URL");
    let auth = match authority {
        Some(authority) => auth.jwks_ca(&authority.pem).expect("it is a certificate"),
        None => auth,
    };
    Server::with(Options::new().auth(auth.jwks_clock(50)))
}

#[tokio::test]
async fn keys_are_fetched_only_with_the_authority_of_the_issuers_certificate() {
    let (ours, other) = (Authority::new(), Authority::new());
    let key = IssuerKey::new("a");
    let url = serve(&ours, &key).await;
    let token = key.token();
    for untrusting in [None, Some(&other)] {
        let hub = hub_of(&url, untrusting);
        for _ in 0..3 {
            assert_eq!(read(&hub, &token).await.status(), 503);
        }
        assert_eq!(hub.client.get("/readyz").send().await.status(), 503);
    }
    let both = Authority {
        pem: format!("{}\n{}", other.pem, ours.pem),
        ..other
    };
    for authority in [&ours, &both] {
        let hub = hub_of(&url, Some(authority));
        until("the keys are fetched", async || {
            is_accepted(&hub, &token).await
        })
        .await;
        assert_eq!(hub.client.get("/readyz").send().await.status(), 200);
    }
}

#[test]
fn the_error_says_what_is_wrong_with_an_authority() {
    let url = "https://id.example.com/jwks?tenant=secret";
    let at = |url: &str, pem: &str| -> Result<(), JwksUrlError> {
        auth().jwks_url(url)?.jwks_ca(pem).map(drop)
    };
    let good = Authority::new().pem;
    assert!(at(url, &good).is_ok());
    let key = KeyPair::generate().expect("it is random").serialize_pem();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (url, pem, part) in [
        (url, "", "no PEM section `CERTIFICATE`"),
        (url, "id.example.com", "no PEM section `CERTIFICATE`"),
        (url, &key, "no PEM section `CERTIFICATE`"),
        (url, "-----BEGIN CERTIFICATE-----\nAA", "not valid PEM"),
        (url, broken, "certificate"),
        ("http://localhost/jwks", &good, "this URL is http"),
    ] {
        let error = at(url, pem).expect_err(part).to_string();
        assert!(error.contains(part) && !error.contains("secret"), "{error}");
    }
    let error = auth().jwks_ca(&good).expect_err("there is no URL");
    assert!(
        error.to_string().contains("call `jwks_url` before"),
        "{error}"
    );
}
