use std::{future::poll_fn, pin::pin};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use super::*;

#[tokio::test]
async fn a_message_that_lingers_while_all_requests_are_in_flight_wakes_no_timer() {
    // It accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/streams/s", silent.local_addr().unwrap());
    let options = crate::stream(url).writer().linger(Duration::from_millis(1));
    let mut head = http::HeaderMap::new();
    head.insert("content-type", "application/json".parse().unwrap());
    let (writer, worker) = Worker::new(&options, &Info::of(&head), None);
    let mut run = pin!(worker.run());
    let mut polls = 0;
    for message in 0..2 {
        writer.append(&message).await.unwrap();
        polls = 0;
        let counted = poll_fn(|cx| {
            polls += 1;
            run.as_mut().poll(cx)
        });
        let stalled = timeout(Duration::from_millis(200), counted).await;
        assert!(stalled.is_err(), "it ends although no response arrives");
    }
    // The second message can't be sent before the first is acknowledged.
    assert!(polls < 50, "{polls}");
}

/// Acknowledges every append except the one with sequence 1, and reports each sequence.
async fn deaf_to_one(listener: TcpListener, seen: mpsc::UnboundedSender<u64>) {
    loop {
        let (mut connection, _) = listener.accept().await.unwrap();
        let seen = seen.clone();
        tokio::spawn(async move {
            let mut text = String::new();
            let mut buffer = [0; 4096];
            let field = |text: &str, name: &str| -> Option<u64> {
                let mut lines = text.split("\r\n\r\n").next()?.lines();
                let value = lines.find_map(|line| line.strip_prefix(name))?;
                value.trim().parse().ok()
            };
            loop {
                let read = connection.read(&mut buffer).await.unwrap_or(0);
                if read == 0 {
                    return;
                }
                text.push_str(&String::from_utf8_lossy(&buffer[..read]));
                let length = field(&text, "content-length:").unwrap_or(0);
                let body = text
                    .split_once("\r\n\r\n")
                    .map_or(0, |(_, body)| body.len() as u64);
                if length == 0 || body < length {
                    continue;
                }
                let (epoch, seq) = (
                    field(&text, "producer-epoch:"),
                    field(&text, "producer-seq:"),
                );
                let (epoch, seq) = (epoch.unwrap(), seq.unwrap());
                let _ = seen.send(seq);
                text.clear();
                if seq == 1 {
                    continue;
                }
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nproducer-epoch: {epoch}\r\ncontent-length: 0\r\n\r\n"
                );
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        });
    }
}

#[tokio::test]
async fn no_append_is_sent_further_ahead_of_an_unacknowledged_one_than_the_hub_remembers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/streams/s", listener.local_addr().unwrap());
    let (sender, mut seen) = mpsc::unbounded_channel();
    let server = tokio::spawn(deaf_to_one(listener, sender));
    let options = crate::stream(url).writer().max_batch_bytes(1);
    let mut head = http::HeaderMap::new();
    head.insert("content-type", "application/json".parse().unwrap());
    let (writer, worker) = Worker::new(&options, &Info::of(&head), None);
    let run = tokio::spawn(worker.run());
    for message in 0..100 {
        writer.append(&message).await.unwrap();
    }
    let mut last = 0;
    while last < MAX_IN_FLIGHT as u64 {
        let next = timeout(Duration::from_secs(20), seen.recv()).await;
        last = last.max(next.unwrap().unwrap());
    }
    let more = timeout(Duration::from_millis(200), async {
        while let Some(seq) = seen.recv().await {
            assert!(seq <= MAX_IN_FLIGHT as u64, "{seq}");
        }
    });
    assert!(more.await.is_err(), "it is over");
    assert_eq!(writer.acknowledged(), 1);
    run.abort();
    server.abort();
}
