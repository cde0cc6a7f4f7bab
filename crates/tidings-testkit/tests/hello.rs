//! A client that asks for a hello is told what it may ask for, and of each room by itself.

use serde_json::{Value, json};
use std::time::Duration;
use tidings::{
    Denied, Gate, Hub, Identity, Limits, RoomName,
    gate::{Decision, RequestHead},
};
use tidings_testkit::{Client, Kind, Server, request, within};

const SOON: Duration = Duration::from_secs(10);

/// Lets everybody into every room but `secret`.
struct Discreet;

impl Gate for Discreet {
    fn connect<'a>(&'a self, _: &'a RequestHead) -> Decision<'a, Identity> {
        Box::pin(async { Ok(Identity::anonymous()) })
    }

    fn join<'a>(&'a self, _: &'a Identity, room: &'a RoomName) -> Decision<'a> {
        let secret = room.as_str() == "secret";
        Box::pin(async move { if secret { Err(Denied::forbidden("secret")) } else { Ok(()) } })
    }
}

async fn server() -> Server {
    let mut limits = Limits::default();
    limits.heartbeat = Duration::from_millis(200);
    limits.rooms = 7;
    Server::with_hub(Hub::builder().gate(Discreet).limits(limits).build()).await
}

async fn poll(server: &Server, query: &str) -> Vec<Value> {
    let target = format!("/realtime/poll?{query}");
    let answer = within(SOON, "an answer", request(server.address(), "GET", &target, &[], "")).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{target}");
    answer.json()["events"].as_array().expect("events").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_says_hello_and_where_each_room_stands_at_once() {
    let server = server().await;
    let position = server.publish("a", 1).await.to_string();
    let items = poll(&server, "room=a&from=start&room=b&from=now&room=secret&from=now&hello=1").await;
    let types: Vec<_> = items.iter().map(|item| (&item["type"], &item["room"])).collect();
    assert_eq!(types.first(), Some(&(&json!("hello"), &Value::Null)), "{items:?}");
    assert_eq!(items[0]["limits"]["rooms"], 7);
    for expected in [("joined", "a"), ("joined", "b"), ("error", "secret"), ("event", "a")] {
        assert!(types.contains(&(&json!(expected.0), &json!(expected.1))), "{expected:?} in {items:?}");
    }
    // Also from a position it answers at once; without a hello it would wait.
    let items = poll(&server, &format!("room=a&from={position}&wait=60&hello=1")).await;
    assert_eq!(items.len(), 2, "{items:?}");
    assert_eq!((&items[1]["cursor"], &items[1]["recovered"]), (&json!(position), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_hello_a_refused_room_is_a_refused_request() {
    let server = server().await;
    for endpoint in ["poll", "sse"] {
        let target = format!("/realtime/{endpoint}?room=a&room=secret");
        let answer = request(server.address(), "GET", &target, &[], "").await.expect("an answer");
        assert_eq!((answer.status, answer.json()["code"].clone()), (403, json!("forbidden")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_room_beside_a_refused_one_hides_nothing() {
    let server = server().await;
    let last = tidings::Event::json("n", &1).expect("JSON").last();
    let last = server.hub().publish("a", last).await.expect("published").to_string();
    let query = format!("room=a&from={last}&room=secret&from={last}&hello=1");
    let items = poll(&server, &query).await;
    assert!(items.iter().any(|item| item["type"] == "end" && item["room"] == "a"), "{items:?}");
    assert!(items.iter().any(|item| item["type"] == "error" && item["room"] == "secret"), "{items:?}");
    // The stream says the same, and is over.
    let target = format!("/realtime/sse?format=json&{query}");
    let answer = within(SOON, "the end", request(server.address(), "GET", &target, &[], "")).await;
    let text = String::from_utf8(answer.expect("an answer").body.to_vec()).expect("UTF-8");
    for word in [r#""type":"hello""#, r#""room":"secret","code":"forbidden""#, r#""type":"end""#] {
        assert!(text.contains(word), "{word} in {text}");
    }
    // A room alone that has ended before is still a final answer.
    let target = format!("/realtime/poll?room=a&from={last}&hello=1");
    assert_eq!(request(server.address(), "GET", &target, &[], "").await.expect("an answer").status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signs_of_life_of_a_stream_are_events_where_a_hello_was_asked_for() {
    let server = server().await;
    let target = "/realtime/sse?room=a&format=json&hello=1";
    // The answer has no end, so what came until the drain is looked at.
    let reading = tokio::spawn(request(server.address(), "GET", target, &[], ""));
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(server.hub().drain(SOON).await, 0);
    let answer = within(SOON, "the end", reading).await.expect("no panic").expect("an answer");
    let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    assert!(text.matches("data: {\"type\":\"alive\"}\n\n").count() >= 2, "{text}");
    assert!(text.contains("\"heartbeat\":200"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_answered_on_every_way_up() {
    let server = server().await;
    let ping = json!({"type": "ping", "ref": 9});
    let mut client = Client::connect(Kind::Ws, server.address(), "a", "now").await.expect("let in");
    assert_eq!(client.command(&ping).await, json!({"type": "pong", "ref": 9}));
    let answer = request(server.address(), "POST", "/realtime/send", &[], ping.to_string()).await;
    assert_eq!(answer.expect("an answer").json(), json!({"type": "pong", "ref": 9}));
}
