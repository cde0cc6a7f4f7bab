//! A cursor is whatever a client sends: it may be refused or lead to a gap, never to a fault or to another room.

use std::time::Duration;
use tidings_testkit::{Client, Heard, Kind, Server, mount, request, within};

const SOON: Duration = Duration::from_secs(5);

async fn a_cursor_that_is_none_is_refused(kind: Kind) {
    let server = Server::start().await;
    server.publish("a", 1).await;
    let long = "p".repeat(50_000);
    for bad in [
        "0",
        "-1",
        "9223372036854775808",
        "18446744073709551616",
        "%00",
        "{}",
        "p",
        "p1",
        "p1.2",
        "v",
        "vAAAA",
        "p1.2.3.4",
        "P1.2.3",
        "%7B%22a%22%3A1%7D",
        "null",
        &long,
    ] {
        let refused = match kind {
            Kind::Poll => {
                let target = format!("/realtime/poll?room=a&cursor={bad}");
                request(server.address(), "GET", &target, &[], "").await.map(|answer| answer.status)
            }
            _ => Ok(Client::connect(kind, server.address(), "a", bad).await.expect_err("refused").status),
        };
        assert_eq!(refused.expect("an answer"), 400, "{bad:.30}");
    }
}

async fn a_cursor_of_elsewhere_is_a_gap_and_shows_only_this_room(kind: Kind) {
    let server = Server::start().await;
    for number in 1..=3 {
        server.publish("a", number).await;
    }
    let other = server.publish("b", 100).await;
    let head = server.publish("a", 4).await;
    let unlike = |change: &dyn Fn(&mut tidings::Position)| {
        let mut position = head;
        change(&mut position);
        position.to_string()
    };
    for cursor in [
        other.to_string(),
        unlike(&|position| position.epoch ^= 1),
        unlike(&|position| position.offset += 1_000_000),
        unlike(&|position| position.offset = u64::MAX),
        unlike(&|position| position.tag ^= 1),
        unlike(&|position| position.offset = 0),
        "p0.0.0".to_owned(),
        "vAAAAAAAAAAAAAAA".to_owned(),
    ] {
        let mut client = Client::connect(kind, server.address(), "a", &cursor).await.expect("let in");
        match within(SOON, "a gap", client.next()).await {
            Some(Heard::Gap { room, reason, .. }) => {
                assert_eq!((&*room, &*reason), ("a", "epoch"), "{cursor}")
            }
            other => panic!("{other:?} for {cursor}"),
        }
        for number in 1..=4 {
            assert_eq!(within(SOON, "the history", client.number()).await, number);
        }
    }
}

mount!(a_cursor_that_is_none_is_refused, a_cursor_of_elsewhere_is_a_gap_and_shows_only_this_room);

#[tokio::test]
async fn a_last_event_id_is_judged_like_any_cursor() {
    let server = Server::start().await;
    let ask = async |id: String| {
        let header = format!("last-event-id: {id}");
        let answer = request(server.address(), "GET", "/realtime/poll?room=a&wait=0", &[&header], "").await;
        answer.expect("an answer")
    };
    assert_eq!(ask("0".to_owned()).await.status, 400);
    assert_eq!(ask("\u{e9}".to_owned()).await.status, 400);
    assert_eq!(ask("p1.1.1".to_owned()).await.json()["events"][0]["reason"], "epoch");
    // A head of a megabyte is refused as a head, before anybody looks for a cursor in it.
    let long = request(
        server.address(),
        "GET",
        "/realtime/poll?room=a",
        &[&format!("last-event-id: {}", "p".repeat(1 << 20))],
        "",
    )
    .await;
    assert!(long.is_err() || long.is_ok_and(|answer| answer.status == 431));
    assert_eq!(ask("".to_owned()).await.status, 200);
}

#[tokio::test]
async fn a_websocket_joins_with_a_cursor_under_the_same_rules() {
    let server = Server::start().await;
    server.publish("b", 1).await;
    let mut client = Client::connect(Kind::Ws, server.address(), "a", "now").await.expect("let in");
    let join = |from: &str| serde_json::json!({"type": "join", "ref": 1, "room": "b", "from": from});
    assert_eq!(client.command(&join("p1.2")).await["code"], "bad_cursor");
    let joined = client.command(&join("p1.2.3")).await;
    assert_eq!((&joined["type"], &joined["recovered"]), (&"joined".into(), &false.into()));
    assert!(matches!(within(SOON, "a gap", client.next()).await, Some(Heard::Gap { .. })));
    assert_eq!(within(SOON, "the history", client.number()).await, 1);
}
