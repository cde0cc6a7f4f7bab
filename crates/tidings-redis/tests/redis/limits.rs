//! What a server keeps, and for how long.

use crate::server::*;
use std::time::{Duration, Instant};
use tidings_core::{Event, Rooms, broker::*};

/// All keys there are, with the milliseconds that each is kept.
async fn keys(server: &RedisServer) -> Vec<(String, i64)> {
    let mut keys = Vec::new();
    for key in server.admin::<Vec<String>>("KEYS *").await {
        let left = server.admin(&format!("PTTL {key}")).await;
        keys.push((key, left));
    }
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_kept_for_a_while_only() {
    let server = RedisServer::start();
    let broker = server.broker().await;
    let minute = Rooms::log(10, Duration::from_secs(60));
    let keyed = Publish { key: Some("k".into()), ..publish(&room("r"), minute, 1) };
    broker.publish(keyed).await.unwrap();
    broker
        .publish(Publish { key: Some("k".into()), ..publish(&room("e"), Rooms::ephemeral(), 1) })
        .await
        .unwrap();
    broker.publish(publish(&room("f"), Rooms::ephemeral(), 1)).await.unwrap();
    broker.read(&room("empty"), minute, ReadFrom::Tail, 10).await.unwrap();
    let keys = keys(&server).await;
    assert_eq!(keys.len(), 5, "meta, stream and key, a key, and the meta of an empty room: {keys:?}");
    for (key, left) in keys {
        let most = if key.contains(":s:") {
            60_000
        } else if key.contains(":m:") {
            180_000
        } else {
            300_000
        };
        assert!((most - 20_000..=most).contains(&left), "{key}: {left} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_holds_little_more_than_the_room_keeps() {
    let server = RedisServer::start();
    let broker = server.broker().await;
    let length = async |name: &str| {
        let keys: Vec<String> = server.admin(&format!("KEYS *:s:{name}")).await;
        server.admin::<usize>(&format!("XLEN {}", keys[0])).await
    };
    publish_all(&broker, &room("count"), log(50), 0..500).await;
    let held = length("count").await;
    assert!((50..200).contains(&held), "{held}");

    let event = Event::json("n", &"x".repeat(1_000)).unwrap();
    let rooms = log(10_000).bytes(20 * event.weight());
    for _ in 0..500 {
        broker.publish(Publish { event: event.clone(), ..publish(&room("bytes"), rooms, 0) }).await.unwrap();
    }
    let held = length("bytes").await;
    assert!((20..=42).contains(&held), "{held}");
    let slice = broker.read(&room("bytes"), rooms, ReadFrom::Start, 100).await.unwrap();
    assert_eq!(slice.messages.len(), 20);

    let rooms = Rooms::log(10_000, Duration::from_secs(2));
    publish_all(&broker, &room("age"), rooms, 0..300).await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        publish_all(&broker, &room("age"), rooms, 0..1).await;
    }
    let held = length("age").await;
    assert!((2..60).contains(&held), "{held}");
    let slice = broker.read(&room("age"), rooms, ReadFrom::Start, 10_000).await.unwrap();
    assert!((1..25).contains(&slice.messages.len()), "{}", slice.messages.len());
    assert_eq!(slice.messages.last().unwrap().position(), slice.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_become_too_old_is_not_read_and_what_follows_is() {
    let server = RedisServer::start();
    let broker = server.broker().await;
    let room = room("r");
    let old = publish_all(&broker, &room, log(1_000), 0..300).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let since = Instant::now();
    let young = publish_all(&broker, &room, log(1_000), 300..500).await;
    let read = async |from, limit| {
        let rooms = Rooms::log(1_000, since.elapsed() + Duration::from_millis(300));
        broker.read(&room, rooms, from, limit).await.unwrap()
    };
    let start = read(ReadFrom::Start, 1_000).await;
    assert_eq!((start.start, numbers(&start)), (old[299], (300..500).collect()));
    assert_eq!(numbers(&read(ReadFrom::Tail, 7).await), (493..500).collect::<Vec<_>>());
    let after = read(ReadFrom::After(old[299]), 1_000).await;
    assert_eq!((after.start, after.messages.len()), (old[299], 200), "it has missed nothing that was kept");
    assert_eq!(read(ReadFrom::After(old[298]), 1_000).await.start, old[299], "it has missed one");
    assert_eq!(read(ReadFrom::After(young[100]), 1_000).await.start, young[100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_events_are_read_a_page_at_a_time() {
    let server = RedisServer::start();
    let broker = server.broker().await;
    let (room, rooms) = (room("r"), log(1_000));
    let event = Event::json("n", &"x".repeat(300_000)).unwrap();
    for _ in 0..40 {
        broker.publish(Publish { event: event.clone(), ..publish(&room, rooms, 0) }).await.unwrap();
    }
    let mut slice = broker.read(&room, rooms, ReadFrom::Start, 1_000).await.unwrap();
    let (mut pages, mut read) = (1, slice.messages.len());
    while slice.messages.last().unwrap().position() != slice.head {
        assert!(slice.messages.len() < 31, "{} of 300 kB at once", slice.messages.len());
        let end = slice.messages.last().unwrap().position();
        slice = broker.read(&room, rooms, ReadFrom::After(end), 1_000).await.unwrap();
        assert_eq!(slice.start, end);
        (pages, read) = (pages + 1, read + slice.messages.len());
    }
    assert_eq!(read, 40);
    assert!(pages > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_to_the_keys_is_survived() {
    let server = RedisServer::start();
    let broker = server.broker().await;
    let (room, rooms) = (room("r"), log(100));
    let old = publish_all(&broker, &room, rooms, 0..5).await;
    let keys: Vec<String> = server.admin("KEYS *:s:r").await;
    let (stream, meta) = (&keys[0], keys[0].replace(":s:", ":m:"));
    // The history alone is gone, as where memory was short.
    server.admin::<()>(&format!("DEL {stream}")).await;
    let slice = broker.read(&room, rooms, ReadFrom::After(old[2]), 10).await.unwrap();
    assert_eq!((slice.start, slice.messages.len(), slice.head), (old[4], 0, old[4]));
    let new = publish_all(&broker, &room, rooms, 5..8).await;
    let slice = broker.read(&room, rooms, ReadFrom::After(old[4]), 10).await.unwrap();
    assert_eq!((slice.start, numbers(&slice)), (old[4], vec![5, 6, 7]));
    // The rest alone.
    server.admin::<()>(&format!("DEL {meta}")).await;
    let slice = broker.read(&room, rooms, ReadFrom::After(new[2]), 10).await.unwrap();
    assert_ne!(slice.start.epoch, new[2].epoch);
    assert!(slice.messages.is_empty());
    // What is there before is not ours.
    server.admin::<()>(&format!("XADD {stream} 7-7 a b")).await;
    let other = publish_all(&broker, &room, rooms, 0..2).await;
    let slice = broker.read(&room, rooms, ReadFrom::Start, 10).await.unwrap();
    assert_eq!((numbers(&slice), slice.head), (vec![0, 1], other[1]));
    // What is there in between neither.
    server.admin::<()>(&format!("XADD {stream} 2-7 m b")).await;
    let last = publish_all(&broker, &room, rooms, 2..4).await;
    let slice = broker.read(&room, rooms, ReadFrom::Start, 10).await.unwrap();
    assert_eq!((slice.start, numbers(&slice), slice.head), (other[1], vec![2, 3], last[1]));
    // Of another kind.
    server.admin::<()>(&format!("DEL {stream}")).await;
    server.admin::<()>(&format!("SET {stream} x")).await;
    let error = broker.publish(publish(&room, rooms, 1)).await.unwrap_err();
    assert!(matches!(&error, BrokerError::Unavailable(why) if why.contains("WRONGTYPE")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_forgotten_the_scripts_is_told_again() {
    let server = RedisServer::start();
    let broker = server.broker().await;
    publish_all(&broker, &room("r"), log(10), 0..1).await;
    for command in ["SCRIPT FLUSH", "FLUSHALL"] {
        server.admin::<()>(command).await;
        publish_all(&broker, &room("r"), log(10), 1..4).await;
        server.admin::<()>("SCRIPT FLUSH").await;
        let slice = broker.read(&room("r"), log(10), ReadFrom::Tail, 3).await.unwrap();
        assert_eq!(numbers(&slice), [1, 2, 3], "{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_dropped_leaves_no_connection() {
    let server = RedisServer::start();
    let connections = async || server.admin::<String>("CLIENT LIST").await.lines().count();
    let broker = server.broker().await;
    broker.watch(&room("r"), log(10)).await.unwrap();
    publish_all(&broker, &room("r"), log(10), 0..1).await;
    assert_eq!(connections().await, 3, "two, and the one that asks");
    drop(broker);
    within(5, "they end", async {
        while connections().await > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_share_nothing_by_prefix_or_database() {
    let server = RedisServer::start();
    let url = server.url();
    let brokers = [
        tidings_redis::RedisBroker::builder(&url).build().unwrap(),
        tidings_redis::RedisBroker::builder(&url).prefix("other").build().unwrap(),
        tidings_redis::RedisBroker::builder(&format!("{url}/3")).build().unwrap(),
    ];
    let notes: [_; 3] = std::array::from_fn(|_| std::sync::Arc::new(Notes::default()));
    for (broker, notes) in brokers.iter().zip(&notes) {
        ready(broker).await;
        let notes = std::sync::Arc::downgrade(notes);
        broker.attach(notes);
        broker.watch(&room("r"), log(10)).await.unwrap();
    }
    for (number, broker) in brokers.iter().enumerate() {
        publish_all(broker, &room("r"), log(10), number..number + 1).await;
    }
    for (number, (broker, notes)) in brokers.iter().zip(&notes).enumerate() {
        let slice = broker.read(&room("r"), log(10), ReadFrom::Start, 10).await.unwrap();
        assert_eq!(numbers(&slice), [number]);
        until(5, "its own", || notes.messages().len() == 1).await;
        assert_eq!((notes.messages()[0].position(), notes.lost()), (slice.head, 0));
    }
}
