//! Tickets of hubs on one log: every hub accepts them, and all together once.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use headwater::test::TestClient;
use headwater_auth::{
    Identity,
    limits::{TICKET_LIFE, TICKETS_PER_SENDER},
};
use headwater_hub::{Decision, Hub};
use headwater_log::{
    Answer, Append, Chunk, Clock, Error, Log, MemoryLog, MemoryOptions, Outcome, ReadFrom,
    StreamName,
};

use super::*;
use crate::START;

/// The operations of a log that fail.
#[derive(Clone, Copy)]
enum Fault {
    None,
    Read,
    Append,
    /// An append is stored, but its outcome isn't known.
    Outcome,
    /// A read meets damage.
    Damage,
    /// Nothing is answered.
    Silence,
}

/// A log whose operations on tickets fail on request.
struct Faulty {
    log: MemoryLog,
    fault: AtomicUsize,
}

impl Faulty {
    fn set(&self, fault: Fault) {
        self.fault.store(fault as usize, Ordering::Relaxed);
    }

    fn has(&self, fault: Fault, name: &StreamName) -> bool {
        let is_of_tickets = name.as_str().starts_with("__ds/tickets/");
        is_of_tickets && self.fault.load(Ordering::Relaxed) == fault as usize
    }

    async fn answer(&self, name: &StreamName) {
        if self.has(Fault::Silence, name) {
            std::future::pending::<()>().await;
        }
    }
}

impl Log for Faulty {
    fn append<'a>(&'a self, name: &'a StreamName, append: Append) -> Answer<'a, Outcome> {
        Box::pin(async move {
            if self.has(Fault::Append, name) {
                return Err(Error::unavailable("no leader"));
            }
            self.answer(name).await;
            let outcome = self.log.append(name, append).await;
            match self.has(Fault::Outcome, name) {
                true => Err(Error::unknown("no answer")),
                false => outcome,
            }
        })
    }

    fn read<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: usize,
    ) -> Answer<'a, Chunk> {
        Box::pin(async move {
            if self.has(Fault::Read, name) {
                return Err(Error::unavailable("no leader"));
            }
            if self.has(Fault::Damage, name) {
                return Err(Error::damaged("a record is too short"));
            }
            self.answer(name).await;
            self.log.read(name, from, budget).await
        })
    }

    pass_on!(create measure follow info producer image restore touch delete list read_order follow_order identity usage writable close);
}

/// Two hubs on one log, with one key file, whose stream `a` may be read by the key `k`.
struct Hubs {
    log: Arc<Faulty>,
    clock: Clock,
    file: KeyFile,
    key: String,
    clients: [TestClient; 2],
    _folder: tempfile::TempDir,
}

impl Hubs {
    async fn new() -> Self {
        Self::with(|options| options).await
    }

    async fn with(more: impl Fn(Options) -> Options) -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("keys.json");
        let file = KeyFile::new(&path);
        let key = file.create("k", grants("read,list,create:**"), None, SystemTime::now());
        let key = key.expect("the file can be written").token().to_owned();
        let clock = Clock::by_hand(START);
        let mut options = MemoryOptions::default();
        options.clock = clock.clone();
        let log = Arc::new(Faulty {
            log: MemoryLog::new(options),
            fault: AtomicUsize::new(Fault::None as usize),
        });
        let clients = [(), ()].map(|()| {
            let options = Options::new().shared_log();
            let store = KeyStore::open(&path).expect("the file is valid");
            let auth = Auth::new(authenticator().keys(Arc::new(store)));
            let options = more(options.auth(auth));
            let hub = Hub::with_options(Arc::clone(&log) as _, options);
            hub.start();
            TestClient::new(hub.app())
        });
        let create = bearer(clients[0].request(Method::PUT, "/streams/a"), &key);
        let create = create.header(JSON.0, JSON.1).body("[1]").send().await;
        assert_eq!(create.status(), 201);
        Self {
            log,
            clock,
            file,
            key,
            clients,
            _folder: folder,
        }
    }

    /// Returns a request for a ticket with a key or token.
    fn ask(&self, hub: usize, credential: &str) -> TestRequest {
        bearer(self.clients[hub].post("/tickets"), credential)
    }

    async fn issue(&self, hub: usize, credential: &str) -> String {
        text_of(self.ask(hub, credential).send().await).await
    }

    /// Reads the stream with a ticket. Returns the code of the refusal, or the status.
    async fn redeem(&self, hub: usize, ticket: &str) -> String {
        let path = format!("/streams/a?ticket={ticket}");
        code(self.clients[hub].get(&path).send().await).await
    }
}

/// Returns the ticket of a response.
async fn text_of(response: TestResponse) -> String {
    assert_eq!(response.status(), 200);
    let ticket = response.json::<Value>().await;
    ticket["ticket"].as_str().expect("it is text").to_owned()
}

#[tokio::test]
async fn a_ticket_of_one_hub_works_once_at_another() {
    let hubs = Hubs::new().await;
    let token = token("read:a", HOUR);
    let cookie = |hub: usize| {
        let post = hubs.clients[hub].post("/tickets");
        let post = post.header("cookie", &format!("__Secure-headwater={token}"));
        post.header("sec-fetch-site", "same-origin")
    };
    for (at, then) in [(0, 1), (1, 0), (0, 0)] {
        let tickets = [hubs.ask(at, &hubs.key), hubs.ask(at, &token), cookie(at)];
        for (number, ticket) in tickets.into_iter().enumerate() {
            let ticket = text_of(ticket.send().await).await;
            assert_eq!(hubs.redeem(then, &ticket).await, "200", "{number}");
            for hub in [then, at, 1 - at] {
                assert_eq!(hubs.redeem(hub, &ticket).await, "token_expired", "{number}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_redemptions_at_all_hubs_one_is_admitted() {
    let hubs = Arc::new(Hubs::new().await);
    for _ in 0..10 {
        let ticket = hubs.issue(0, &hubs.key).await;
        let redemptions = (0..50).map(|number| {
            let (hubs, ticket) = (Arc::clone(&hubs), ticket.clone());
            tokio::spawn(async move { hubs.redeem(number % 2, &ticket).await })
        });
        let outcomes = join_all(redemptions).await;
        let outcomes: Vec<_> = outcomes
            .into_iter()
            .map(|it| it.expect("it ends"))
            .collect();
        let admitted = outcomes.iter().filter(|it| *it == "200").count();
        let refused = outcomes.iter().filter(|it| *it == "token_expired").count();
        assert_eq!((admitted, refused), (1, 49), "{outcomes:?}");
    }
}

#[tokio::test]
async fn a_ticket_expires_by_the_time_of_the_log() {
    let hubs = Hubs::new().await;
    let tickets = [
        hubs.issue(0, &hubs.key).await,
        hubs.issue(0, &hubs.key).await,
    ];
    for (ticket, wait, expected) in [
        (&tickets[0], TICKET_LIFE - Duration::from_millis(1), "200"),
        (&tickets[1], Duration::from_millis(1), "token_expired"),
    ] {
        hubs.clock.advance(wait);
        while hubs.log.log.reclaim(100) {}
        assert_eq!(hubs.redeem(1, ticket).await, expected);
    }
}

#[tokio::test]
async fn the_credential_is_verified_when_the_ticket_is_redeemed() {
    let hubs = Hubs::new().await;
    let short = token("read:a", Duration::from_secs(2));
    let tickets = [
        (hubs.issue(0, &hubs.key).await, "token_revoked"),
        (hubs.issue(0, &short).await, "token_expired"),
        (hubs.issue(0, &token("read:b", HOUR)).await, "not_granted"),
    ];
    hubs.file.revoke("k", SystemTime::now()).expect("it exists");
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (ticket, expected) in tickets {
        assert_eq!(hubs.redeem(1, &ticket).await, expected);
    }
}

#[tokio::test]
async fn a_log_that_fails_is_told_apart_from_a_ticket_that_isnt_valid() {
    let hubs = Hubs::new().await;
    let check = async |response: TestResponse| {
        assert_eq!(response.status(), 503);
        let problem = response.json::<Value>().await;
        assert_eq!(problem["code"], "tickets_unavailable", "{problem}");
    };
    let get = |ticket: &str| hubs.clients[1].get(&format!("/streams/a?ticket={ticket}"));
    let ticket = hubs.issue(0, &hubs.key).await;
    tokio::time::pause();
    for fault in [Fault::Read, Fault::Damage, Fault::Append, Fault::Silence] {
        hubs.log.set(fault);
        check(get(&ticket).send().await).await;
    }
    // One that isn't issued doesn't count.
    for fault in [Fault::Append, Fault::Outcome, Fault::Silence] {
        hubs.log.set(fault);
        for _ in 0..=TICKETS_PER_SENDER {
            check(hubs.ask(0, &hubs.key).send().await).await;
        }
    }
    hubs.log.set(Fault::None);
    assert_eq!(hubs.redeem(1, &ticket).await, "200");

    // With an unknown outcome, it is used.
    let ticket = hubs.issue(0, &hubs.key).await;
    hubs.log.set(Fault::Outcome);
    check(get(&ticket).send().await).await;
    hubs.log.set(Fault::None);
    assert_eq!(hubs.redeem(0, &ticket).await, "token_expired");

    hubs.log.close().await.expect("it is in memory");
    check(get(&ticket).send().await).await;
}

#[tokio::test]
async fn the_log_has_neither_a_credential_nor_a_ticket() {
    let hubs = Hubs::new().await;
    let token = token("read:a", HOUR);
    let mut secrets = vec![hubs.key.clone(), token.clone()];
    for credential in [&hubs.key, &token] {
        let ticket = hubs.issue(0, credential).await;
        let secret = ticket
            .split('.')
            .next()
            .expect("it has a secret")
            .to_owned();
        secrets.push(secret);
        assert_eq!(hubs.redeem(1, &ticket).await, "200");
    }
    let bytes = hubs.log.log.state();
    let contains = |part: &[u8]| bytes.windows(part.len()).any(|found| found == part);
    assert!(contains(b"__ds/tickets/"), "it is all that the log has");
    for secret in secrets {
        // Any part of eight characters but the ones that all have.
        for part in secret.as_bytes()[4..].windows(8) {
            assert!(!contains(part), "{secret}");
        }
    }
}

#[tokio::test]
async fn an_identity_that_no_other_hub_can_verify_has_tickets_of_its_hub() {
    let hubs = Hubs::with(|options| {
        options.authorize(async |parts, _, _| match parts.headers.get("x-user") {
            Some(_) => {
                let identity = Identity::of_application("ann", grants("read:a"), None);
                Decision::Identity(identity)
            }
            None => Decision::Pass,
        })
    })
    .await;
    // Also if the request has a credential besides.
    for credential in [None, Some(&hubs.key)] {
        let ask = hubs.clients[0].post("/tickets").header("x-user", "ann");
        let ask = match credential {
            Some(credential) => bearer(ask, credential),
            None => ask,
        };
        let ticket = text_of(ask.send().await).await;
        assert!(!ticket.contains('.'), "{ticket}");
        for (hub, expected) in [(1, "token_expired"), (0, "200"), (0, "token_expired")] {
            assert_eq!(hubs.redeem(hub, &ticket).await, expected);
        }
    }
    // The app leaves the decision to the hub.
    let ticket = hubs.issue(0, &hubs.key).await;
    assert_eq!(hubs.redeem(1, &ticket).await, "200");
}

#[tokio::test]
async fn tickets_are_counted_by_the_hub_that_issues_them() {
    let hubs = Hubs::new().await;
    let mut tickets = Vec::new();
    for _ in 0..TICKETS_PER_SENDER {
        tickets.push(hubs.issue(0, &hubs.key).await);
    }
    let asked = async |hub: usize| hubs.ask(hub, &hubs.key).send().await.status();
    assert_eq!(
        (asked(0).await, asked(1).await),
        (
            429.try_into().expect("a status"),
            200.try_into().expect("a status")
        )
    );
    // A hub learns of the redemptions that it makes.
    assert_eq!(hubs.redeem(1, &tickets[0]).await, "200");
    assert_eq!(asked(0).await, 429);
    assert_eq!(hubs.redeem(0, &tickets[1]).await, "200");
    assert_eq!(asked(0).await, 200);
    assert_eq!(asked(0).await, 429);
}

#[tokio::test]
async fn records_of_tickets_are_shown_to_no_one() {
    let hubs = Hubs::new().await;
    let ticket = hubs.issue(0, &hubs.key).await;
    let period = ticket.split('.').nth(1).expect("it has a place");
    let get = async |path: &str| {
        let get = bearer(hubs.clients[1].get(path), &hubs.key);
        let response = get.header("accept", "application/x-ndjson").send().await;
        (response.status().as_u16(), response.text().await)
    };
    for path in ["/streams", "/events?stream=**&live=false&offset=-1"] {
        let (status, text) = get(path).await;
        assert_eq!(status, 200);
        assert!(text.contains("\"a\"") && !text.contains("__ds"), "{text}");
    }
    let (status, _) = get(&format!("/streams/__ds/tickets/{period}")).await;
    assert!([404, 503].contains(&status), "{status}");
}

#[tokio::test]
async fn a_hub_that_is_alone_on_its_log_writes_nothing_for_a_ticket() {
    let hub = Guarded::new();
    hub.create(&["a"]).await;
    let before = hub.server.log.usage();
    let ticket = credentials::ticket(&hub, &token("read:a", HOUR)).await;
    assert_eq!(ticket.len(), 4 + 43);
    let get = async |ticket: &str| {
        let path = format!("/streams/a?ticket={ticket}");
        code(hub.request(Method::GET, &path).send().await).await
    };
    assert_eq!(get(&format!("{ticket}.0.0")).await, "token_expired");
    assert_eq!(get(&ticket).await, "200");
    assert_eq!(hub.server.log.usage(), before);
}
