//! HTTP/2: complete and truncated bodies.

use std::{net::TcpListener, thread, time::Duration};

use bytes::Bytes;
use h2::Reason;
use tokio::{net::TcpStream, runtime, sync::oneshot, time::timeout};

use crate::twins::{cut_short, good};

/// The end of a response after its two items.
#[derive(Debug, Clone, Copy)]
enum Ending {
    /// With `END_STREAM`.
    Complete,
    Reset(Reason),
    ConnectionLost,
}

/// Responds to one request with two items, and ends the response on a signal.
fn serve(ending: Ending) -> (String, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (end, ended) = oneshot::channel();
    thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                let answer = answer(TcpStream::from_std(socket).unwrap(), ended, ending);
                timeout(Duration::from_secs(20), answer).await.unwrap();
            });
    });
    (url, end)
}

async fn answer(socket: TcpStream, ended: oneshot::Receiver<()>, ending: Ending) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    let (_, mut respond) = connection.accept().await.unwrap().unwrap();
    let head = http::Response::builder().header("content-type", "application/x-ndjson");
    let mut body = respond
        .send_response(head.body(()).unwrap(), false)
        .unwrap();
    body.send_data(Bytes::from("1\n2\n"), false).unwrap();
    tokio::select! {
        _ = connection.accept() => panic!("the client left before it was told to"),
        told = ended => told.unwrap(),
    }
    match ending {
        Ending::Complete => body.send_data(Bytes::new(), true).unwrap(),
        Ending::Reset(reason) => body.send_reset(reason),
        Ending::ConnectionLost => return,
    }
    // Nothing is sent unless the connection is polled. It is over when the client has closed it.
    while let Some(Ok(_)) = connection.accept().await {}
}

twins! {
    fn a_stream_that_is_reset_in_the_middle_of_a_body_is_truncated() {
        for ending in [
            Ending::Reset(Reason::INTERNAL_ERROR),
            Ending::Reset(Reason::CANCEL),
            // It is harmless only after a complete response (RFC 9113 §8.1).
            Ending::Reset(Reason::NO_ERROR),
            Ending::ConnectionLost,
        ] {
            let (url, end) = serve(ending);
            let client = client::Client::builder().http2_prior_knowledge().build().unwrap();
            let mut items = wait(client.get(url).stream::<u32>()).unwrap();
            assert_eq!(next(&mut items).unwrap().unwrap(), 1);
            assert_eq!(next(&mut items).unwrap().unwrap(), 2);
            end.send(()).unwrap();
            let (rest, error) = cut_short(all(Ok(items)));
            assert_eq!(rest, [0; 0], "{ending:?}");
            assert!(error.is_truncated(), "{ending:?}: {error}");
        }
    }

    fn a_stream_that_ends_with_its_flag_is_complete() {
        let (url, end) = serve(Ending::Complete);
        let client = client::Client::builder().http2_prior_knowledge().build().unwrap();
        let items = wait(client.get(url).stream::<u32>());
        end.send(()).unwrap();
        assert_eq!(good(all(items)), [1, 2]);
    }
}
