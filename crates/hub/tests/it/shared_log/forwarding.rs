//! Requests on their way to the owner.

use headwater_auth::{Authenticator, Grant, Grants, Identity};
use headwater_hub::{Auth, Decision};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};

use super::*;
use crate::relay::upstream::Upstream;

/// The rest of a response of events, with the first one.
const EVENTS: &str = "content-type: text/event-stream\r\n\r\ndata: 1\n\n";

const PATH: &str = "/streams/__ds/subscriptions/none";

/// Starts a server that calls `answer` with each connection and the head of its first request.
async fn server<R>(
    answer: impl Fn(TcpStream) -> R + Send + 'static,
) -> (String, mpsc::UnboundedReceiver<String>)
where
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, heads) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            let _ = sender.send(String::from_utf8(head).unwrap());
            tokio::spawn(answer(socket));
        }
    });
    (url, heads)
}

/// Returns the start of a response of a hub of the log.
fn head_of(log: &MemoryLog, status: &str) -> String {
    let mark = log.identity().order();
    format!("HTTP/1.1 {status}\r\nheadwater-forwarded: {mark}\r\n")
}

/// Starts a hub that takes the server at this URL for the owner.
async fn member_of(log: &Arc<MemoryLog>, url: &str) -> Member {
    claimed(log, url).await;
    let member = Member::new(log).await;
    let start = Instant::now();
    while answer(member.request(Method::GET, PATH)).await.1["code"] == "no_owner" {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(10)).await;
    }
    member
}

#[tokio::test]
async fn streams_work_and_a_hub_is_ready_without_being_the_owner() {
    let (_owner, other) = two().await;
    other.publish("a", "[1,2]").await;
    let read = other
        .request(Method::GET, "/streams/a")
        .send()
        .await
        .unwrap();
    assert_eq!(read.text().await.unwrap(), "[1,2]");
    let ready = other.request(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(ready.status(), 200);
}

#[tokio::test]
async fn the_owner_gets_the_request_as_its_client_sent_it() {
    let log = Arc::new(MemoryLog::default());
    let more = "content-length: 2\r\nx-mine: a\r\nconnection: close, x-hop\r\nx-hop: b\r\n\r\nok";
    let reply = head_of(&log, "299 Mine") + more;
    let (url, mut heads) = server(move |mut socket| {
        let reply = reply.clone();
        async move {
            let _ = socket.write_all(reply.as_bytes()).await;
        }
    })
    .await;
    let member = member_of(&log, &url).await;
    while heads.try_recv().is_ok() {}
    let request = member.request(Method::POST, "/relay?join=request&x=%20");
    let request = request
        .header("host", "hub.example:99")
        .header("authorization", "Bearer secret")
        .header("cookie", "a=b")
        .header("x-forwarded-for", "192.0.2.9")
        .body("123");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 299);
    assert_eq!(
        (header(&response, "x-mine"), header(&response, "x-hop")),
        ("a", "")
    );
    assert_eq!(header(&response, "headwater-forwarded"), "");
    assert_eq!(response.text().await.unwrap(), "ok");
    let head = heads.recv().await.unwrap().to_lowercase();
    for line in [
        "post /relay?join=request&x=%20 http/1.1",
        "host: hub.example:99",
        "authorization: bearer secret",
        "cookie: a=b",
        "content-length: 3",
        "headwater-forwarded: 1",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: hub.example:99",
        "x-forwarded-proto: http",
    ] {
        assert!(head.contains(&format!("{line}\r\n")), "{line} in {head}");
    }
}

#[tokio::test]
async fn a_response_of_another_server_is_not_passed_on() {
    let other = MemoryLog::default();
    let start = "HTTP/1.1 200 OK\r\n".to_owned();
    for start in [start, head_of(&other, "200 OK")] {
        let reply = start + "content-length: 2\r\n\r\nok";
        let (url, _heads) = server(move |mut socket| {
            let reply = reply.clone();
            async move {
                let _ = socket.write_all(reply.as_bytes()).await;
            }
        })
        .await;
        let member = member_of(&Arc::new(MemoryLog::default()), &url).await;
        let (status, problem) = answer(member.request(Method::GET, PATH)).await;
        assert_eq!(
            (status, &problem["code"]),
            (503, &json!("owner_unreachable"))
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("isn't that of a hub"), "{detail}");
    }
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_sent_again() {
    let (url, mut heads) = server(async |socket| drop(socket)).await;
    let member = member_of(&Arc::new(MemoryLog::default()), &url).await;
    while heads.try_recv().is_ok() {}
    let request = member.request(Method::POST, "/streams/__ds/subscriptions/s/claim");
    let (status, problem) = answer(request.body("{}")).await;
    assert_eq!((status, &problem["code"]), (502, &json!("owner_lost")));
    assert!(heads.recv().await.is_some());
    sleep(Duration::from_millis(500)).await;
    assert!(heads.try_recv().is_err(), "it was sent again");
    let (status, problem) = answer(member.request(Method::GET, PATH)).await;
    assert_eq!((status, &problem["code"]), (503, &json!("owner_lost")));
}

#[tokio::test]
async fn an_owner_that_is_not_there_or_has_no_url_is_503() {
    let log = Arc::new(MemoryLog::default());
    let silent = Member::with(&log, options(), false).await;
    silent.serves().await;
    let other = Member::new(&log).await;
    let start = Instant::now();
    let response = loop {
        let response = other.request(Method::POST, "/relay").send().await.unwrap();
        let retry = header(&response, "retry-after").to_owned();
        assert_eq!((response.status().as_u16(), &*retry), (503, "1"));
        let problem: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        if problem["code"] != "no_owner" || start.elapsed() > PATIENCE {
            break problem;
        }
    };
    assert_eq!(response["code"], "owner_unreachable");
    assert!(
        response["detail"]
            .as_str()
            .unwrap()
            .contains("advertises no URL")
    );

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let member = member_of(&Arc::new(MemoryLog::default()), &url).await;
    let (status, problem) = answer(member.request(Method::POST, "/relay")).await;
    assert_eq!(
        (status, &problem["code"]),
        (503, &json!("owner_unreachable"))
    );
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("can't be reached")
    );
}

#[tokio::test]
async fn a_forwarded_request_is_not_forwarded_again() {
    // Each hub takes the other one for the owner.
    let (_owner, other) = two().await;
    let request = other
        .request(Method::GET, PATH)
        .header("headwater-forwarded", "1");
    let response = request.send().await.unwrap();
    assert_eq!(header(&response, "retry-after"), "1");
    assert_eq!(response.status(), 503);
    assert!(response.text().await.unwrap().contains("\"not_owner\""));
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request_at_the_owner() {
    let (gone, mut is_gone) = mpsc::unbounded_channel();
    let log = Arc::new(MemoryLog::default());
    let reply = head_of(&log, "200 OK") + EVENTS;
    let (url, mut heads) = server(move |mut socket| {
        let (gone, reply) = (gone.clone(), reply.clone());
        async move {
            let _ = socket.write_all(reply.as_bytes()).await;
            let read = socket.read(&mut [0; 10]).await;
            let _ = gone.send(read.map_or(0, |bytes| bytes));
        }
    })
    .await;
    let member = member_of_events(&log, &url).await;
    while heads.try_recv().is_ok() {}
    let mut response = member
        .request(Method::GET, "/relay/a")
        .send()
        .await
        .unwrap();
    // It isn't buffered.
    assert_eq!(response.chunk().await.unwrap().unwrap(), "data: 1\n\n");
    while is_gone.try_recv().is_ok() {}
    drop(response);
    let ended = tokio::time::timeout(Duration::from_secs(5), is_gone.recv()).await;
    assert_eq!(ended.unwrap(), Some(0));
}

/// As [`member_of`], for an owner whose responses don't end.
async fn member_of_events(log: &Arc<MemoryLog>, url: &str) -> Member {
    claimed(log, url).await;
    let member = Member::new(log).await;
    let start = Instant::now();
    while member
        .request(Method::GET, PATH)
        .send()
        .await
        .unwrap()
        .status()
        != 200
    {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(10)).await;
    }
    member
}

#[tokio::test]
async fn a_response_of_an_owner_that_is_replaced_is_cut() {
    let log = Arc::new(MemoryLog::default());
    let reply = head_of(&log, "200 OK") + EVENTS;
    let (url, _heads) = server(move |mut socket| {
        let reply = reply.clone();
        async move {
            let _ = socket.write_all(reply.as_bytes()).await;
            // As one whose machine is gone, and which sends nothing any more.
            sleep(Duration::from_secs(60)).await;
        }
    })
    .await;
    let member = member_of_events(&log, &url).await;
    let mut response = member
        .request(Method::GET, "/relay/a")
        .send()
        .await
        .unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    // The hub takes over itself.
    let ended = tokio::time::timeout(PATIENCE, response.chunk()).await;
    assert!(ended.unwrap().is_err());
    member.serves().await;
}

#[tokio::test]
async fn the_owner_judges_a_forwarded_request() {
    let log = Arc::new(MemoryLog::default());
    let auth = Auth::new(Authenticator::new());
    let _owner = Member::with(&log, options().auth(auth), true).await;
    // This one would let every client do everything.
    let other = Member::new(&log).await;
    let start = Instant::now();
    loop {
        let (status, problem) = answer(other.request(Method::POST, "/relay")).await;
        if status == 401 {
            break;
        }
        assert!(
            status == 503 && start.elapsed() < PATIENCE,
            "{status} {problem}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_ticket_for_a_stream_whose_readers_count_is_left_to_the_owner() {
    let options = || {
        options().authorize(async |request, _, _| {
            let grant = "all:**"
                .parse::<Grant>()
                .and_then(|grant| Grants::new(vec![grant]));
            match (request.headers.get("x-user"), grant) {
                (Some(_), Ok(grants)) => {
                    Decision::Identity(Identity::of_application("u", grants, None))
                }
                _ => Decision::Deny,
            }
        })
    };
    let log = Arc::new(MemoryLog::default());
    let owner = Member::with(&log, options(), true).await;
    let as_user =
        |hub: &Member, method, path: &str| hub.request(method, path).header("x-user", "1");
    let start = Instant::now();
    while answer(as_user(&owner, Method::GET, PATH)).await.0 != 404 {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
    let other = Member::with(&log, options(), true).await;
    let (upstream, sender) = Upstream::streaming("text/plain").await;
    let relay = as_user(&owner, Method::POST, "/relay?stream=public&keep_for=9");
    let relay = relay
        .header("upstream-url", &upstream.url)
        .header("upstream-method", "GET");
    assert_eq!(answer(relay).await.0, 201);
    sender.send(Ok("one")).unwrap();
    let read = async || {
        let (_, ticket) = answer(as_user(&owner, Method::POST, "/tickets")).await;
        let ticket = ticket["ticket"].as_str().unwrap().to_owned();
        let path = format!("/streams/public?live=false&ticket={ticket}");
        other.request(Method::GET, &path).send().await.unwrap()
    };
    let start = Instant::now();
    let text = loop {
        let response = read().await;
        // Until the hub knows the owner, and the item is there.
        let status = response.status().as_u16();
        assert!(
            [200, 503].contains(&status) && start.elapsed() < PATIENCE,
            "{status}"
        );
        let text = response.text().await.unwrap();
        if status == 200 && !text.is_empty() {
            break text;
        }
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(text, "one");
    let without = other.request(Method::GET, "/streams/public?live=false");
    assert_eq!(answer(without).await.0, 403);
}
