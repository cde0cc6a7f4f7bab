//! Several rooms at once: each goes on where it stood.

use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use tidings::Limits;
use tidings_testkit::{Client, Heard, Kind, Server, request, within};

const SOON: Duration = Duration::from_secs(10);
const ROOMS: [&str; 3] = ["c", "a", "b"];

/// Room and number in one payload, for an event stream does not name the room.
async fn publish(server: &Server, room: &str, number: u64) -> tidings::Position {
    let event = tidings::Event::json("n", &(room, number)).expect("JSON");
    server.hub().publish(room, event).await.expect("published")
}

/// Takes an event down as the successor in its room.
fn note(heard: &Heard, last: &mut BTreeMap<String, u64>) -> String {
    let Heard::Event { data, .. } = heard else { panic!("{heard:?} is no event") };
    let room = data[0].as_str().expect("a room").to_owned();
    let number = data[1].as_u64().expect("a number");
    let before = last.insert(room.clone(), number).unwrap_or(0);
    assert_eq!(number, before + 1, "in room {room}");
    room
}

#[tokio::test(flavor = "multi_thread")]
async fn one_cursor_over_all_rooms_goes_from_connection_to_connection_and_between_transports() {
    let server = Server::start().await;
    let mut cursor = "now".to_owned();
    let mut last = BTreeMap::new();
    for round in 0..12 {
        // The order of the rooms in the query does not matter.
        let mut rooms = ROOMS;
        rooms.rotate_left(round % 3);
        let kind = [Kind::Sse, Kind::Poll][round % 2];
        let mut client = Client::connect_many(kind, server.address(), &rooms, &cursor).await.expect("let in");
        for room in ROOMS {
            let number = last.get(room).copied().unwrap_or(0) + 1;
            publish(&server, room, number).await;
            // The second is still under way when the client leaves, or is heard; both are right.
            publish(&server, room, number + 1).await;
            // Whatever has come by now is where it goes on.
            let heard = within(SOON, "an event", client.next()).await.expect("still open");
            note(&heard, &mut last);
            while last.get(room).copied().unwrap_or(0) < number + 1 {
                note(&within(SOON, "an event", client.next()).await.expect("still open"), &mut last);
            }
        }
        assert!(client.cursor().starts_with('v'), "{}", client.cursor());
        client.cursor().clone_into(&mut cursor);
    }
    assert_eq!(last.values().copied().collect::<Vec<_>>(), [24, 24, 24]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_cut_between_two_events_of_different_rooms_repeats_neither() {
    let server = Server::start().await;
    for number in 1..=10 {
        for room in ROOMS {
            publish(&server, room, number).await;
        }
    }
    let mut cursor = "start".to_owned();
    let mut last = BTreeMap::new();
    for _ in 0..30 {
        // One event a connection: wherever the cut is, the id of the event before says all.
        let mut client =
            Client::connect_many(Kind::Sse, server.address(), &ROOMS, &cursor).await.expect("let in");
        note(&within(SOON, "an event", client.next()).await.expect("still open"), &mut last);
        client.cursor().clone_into(&mut cursor);
    }
    assert_eq!(last.values().copied().collect::<Vec<_>>(), [10, 10, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_room_may_have_a_cursor_of_its_own() {
    let server = Server::start().await;
    let mut positions = BTreeMap::new();
    for number in 1..=4 {
        for room in ROOMS {
            positions.insert((room, number), publish(&server, room, number).await.to_string());
        }
    }
    let query = format!("room=b&from={}&room=a&from={}", positions[&("b", 2)], positions[&("a", 3)]);
    let target = format!("/realtime/poll?{query}");
    let answer = request(server.address(), "GET", &target, &[], "").await.expect("an answer").json();
    let data: Vec<_> =
        answer["events"].as_array().expect("events").iter().map(|event| event["data"].clone()).collect();
    let mut sorted = data.clone();
    sorted.sort_by_key(|data| data.to_string());
    assert_eq!(sorted, [json!(["a", 4]), json!(["b", 3]), json!(["b", 4])], "{data:?}");

    let mut client = Client::connect(Kind::Ws, server.address(), "c", "now").await.expect("let in");
    for (room, at) in [("a", 1), ("b", 3)] {
        let join = json!({"type": "join", "ref": at, "room": room, "from": positions[&(room, at)]});
        let joined = client.command(&join).await;
        assert_eq!((&joined["type"], &joined["recovered"]), (&json!("joined"), &json!(true)), "{joined}");
    }
    let mut last = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 3)]);
    for _ in 0..4 {
        note(&within(SOON, "an event", client.next()).await.expect("still open"), &mut last);
    }
    assert_eq!(last, BTreeMap::from([("a".to_owned(), 4), ("b".to_owned(), 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_rooms_as_are_allowed_fit_and_one_more_is_refused_clearly() {
    let server = Server::start().await;
    let max = Limits::default().rooms;
    let names: Vec<_> = (0..=max).map(|number| format!("{number:03}")).collect();
    let mut names: Vec<_> = names.iter().map(String::as_str).collect();
    for kind in Kind::ALL {
        let refused = Client::connect_many(kind, server.address(), &names, "now").await.expect_err("refused");
        assert_eq!((refused.status, refused.code.as_str()), (400, "too_many_rooms"), "{kind:?}");
    }
    names.pop();
    let client = Client::connect_many(Kind::Sse, server.address(), &names, "now").await.expect("let in");
    let cursor = client.cursor().to_owned();
    drop(client);
    publish(&server, names[max - 1], 1).await;
    let rooms: Vec<_> = names.iter().map(|name| format!("room={name}")).collect();
    let target = format!("/realtime/poll?{}", rooms.join("&"));
    let header = format!("last-event-id: {cursor}");
    let answer = request(server.address(), "GET", &target, &[&header], "").await.expect("an answer").json();
    assert_eq!(answer["events"][0]["data"], json!([names[max - 1], 1]), "a cursor of {} bytes", cursor.len());

    let mut client = Client::connect_many(Kind::Ws, server.address(), &names, "now").await.expect("let in");
    let error = client.command(&json!({"type": "join", "ref": 1, "room": "more"})).await;
    assert_eq!(error["code"], "too_many_rooms");
    let left = client.command(&json!({"type": "leave", "ref": 2, "room": "000"})).await;
    assert_eq!(left["type"], "left");
    assert_eq!(client.command(&json!({"type": "join", "ref": 3, "room": "more"})).await["type"], "joined");
}
