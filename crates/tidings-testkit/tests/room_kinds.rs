//! What the kinds of rooms promise, and publishing once.

use serde_json::json;
use std::time::Duration;
use tidings::Rooms;
use tidings_testkit::{Client, Heard, Kind, Server, Tap, mount, request, within};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

async fn connect(kind: Kind, server: &Server, from: &str) -> Client {
    Client::connect(kind, server.address(), "r", from).await.expect("let in")
}

async fn assert_silent(client: &mut Client) {
    if let Ok(heard) = timeout(Duration::from_millis(100), client.next()).await {
        panic!("{heard:?} came");
    }
}

async fn a_latest_value_room_gives_the_newest_and_no_gap(kind: Kind) {
    let server = Server::with_rooms(Rooms::latest()).await;
    let first = server.publish("r", 1).await.to_string();
    for number in 2..=50 {
        server.publish("r", number).await;
    }
    for from in ["now", "start", &first] {
        let mut client = connect(kind, &server, from).await;
        assert_eq!(client.number().await, 50, "from {from}");
        let cursor = client.cursor().to_owned();
        assert_silent(&mut client).await;
        assert_silent(&mut connect(kind, &server, &cursor).await).await;
    }
}

async fn an_ephemeral_room_keeps_nothing_and_promises_nothing(kind: Kind) {
    let server = Server::with_rooms(Rooms::ephemeral()).await;
    server.publish("r", 1).await;
    let mut client = connect(kind, &server, "start").await;
    if kind == Kind::Poll {
        // Between two polls nobody is there; so the first must be waiting when the event comes.
        let cursor = first_cursor(&server).await;
        let target = format!("/realtime/poll?room=r&cursor={cursor}&wait=20");
        let waiting = request(server.address(), "GET", &target, &[], "");
        let (answer, ()) = tokio::join!(waiting, async {
            server.until_sessions(1, SOON).await;
            server.publish("r", 2).await;
        });
        let event = answer.expect("an answer").json()["events"][0].clone();
        assert_eq!((&event["data"], event.get("id")), (&json!(2), None));
        return;
    }
    assert_silent(&mut client).await;
    server.publish("r", 2).await;
    match within(SOON, "the event", client.next()).await {
        Some(Heard::Event { data, cursor, .. }) => {
            assert_eq!(data, json!(2));
            // An event stream says the last id that it knows, which no event has set.
            assert!(kind == Kind::Sse || cursor.is_empty(), "an id that nobody can come back with: {cursor}");
        }
        other => panic!("{other:?}"),
    }
    drop(client);
    server.publish("r", 3).await;
    assert_silent(&mut connect(kind, &server, &first_cursor(&server).await).await).await;
    assert_silent(&mut connect(kind, &server, "p1.1.1").await).await;
}

async fn first_cursor(server: &Server) -> String {
    let first = request(server.address(), "GET", "/realtime/poll?room=r", &[], "").await.expect("an answer");
    first.json()["cursor"].as_str().expect("a cursor").to_owned()
}

async fn the_reply_to_a_publish_is_its_position_and_a_key_publishes_once(kind: Kind) {
    let server = Server::start().await;
    let mut client = connect(kind, &server, "now").await;
    let first = client.publish("n", json!(1), Some("k1")).await;
    let again = client.publish("n", json!(1), Some("k1")).await;
    let other = client.publish("n", json!(2), Some("k2")).await;
    assert_eq!(first["id"], again["id"]);
    assert_ne!(first["id"], other["id"]);
    for (number, reply) in [(1, first), (2, other)] {
        assert_eq!(client.number().await, number);
        assert_eq!(client.cursor(), reply["id"].as_str().expect("a position"));
    }
    assert_silent(&mut client).await;
}

async fn a_lost_reply_and_a_retry_publish_once(kind: Kind) {
    let server = Server::start().await;
    let tap = Tap::to(server.address()).await;
    let mut listener = connect(Kind::Ws, &server, "now").await;
    for number in 1..=5 {
        let key = format!("k{number}");
        let mut client = Client::connect(kind, tap.address(), "r", "now").await.expect("let in");
        // The event is there, so the command was; the reply is cut off, or comes just before.
        let publishing = tokio::spawn(async move {
            let _ = client.publish("n", json!(number), Some(&format!("k{number}"))).await;
        });
        assert_eq!(listener.number().await, number);
        tap.cut();
        // Whether its reply came in time or not, the sender does not know it any more.
        let _ = publishing.await;
        let mut client = Client::connect(kind, tap.address(), "r", "now").await.expect("let in");
        let reply = client.publish("n", json!(number), Some(&key)).await;
        assert_eq!(reply["id"].as_str().expect("a position"), listener.cursor());
    }
    assert_silent(&mut listener).await;
}

mount!(
    a_latest_value_room_gives_the_newest_and_no_gap,
    an_ephemeral_room_keeps_nothing_and_promises_nothing,
    the_reply_to_a_publish_is_its_position_and_a_key_publishes_once,
    a_lost_reply_and_a_retry_publish_once,
);

#[tokio::test]
async fn a_key_is_its_senders_own() {
    let server = Server::start().await;
    let mut client = connect(Kind::Ws, &server, "now").await;
    let theirs = client.publish("n", json!(1), Some("order-42")).await;
    let event = || tidings::Event::json("n", &2).expect("JSON");
    let ours = server.hub().publish_once("r", event(), "order-42").await.expect("published");
    assert_ne!(theirs["id"], ours.to_string());
    assert_eq!(server.hub().publish_once("r", event(), "order-42").await.expect("published"), ours);
    assert_eq!((client.number().await, client.number().await), (1, 2));
}
