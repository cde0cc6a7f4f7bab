//! A reply that is lost on its way: the event was published, and trying again with the same key publishes nothing.

use serde_json::json;
use std::time::Duration;
use tidings_testkit::{Client, Kind, Server, Tap, mount};

async fn an_event_whose_reply_never_came_is_published_once_by_trying_again(kind: Kind) {
    let server = Server::start().await;
    let tap = Tap::to(server.address()).await;
    let mut listener = Client::connect(Kind::Ws, server.address(), "r", "now").await.expect("let in");
    for number in 1..=5 {
        let key = format!("k{number}");
        let mut client = Client::connect(kind, tap.address(), "r", "now").await.expect("let in");
        // Whatever the server answers is held back for so long that it is cut off for sure.
        tap.delay(Duration::from_millis(100));
        tokio::select! {
            reply = client.publish("n", json!(number), Some(&key)) => panic!("{reply} was not held back"),
            heard = listener.number() => assert_eq!(heard, number),
        }
        tap.cut();
        drop(client);
        tap.delay(Duration::ZERO);
        let mut client = Client::connect(kind, tap.address(), "r", "now").await.expect("let in");
        let reply = client.publish("n", json!(number), Some(&key)).await;
        assert_eq!(reply["id"].as_str().expect("a position"), listener.cursor());
    }
    // A second copy of any would come before this.
    server.publish("r", 6).await;
    assert_eq!(listener.number().await, 6);
}

mount!(an_event_whose_reply_never_came_is_published_once_by_trying_again);
