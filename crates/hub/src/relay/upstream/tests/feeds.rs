use super::{
    server::{Act, chunk, chunked, head, last_chunk, send},
    *,
};
use crate::relay::upstream::{Resume, take_up};

const SSE: &str = "text/event-stream";

#[tokio::test]
async fn a_feed_that_breaks_resumes_without_duplicates() {
    let server = Server::new([
        vec![
            chunked(SSE),
            chunk("id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\nda"),
            Act::Wait(Duration::from_millis(50)),
            Act::Reset,
        ],
        vec![send("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")],
        vec![Act::Reset],
        // The server repeats events, and ends without an end marker.
        vec![
            chunked(SSE),
            chunk("id: 2\ndata: b\n\nid: 3\ndata: c\n\n"),
            last_chunk(),
        ],
        vec![
            head(SSE),
            send("id: 4\ndata: d\n\ndata: [DONE]\n\n"),
            Act::Hang,
        ],
    ])
    .await;
    let upstream = get(&server, limits()).await.unwrap();
    let (items, fault) = Items::of(upstream).all().await;
    assert_eq!(fault, None);
    assert_eq!(
        items,
        [
            "id: 1\\ndata: a\\n\\n",
            "id: 2\\ndata: b\\n\\n",
            "id: 3\\ndata: c\\n\\n",
            "id: 4\\ndata: d\\n\\n",
            "data: [DONE]\\n\\n",
        ]
    );
    let asked: Vec<_> = server
        .requests()
        .iter()
        .map(|request| {
            let id = request
                .lines()
                .find_map(|line| line.strip_prefix("last-event-id: "));
            id.unwrap_or("none").to_owned()
        })
        .collect();
    assert_eq!(asked, ["none", "2", "2", "2", "3"]);
}

#[tokio::test]
async fn a_204_ends_a_feed_and_a_404_fails_it() {
    let first = vec![head(SSE), send("id: 1\ndata: a\n\n")];
    let server = Server::new([first.clone(), vec![send("HTTP/1.1 204 No\r\n\r\n")]]).await;
    let (items, fault) = Items::of(get(&server, limits()).await.unwrap()).all().await;
    assert_eq!((items.len(), fault), (1, None));

    let server = Server::new([
        first,
        vec![send("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")],
    ])
    .await;
    let (items, fault) = Items::of(get(&server, limits()).await.unwrap()).all().await;
    assert_eq!(
        (items.len(), fault),
        (1, Some(Fault::Status(http::StatusCode::NOT_FOUND)))
    );
}

#[tokio::test]
async fn a_feed_that_falls_silent_reconnects() {
    let limits = UpstreamLimits {
        idle_timeout: Duration::from_millis(150),
        ..limits()
    };
    let server = Server::new([
        vec![head(SSE), send("id: 1\ndata: a\n\n"), Act::Hang],
        vec![head(SSE), send("id: 2\ndata: b\n\ndata: [DONE]\n\n")],
    ])
    .await;
    let (items, fault) = Items::of(get(&server, limits).await.unwrap()).all().await;
    assert_eq!((items.len(), fault), (3, None));
}

#[tokio::test]
async fn a_post_is_never_made_twice() {
    let server = Server::new([vec![head(SSE), send("id: 1\ndata: a\n\nid: 2\nda")]]).await;
    let (items, fault) = Items::of(post(&server, limits()).await.unwrap())
        .all()
        .await;
    assert_eq!((items.len(), fault), (2, None));
    let server = Server::new([vec![chunked(SSE), chunk("id: 1\ndata: a\n\n")]]).await;
    let (items, fault) = Items::of(post(&server, limits()).await.unwrap())
        .all()
        .await;
    assert_eq!((items.len(), fault), (1, Some(Fault::Truncated)));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_feed_gives_up_after_the_maximum_of_attempts() {
    let limits = UpstreamLimits {
        attempts: 3,
        ..limits()
    };
    let server = Server::new([
        vec![head(SSE), send("id: 1\ndata: a\n\n")],
        vec![send("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n")],
    ])
    .await;
    let (items, fault) = Items::of(get(&server, limits).await.unwrap()).all().await;
    assert_eq!(items.len(), 1);
    assert!(
        matches!(fault, Some(Fault::GaveUp { attempts: 3, .. })),
        "{fault:?}"
    );
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_feed_of_an_earlier_process_resumes() {
    let server = Server::new([
        vec![send("HTTP/1.1 502 Oh\r\ncontent-length: 0\r\n\r\n")],
        vec![
            head(SSE),
            send("id: 7\ndata: a\n\nid: 8\ndata: b\n\nevent: headwater:end\nid: headwater:end\ndata\n\n"),
        ],
    ])
    .await;
    let resume = Resume {
        last_event_id: "7".into(),
        seen: vec![],
    };
    let call = call(&server, Method::GET);
    let upstream = take_up(&http(), call, limits(), &resume);
    let (items, fault) = Items::of(upstream).all().await;
    assert_eq!(fault, None);
    assert_eq!(items.len(), 2);
    assert_eq!(items[0], "id: 8\\ndata: b\\n\\n");
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.contains("\r\nlast-event-id: 7\r\n"))
    );
}

#[tokio::test]
async fn an_item_has_the_id_to_resume_from() {
    let server = Server::new([vec![
        head(SSE),
        send("data: a\n\nid: 1\ndata: b\n\ndata: c\n\ndata: [DONE]\n\n"),
    ]])
    .await;
    let items: Vec<_> = get(&server, limits())
        .await
        .unwrap()
        .into_items()
        .collect()
        .await;
    let ids: Vec<_> = items
        .into_iter()
        .map(|item| item.unwrap().id.map(String::from))
        .collect();
    let one = Some("1".to_owned());
    assert_eq!(ids, [None, one.clone(), one.clone(), one]);
}
