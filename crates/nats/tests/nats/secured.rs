//! Servers that require TLS, users, tokens, keys or credentials files, and a domain.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use headwater_nats::{Durability, NatsOptions};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa};
use serde_json::{Value, json};

use crate::servers::Servers;
use crate::support::{all, append, fresh, name, open_log, plain, quick_folder, run, try_open};

/// Checks that a log can be opened, written and read.
fn check(options: &NatsOptions) {
    let log = open_log(options);
    let stream = name("s");
    run(async {
        use headwater_log::Log;
        log.create(&stream, plain()).await.unwrap();
        append(&log, &stream, &["a"]).await;
        assert_eq!(all(&log, &stream).await, ["a"]);
    });
}

fn refused(options: &NatsOptions) {
    let error = try_open(options).unwrap_err().to_string();
    assert!(error.contains("can't connect to the servers"), "{error}");
}

/// Replaces the URLs of the servers.
fn at(options: &mut NatsOptions, servers: &Servers, scheme: &str, user: &str) {
    let ports = servers.all.iter().map(|server| server.port);
    options.servers = ports
        .map(|port| format!("{scheme}://{user}127.0.0.1:{port}"))
        .collect();
}

/// An authority, in a file, that issues certificates.
struct Authority {
    issuer: CertifiedIssuer<'static, rcgen::KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self {
            issuer,
            folder: folder.to_owned(),
        }
    }

    /// Returns the files of a new certificate and its key.
    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str| self.folder.join(format!("{name}-{end}.pem"));
        fs::write(file("cert"), certificate.pem()).unwrap();
        fs::write(file("key"), key.serialize_pem()).unwrap();
        (file("cert"), file("key"))
    }
}

/// Also the system account is reached with TLS, to see that the servers sync.
#[test]
fn servers_with_tls_are_trusted_by_their_authority_and_get_a_certificate() {
    let folder = quick_folder();
    let authority = Authority::new(folder.path());
    let (certificate, key) = authority.issue("server");
    let ca = folder.path().join("ca.pem");
    let text = format!(
        "{}tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}\n",
        Servers::ACCOUNTS
    );
    let Some(servers) = Servers::configured(3, "sync_interval: always", &text) else {
        return;
    };
    let mut options = fresh(&servers);
    at(&mut options, &servers, "tls", "");
    options.durability = Durability::Synced;
    let port = servers.all[0].port;
    options.system = Some(format!("tls://sys:sys@127.0.0.1:{port}"));
    options.tls.ca = Some(ca);
    options.tls.identity = Some(authority.issue("hub"));
    check(&options);
    // The scheme may also be left to the settings.
    at(&mut options, &servers, "nats", "");
    options.tls.required = true;
    open_log(&options);
    let mut anonymous = options.clone();
    anonymous.tls.identity = None;
    refused(&anonymous);
    options.tls.ca = None;
    refused(&options);
}

#[test]
fn users_and_tokens_are_parts_of_the_url() {
    for (authorization, right, wrong) in [
        (
            "user: \"me@home\", password: \"p/w%\"",
            "me%40home:p%2Fw%25@",
            "me%40home:other@",
        ),
        ("token: \"to/ken\"", "to%2Fken@", "other@"),
    ] {
        let text = format!("authorization {{ {authorization} }}\n");
        let Some(servers) = Servers::configured(1, "", &text) else {
            return;
        };
        let mut options = fresh(&servers);
        at(&mut options, &servers, "nats", right);
        check(&options);
        for user in [wrong, ""] {
            at(&mut options, &servers, "nats", user);
            refused(&options);
        }
    }
}

#[test]
fn the_seed_of_an_nkey_is_read_from_its_file() {
    let folder = quick_folder();
    let user = KeyPair::new_user();
    let text = format!(
        "authorization {{ users: [{{ nkey: {} }}] }}\n",
        user.public_key()
    );
    let Some(servers) = Servers::configured(1, "", &text) else {
        return;
    };
    let file = folder.path().join("seed");
    fs::write(&file, format!("{}\n", user.seed().unwrap())).unwrap();
    let mut options = fresh(&servers);
    options.credentials.nkey = Some(file.clone());
    check(&options);
    fs::write(&file, KeyPair::new_user().seed().unwrap()).unwrap();
    refused(&options);
}

/// Returns a JSON Web Token as NATS has them.
fn token(issuer: &KeyPair, subject: &str, name: &str, nats: Value) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let head = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({
        "jti": name, "iat": 1, "iss": issuer.public_key(), "sub": subject, "name": name, "nats": nats,
    });
    let signed = format!("{}.{}", encode(&head), encode(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// An account of an operator.
struct Account {
    keys: KeyPair,
    token: String,
}

impl Account {
    fn new(operator: &KeyPair, name: &str, bytes: i64) -> Self {
        let keys = KeyPair::new_account();
        let mut limits = json!({"wildcards": true, "mem_storage": bytes, "disk_storage": bytes});
        for limit in [
            "subs", "data", "payload", "imports", "exports", "conn", "leaf", "streams", "consumer",
        ] {
            limits[limit] = json!(-1);
        }
        let nats = json!({"limits": limits, "type": "account", "version": 2});
        let token = token(operator, &keys.public_key(), name, nats);
        Self { keys, token }
    }

    /// Writes the credentials of a new user.
    fn user(&self, file: &Path) -> PathBuf {
        let user = KeyPair::new_user();
        let nats = json!({
            "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2,
        });
        let token = token(&self.keys, &user.public_key(), "hub", nats);
        let seed = user.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        fs::write(file, text).unwrap();
        file.to_owned()
    }
}

/// The accounts of an operator know no passwords. Both the log's and the system account have a
/// credentials file.
#[test]
fn credentials_files_are_enough_with_an_operator() {
    let folder = quick_folder();
    let operator = KeyPair::new_operator();
    let (account, system) = (
        Account::new(&operator, "A", -1),
        Account::new(&operator, "SYS", 0),
    );
    let nats = json!({"type": "operator", "version": 2});
    let (id, system_id) = (account.keys.public_key(), system.keys.public_key());
    let text = format!(
        "operator: {:?}\nsystem_account: {system_id}\nresolver: MEMORY\n\
         resolver_preload: {{ {id}: {:?}, {system_id}: {:?} }}\n",
        token(&operator, &operator.public_key(), "O", nats),
        account.token,
        system.token,
    );
    let Some(servers) = Servers::configured(3, "sync_interval: always", &text) else {
        return;
    };
    let mut options = fresh(&servers);
    options.durability = Durability::Synced;
    options.credentials.file = Some(account.user(&folder.path().join("hub.creds")));
    options.system_credentials = Some(system.user(&folder.path().join("sys.creds")));
    check(&options);
    // The user of another account has no servers' settings to see.
    options.system_credentials = Some(account.user(&folder.path().join("other.creds")));
    let error = try_open(&options).unwrap_err().to_string();
    assert!(error.contains("system account can't be used"), "{error}");
    let stranger = Account::new(&KeyPair::new_operator(), "B", -1);
    options.credentials.file = Some(stranger.user(&folder.path().join("stranger.creds")));
    refused(&options);
}

#[test]
fn a_log_is_in_the_domain_that_is_named() {
    let Some(servers) = Servers::new(1, "domain: here") else {
        return;
    };
    let mut options = fresh(&servers);
    options.domain = Some("here".to_owned());
    check(&options);
    options.domain = Some("elsewhere".to_owned());
    let error = try_open(&options).unwrap_err().to_string();
    assert!(error.contains("JetStream can't be used"), "{error}");
}
