//! A WebSocket in several rooms holds a cursor for each, and comes back with all of them.

use futures_util::StreamExt;
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use tidings_testkit::{Random, Server, within};

const SOON: Duration = Duration::from_secs(10);
const ROOMS: [&str; 3] = ["c", "a", "b"];

#[tokio::test(flavor = "multi_thread")]
async fn every_room_goes_on_where_it_was_left_over_many_connections() {
    const LAST: u64 = 200;
    let server = Server::start().await;
    let hub = server.hub().clone();
    let publisher = tokio::spawn(async move {
        for number in 1..=LAST {
            for room in ROOMS {
                hub.publish(room, tidings::Event::json("n", &number).expect("JSON"))
                    .await
                    .expect("published");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let mut random = Random::new();
    let mut cursors: BTreeMap<&str, (String, u64)> =
        ROOMS.into_iter().map(|room| (room, ("start".to_owned(), 0))).collect();
    while cursors.values().any(|(_, last)| *last < LAST) {
        // Not in the order of the names, so that each cursor must find its room.
        let query: Vec<_> =
            ROOMS.iter().map(|room| format!("room={room}&from={}", cursors[room].0)).collect();
        let url = format!("ws://{}/realtime/ws?{}", server.address(), query.join("&"));
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("let in");
        for _ in 0..random.below(60) {
            if cursors.values().all(|(_, last)| *last == LAST) {
                break;
            }
            let frame = within(SOON, "a frame", socket.next()).await.expect("open").expect("open");
            let value: Value = serde_json::from_str(frame.to_text().expect("text")).expect("JSON");
            let room = value["room"].as_str().expect("a room");
            let (cursor, last) = cursors.get_mut(room).expect("a room that was joined");
            if value["type"] == "joined" {
                assert_eq!(value["recovered"], true, "{value}");
                continue;
            }
            assert_eq!((&value["type"], &value["data"]), (&"event".into(), &(*last + 1).into()), "{value}");
            value["id"].as_str().expect("a position").clone_into(cursor);
            *last += 1;
        }
    }
    publisher.await.expect("no panic");
}
