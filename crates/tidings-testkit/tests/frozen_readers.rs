//! A reader whose connection takes nothing more: it misses what it may miss, and nobody waits for it.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tidings::{Event, Hub, Rooms};
use tidings_testkit::{Client, Heard, Kind, Server, Tap, mount, within};
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(60);
/// Large enough that what the sockets hold is soon full.
const PAYLOAD: usize = 64 << 10;

async fn publish_large(hub: &Hub, room: &str, number: u64) {
    let event = Event::json("n", &(number, "x".repeat(PAYLOAD))).expect("JSON");
    hub.publish(room, event).await.expect("published");
}

async fn a_reader_of_a_latest_value_room_jumps_to_the_newest_without_a_gap(kind: Kind) {
    const LAST: u64 = 300;
    let server = Server::with_rooms(Rooms::latest()).await;
    let tap = Tap::to(server.address()).await;
    publish_large(server.hub(), "r", 1).await;
    let mut client = Client::connect(kind, tap.address(), "r", "now").await.expect("let in");
    let mut numbers = Vec::new();
    let hear = async |client: &mut Client| match within(SOON, "a value", client.next()).await {
        Some(Heard::Event { data, .. }) => data[0].as_u64().expect("a number"),
        other => panic!("{other:?}"),
    };
    numbers.push(hear(&mut client).await);
    tap.freeze();
    for number in 2..=LAST {
        publish_large(server.hub(), "r", number).await;
    }
    tap.thaw();
    while numbers.last() != Some(&LAST) {
        numbers.push(hear(&mut client).await);
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(numbers[0], 1);
    assert!((numbers.len() as u64) < LAST / 2, "it was given {} values, for it read slowly", numbers.len());
}

mount!(a_reader_of_a_latest_value_room_jumps_to_the_newest_without_a_gap);

const SESSIONS: usize = 200;
const PUBLISHERS: u64 = 5;
const EACH: u64 = 60;
const BEFORE: u64 = 50;
const HEAVY: u64 = 250;

/// Reads both rooms to their end and answers, for each room, who published what in which order.
async fn read(mut client: Client, last: u64) -> BTreeMap<String, Vec<(u64, u64)>> {
    let mut heard = BTreeMap::new();
    let mut count = 0;
    while count < last {
        let data: Value = match within(SOON, "the rest", client.next()).await {
            Some(Heard::Event { data, .. }) => data,
            other => panic!("{other:?}"),
        };
        let part = |at: usize| data[at].as_u64().expect("a number");
        let room: &mut Vec<_> = heard.entry(data[0].as_str().expect("a room").to_owned()).or_default();
        room.push((part(1), part(2)));
        count += 1;
    }
    heard
}

async fn publish(hub: &Hub, room: &str, publisher: u64, number: u64) -> String {
    let event = Event::json("n", &(room, publisher, number)).expect("JSON");
    hub.publish(room, event).await.expect("published").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stuck_in_the_middle_of_its_return_holds_up_nobody() {
    let server = Server::with_rooms(Rooms::log(20_000, SOON)).await;
    let tap = Tap::to(server.address()).await;
    for number in 1..=BEFORE {
        publish(server.hub(), "a", PUBLISHERS, number).await;
        publish(server.hub(), "b", PUBLISHERS, number).await;
    }
    // More than its connection takes, beside the rooms that all share: it stands still for good.
    for number in 1..=HEAVY {
        publish_large(server.hub(), "heavy", number).await;
    }
    let rooms = ["a", "b", "heavy"];
    let mut stuck = Client::connect_many(Kind::Sse, tap.address(), &rooms, "start").await.expect("let in");
    tap.freeze();

    let mut readers = JoinSet::new();
    for at in 0..SESSIONS {
        let (address, kind) = (server.address(), Kind::ALL[at % 3]);
        readers.spawn(async move {
            let client = Client::connect_many(kind, address, &["a", "b"], "start").await.expect("let in");
            read(client, 2 * (BEFORE + PUBLISHERS * EACH)).await
        });
    }
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let hub = server.hub().clone();
        publishers.spawn(async move {
            let mut longest = Duration::ZERO;
            for number in 1..=EACH {
                for room in ["a", "b"] {
                    let begin = Instant::now();
                    publish(&hub, room, publisher, number).await;
                    longest = longest.max(begin.elapsed());
                }
                tokio::task::yield_now().await;
            }
            longest
        });
    }
    while let Some(longest) = publishers.join_next().await {
        let longest = longest.expect("no panic");
        assert!(longest < Duration::from_secs(1), "a publish took {longest:?}");
    }
    let mut order: Option<BTreeMap<String, Vec<(u64, u64)>>> = None;
    while let Some(heard) = readers.join_next().await {
        let heard = heard.expect("an equal ledger");
        for (room, heard) in &heard {
            let mut last = [0; PUBLISHERS as usize + 1];
            for (publisher, number) in heard {
                let before = std::mem::replace(&mut last[*publisher as usize], *number);
                assert_eq!(*number, before + 1, "of publisher {publisher} in room {room}");
            }
        }
        assert_eq!(order.get_or_insert_with(|| heard.clone()), &heard, "all hear one order");
    }
    // It is still a member, and goes on where it was.
    server.until_sessions(1, Duration::from_secs(2)).await;
    assert_eq!(server.hub().stats().members, rooms.len());
    tap.thaw();
    let mut heard = BTreeMap::new();
    for _ in 0..2 * (BEFORE + PUBLISHERS * EACH) + HEAVY {
        let data = match within(SOON, "the rest", stuck.next()).await {
            Some(Heard::Event { data, .. }) => data,
            other => panic!("{other:?}"),
        };
        let (room, last) = match data[0].as_u64() {
            Some(number) => ("heavy".to_owned(), number),
            None => (data[0].as_str().expect("a room").to_owned(), 0),
        };
        let count = heard.entry(room).or_insert(0);
        *count += 1;
        assert!(last == 0 || last == *count, "{last} is number {count}");
    }
    assert_eq!(heard.len(), rooms.len());
}
