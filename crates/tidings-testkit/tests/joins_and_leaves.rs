//! Joins and leaves in any order and at any moment leave just the membership that was asked for last.

use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidings_testkit::{Random, Server, Tap, within};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn the_membership_is_that_of_the_last_command_however_late_the_answers_come() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let server = Server::start().await;
    let tap = Tap::to(server.address()).await;
    let url = format!("ws://{}/realtime/ws", tap.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("let in");
    tap.delay(Duration::from_millis(50));
    let mut random = Random::new();
    let rooms = ["a", "b", "c", "d", "e"];
    let mut wanted = BTreeSet::new();
    let mut script: Vec<(&str, &str)> = vec![("join", "a"), ("leave", "a"), ("join", "a"), ("join", "a")];
    script.extend([("leave", "e"), ("leave", "e")]);
    for _ in 0..300 {
        script.push((*random.pick(&["join", "leave"]), *random.pick(&rooms)));
    }
    // All at once, long before the first answer.
    for (at, (command, room)) in script.iter().enumerate() {
        match *command {
            "join" => wanted.insert(*room),
            _ => wanted.remove(room),
        };
        let command = json!({"type": command, "ref": at, "room": room});
        socket.feed(Message::text(command.to_string())).await.expect("still open");
    }
    socket.flush().await.expect("still open");
    for (at, (command, room)) in script.iter().enumerate() {
        let answer = within(SOON, "an answer", socket.next()).await.expect("still open").expect("still open");
        let answer: Value = serde_json::from_str(answer.to_text().expect("text")).expect("JSON");
        let done = if *command == "join" { "joined" } else { "left" };
        assert_eq!(
            (&answer["type"], &answer["ref"], &answer["room"]),
            (&json!(done), &json!(at), &json!(room))
        );
    }
    assert_eq!(server.hub().stats().members, wanted.len());
    let mut heard = BTreeMap::new();
    for room in rooms {
        server.publish(room, 1).await;
    }
    while heard.len() < wanted.len() {
        let event = within(SOON, "an event", socket.next()).await.expect("still open").expect("still open");
        let event: Value = serde_json::from_str(event.to_text().expect("text")).expect("JSON");
        *heard.entry(event["room"].as_str().expect("a room").to_owned()).or_insert(0) += 1;
    }
    assert!(heard.iter().all(|(room, count)| wanted.contains(room.as_str()) && *count == 1), "{heard:?}");
}
