//! After its last event a room has ended, and nobody comes back for more.

use std::time::Duration;
use tidings::Event;
use tidings_testkit::{Client, Heard, Kind, Server, mount, request, within};

const SOON: Duration = Duration::from_secs(10);

async fn end(server: &Server, number: u64) -> String {
    let event = Event::json("n", &number).expect("JSON").last();
    server.hub().publish("r", event).await.expect("published").to_string()
}

/// Hears that the room has ended.
async fn hear_the_end(client: &mut Client, id: &str) {
    match within(SOON, "the end", client.next()).await {
        Some(Heard::Other(value)) => {
            assert_eq!(
                (&value["type"], &value["room"], &value["id"]),
                (&"end".into(), &"r".into(), &id.into())
            );
        }
        other => panic!("{other:?}"),
    }
}

async fn everybody_hears_the_last_event_and_then_the_end(kind: Kind) {
    let server = Server::start().await;
    let before = server.publish("r", 1).await.to_string();
    let mut live = Client::connect(kind, server.address(), "r", &before).await.expect("let in");
    let last = end(&server, 2).await;
    let late = Client::connect(kind, server.address(), "r", "start").await.expect("let in");
    let back = Client::connect(kind, server.address(), "r", &before).await.expect("let in");
    assert_eq!(live.number().await, 2);
    hear_the_end(&mut live, &last).await;
    for (mut client, first) in [(late, 1), (back, 2)] {
        for number in first..=2 {
            assert_eq!(client.number().await, number);
        }
        hear_the_end(&mut client, &last).await;
    }
    if kind == Kind::Ws {
        // Other rooms may follow on the same socket.
        let join = serde_json::json!({"type": "join", "ref": 1, "room": "other"});
        assert_eq!(live.command(&join).await["type"], "joined");
    } else {
        assert_eq!(within(SOON, "the end of the stream", live.next()).await, None);
    }
}

mount!(everybody_hears_the_last_event_and_then_the_end);

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_after_the_end_is_told_so_for_good() {
    let server = Server::start().await;
    server.publish("r", 1).await;
    let last = end(&server, 2).await;
    for endpoint in ["sse", "poll"] {
        let target = format!("/realtime/{endpoint}?room=r&from=start");
        let id = format!("last-event-id: {last}");
        let answer = within(SOON, "an answer", request(server.address(), "GET", &target, &[&id], "")).await;
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{endpoint}");
        assert!(answer.header("cache-control").contains("no-store"));
    }
    // A stream over several rooms ends when all have.
    let target = "/realtime/sse?room=r&room=s&from=start";
    server.hub().publish("s", Event::json("n", &1).expect("JSON").last()).await.expect("published");
    let answer =
        within(SOON, "the end", request(server.address(), "GET", target, &[], "")).await.expect("an answer");
    let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    assert_eq!((answer.status, text.matches("event: tidings.end\n").count()), (200, 2), "{text}");
    server.until_sessions(0, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_over_an_ended_room_and_a_live_one_waits_for_the_live_one() {
    let server = Server::start().await;
    let last = end(&server, 1).await;
    let live = server.publish("s", 1).await;
    let target = format!("/realtime/poll?room=r&from={last}&room=s&from={live}&wait=20");
    let (answer, ()) = tokio::join!(request(server.address(), "GET", &target, &[], ""), async {
        server.until_sessions(1, SOON).await;
        server.publish("s", 2).await;
    });
    let events = answer.expect("an answer").json()["events"].clone();
    assert_eq!((events.as_array().map(Vec::len), &events[0]["data"]), (Some(1), &2.into()), "{events}");
}
