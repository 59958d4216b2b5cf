use std::time::Duration;

use headwater::test::TestResponse;
use http::Method;

use crate::{Server, header};

async fn append(server: &Server, seq: u64) -> TestResponse {
    let post = server.request(Method::POST, "a");
    let post = post.header("content-type", "application/json");
    let post = post
        .header("producer-id", "p")
        .header("producer-epoch", "0");
    let post = post.header("producer-seq", &seq.to_string());
    post.body(seq.to_string()).send().await
}

#[tokio::test]
async fn appends_of_a_producer_that_overtook_one_another_are_all_taken_in_their_order() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    assert_eq!(append(&server, 0).await.status(), 200);
    let late = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        append(&server, 1).await
    };
    let all = tokio::join!(
        append(&server, 3),
        append(&server, 2),
        append(&server, 4),
        late
    );
    for response in [all.0, all.1, all.2, all.3] {
        assert_eq!(response.status(), 200);
    }
    assert_eq!(server.get("a").send().await.text().await, "[0,1,2,3,4]");
}

#[tokio::test]
async fn an_append_whose_predecessor_doesnt_come_is_refused_with_what_is_due() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    assert_eq!(append(&server, 0).await.status(), 200);
    for early in [2, 3, 1000] {
        let response = append(&server, early).await;
        assert_eq!(response.status(), 409);
        assert_eq!(header(&response, "producer-expected-seq"), "1");
    }
    assert_eq!(append(&server, 1).await.status(), 200);
    let again = append(&server, 0).await;
    assert_eq!(again.status(), 204);
    assert_eq!(header(&again, "stream-next-offset"), server.at("a", 2));
}
