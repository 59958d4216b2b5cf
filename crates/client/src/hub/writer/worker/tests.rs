use std::{future::poll_fn, pin::pin};

use tokio::{net::TcpListener, time::timeout};

use super::*;

#[tokio::test]
async fn a_message_that_lingers_while_all_requests_are_on_the_way_costs_no_time() {
    // It takes connections, and never answers.
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
        assert!(stalled.is_err(), "nobody answers, and it is over");
    }
    // The second can't be sent before the first is acknowledged.
    assert!(polls < 50, "{polls}");
}
