//! What a broker owes, one call at a time.

use super::{BrokerServer, Notes, ServerKind, log, numbers, publish, publish_all, room, until};
use futures_util::future::join_all;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tidings::{
    Position, Rooms,
    broker::{Publish, ReadFrom},
};

/// What is published is read from every place, in order.
///
/// # Panics
/// If not.
pub async fn what_is_published_is_read_in_order_from_every_place(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let broker = server.broker().await;
    let (room, other) = (room("a {room}. >:*"), room("other"));
    let mut positions = Vec::new();
    for number in 0..200 {
        // Where rooms share what they are kept in, offsets have holes.
        publish_all(&*broker, &other, log(1_000), 0..number % 3).await;
        positions.extend(publish_all(&*broker, &room, log(1_000), number..number + 1).await);
    }
    let read = async |from, limit| broker.read(&room, log(1_000), from, limit).await.expect("it works");
    let whole = read(ReadFrom::Start, 1_000).await;
    assert_eq!(numbers(&whole), (0..200).collect::<Vec<_>>());
    assert_eq!(whole.messages.iter().map(|m| m.position()).collect::<Vec<_>>(), positions);
    let mut follows = whole.start;
    for message in &whole.messages {
        assert_eq!(message.follows(), follows);
        follows = message.position();
    }
    assert_eq!(whole.head, positions[199]);
    let tail = read(ReadFrom::Tail, 10).await;
    assert_eq!(numbers(&tail), (190..200).collect::<Vec<_>>());
    for at in [0, 1, 100, 189, 197, 198] {
        let after = read(ReadFrom::After(positions[at]), 10).await;
        assert_eq!((after.start, after.head), (positions[at], positions[199]));
        assert_eq!(numbers(&after), (at + 1..200.min(at + 11)).collect::<Vec<_>>());
    }
    let nothing = read(ReadFrom::After(positions[199]), 10).await;
    assert_eq!((nothing.start, nothing.messages.len(), nothing.head), (positions[199], 0, positions[199]));
}

/// A cursor that is no event's of the room is not taken for one.
///
/// # Panics
/// If not.
pub async fn a_cursor_of_no_event_of_the_room_is_not_taken_for_one(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let broker = server.broker().await;
    let (room, other) = (room("r"), room("other"));
    let positions = publish_all(&*broker, &room, log(100), 0..5).await;
    let foreign = publish_all(&*broker, &other, log(100), 0..1).await[0];
    publish_all(&*broker, &room, log(100), 5..8).await;
    let third = positions[2];
    for cursor in [
        Position { tag: third.tag ^ 1, ..third },
        Position { epoch: third.epoch ^ 1, ..third },
        Position { offset: 0, ..third },
        Position { offset: 1_000_000, ..third },
        Position { offset: u64::MAX, ..third },
        foreign,
        Position::UNKNOWN,
    ] {
        let slice = broker.read(&room, log(100), ReadFrom::After(cursor), 100).await.expect("it works");
        assert_ne!(slice.start, cursor, "{cursor}");
        assert_eq!(numbers(&slice), (0..8).collect::<Vec<_>>());
    }
}

/// A room keeps what its class says, by count, age and bytes.
///
/// # Panics
/// If not.
pub async fn a_room_keeps_what_its_class_says_beside_one_that_keeps_more(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let broker = server.broker().await;
    let (small, large) = (room("small"), room("large"));
    publish_all(&*broker, &large, log(500), 0..1).await;
    let positions = publish_all(&*broker, &small, log(5), 0..17).await;
    let after = async |at: usize| {
        let slice = broker.read(&small, log(5), ReadFrom::After(positions[at]), 100).await.expect("it works");
        (slice.start == positions[at], numbers(&slice))
    };
    assert_eq!(after(11).await, (true, (12..17).collect()), "it has missed exactly all that is kept");
    assert_eq!(after(10).await, (false, (12..17).collect()), "it has missed one more");
    let start = broker.read(&small, log(5), ReadFrom::Start, 100).await.expect("it works");
    assert_eq!(numbers(&start), (12..17).collect::<Vec<_>>());
    let old = Rooms::log(5, Duration::from_millis(1));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let slice = broker.read(&small, old, ReadFrom::After(positions[15]), 100).await.expect("it works");
    assert_eq!((slice.start, slice.messages.len()), (positions[16], 0), "all is too old");
    let narrow = log(100).bytes(500);
    let slice = broker.read(&small, narrow, ReadFrom::Start, 100).await.expect("it works");
    assert_eq!(numbers(&slice), [15, 16], "two events weigh less than 500 bytes, three more");
    assert_eq!(slice.start, positions[14]);
}

/// Who has missed exactly all that is kept is told of no gap, and who has missed one more is.
///
/// # Panics
/// If not.
pub async fn the_boundary_holds_where_the_history_itself_was_trimmed(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let broker = server.broker().await;
    let room = room("r");
    let positions = publish_all(&*broker, &room, log(5), 0..20).await;
    let after = async |at: usize| {
        let slice = broker.read(&room, log(5), ReadFrom::After(positions[at]), 100).await.expect("it works");
        (slice.start == positions[at], numbers(&slice))
    };
    assert_eq!(after(14).await, (true, (15..20).collect()));
    assert_eq!(after(13).await, (false, (15..20).collect()));
    assert_eq!(after(0).await, (false, (15..20).collect()));
}

/// An empty room has a place to resume from, on every node.
///
/// # Panics
/// If not.
pub async fn an_empty_room_has_an_epoch_and_a_place_to_resume_from(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let broker = server.broker().await;
    let (empty, busy) = (room("empty"), room("busy"));
    publish_all(&*broker, &busy, log(100), 0..3).await;
    let head = broker.read(&empty, log(100), ReadFrom::Tail, 10).await.expect("it works").head;
    assert_ne!(head.epoch, 0);
    publish_all(&*broker, &busy, log(100), 3..6).await;
    let again = broker.read(&empty, log(100), ReadFrom::After(head), 10).await.expect("it works");
    assert_eq!((again.start, again.head), (head, head));
    publish_all(&*broker, &empty, log(100), 0..3).await;
    // Another node, that has never seen the room empty.
    let other = server.broker().await;
    let slice = other.read(&empty, log(100), ReadFrom::After(head), 10).await.expect("it works");
    assert_eq!((slice.start, numbers(&slice)), (head, vec![0, 1, 2]));
}

/// Whoever finds a room empty stands before its first event, however many come to other rooms at that moment.
///
/// # Panics
/// If not.
pub async fn a_room_that_is_found_empty_is_followed_by_its_first_event(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let broker = server.broker().await;
    for rooms in [log(100), Rooms::latest()] {
        for round in 0..10 {
            let names: Vec<_> = (0..50).map(|at| room(&format!("{:?}-{round}-{at}", rooms.kind()))).collect();
            let reads = join_all(names.iter().map(async |name| {
                let (published, read) = tokio::join!(
                    broker.publish(publish(name, rooms, 7)),
                    broker.read(name, rooms, ReadFrom::Start, 10)
                );
                published.expect("published");
                read.expect("read")
            }))
            .await;
            for (name, read) in names.iter().zip(reads) {
                let rest = broker.read(name, rooms, ReadFrom::After(read.head), 10).await.expect("read");
                assert_eq!(rest.start, read.head);
                assert_eq!([numbers(&read), numbers(&rest)].concat(), [7], "{name} at {}", read.head);
            }
        }
    }
}

/// A key publishes once in its room, from whatever node.
///
/// # Panics
/// If not.
pub async fn a_key_publishes_once_in_its_room(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let (one, two) = (server.broker().await, server.broker().await);
    let (room, other) = (room("r"), room("q"));
    let keyed = |room, number| Publish { key: Some("the key\r\n".into()), ..publish(room, log(100), number) };
    let first = one.publish(keyed(&room, 1)).await.expect("it works");
    one.publish(publish(&room, log(100), 2)).await.expect("it works");
    assert_eq!(two.publish(keyed(&room, 3)).await.expect("it works"), first, "from another node too");
    assert_ne!(
        two.publish(keyed(&other, 4)).await.expect("it works"),
        first,
        "another room's key is another"
    );
    let slice = one.read(&room, log(100), ReadFrom::Start, 10).await.expect("it works");
    assert_eq!(numbers(&slice), [1, 2]);
    assert_eq!(slice.messages[0].position(), first);
}

/// A watched room is handed over, each message with what it follows.
///
/// # Panics
/// If not.
pub async fn a_watched_room_is_handed_over_with_what_each_message_follows(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let (one, two) = (server.broker().await, server.broker().await);
    let (room, other) = (room("r"), room("other"));
    let notes = Arc::new(Notes::default());
    let sink = Arc::downgrade(&notes);
    two.attach(sink);
    publish_all(&*one, &room, log(100), 0..3).await;
    two.watch(&room, log(100)).await.expect("it works");
    let head = two.read(&room, log(100), ReadFrom::Tail, 10).await.expect("it works").head;
    let mut positions = Vec::new();
    for number in 3..20 {
        publish_all(&*one, &other, log(100), 0..number % 4).await;
        positions.extend(publish_all(&*one, &room, log(100), number..number + 1).await);
    }
    until(5, "all are handed over", || notes.messages().len() == 17).await;
    let mut follows = head;
    for (message, position) in notes.messages().iter().zip(&positions) {
        assert_eq!((message.follows(), message.position()), (follows, *position));
        follows = *position;
    }
    assert_eq!(notes.lost(), 0);
    two.unwatch(&room);
    assert_eq!(two.watched(), 0);
}

/// Of a latest-value room only the newest is kept.
///
/// # Panics
/// If not.
pub async fn only_the_newest_value_of_a_latest_room_is_kept(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let broker = server.broker().await;
    let room = room("price");
    let notes = Arc::new(Notes::default());
    let sink = Arc::downgrade(&notes);
    broker.attach(sink);
    broker.watch(&room, Rooms::latest()).await.expect("it works");
    let empty = broker.read(&room, Rooms::latest(), ReadFrom::Tail, 10).await.expect("it works");
    assert!(empty.messages.is_empty());
    let positions = publish_all(&*broker, &room, Rooms::latest(), 0..10).await;
    until(5, "all are handed over", || notes.messages().len() == 10).await;
    let mut follows = empty.head;
    for message in notes.messages() {
        assert_eq!(message.follows(), follows);
        follows = message.position();
    }
    for from in [ReadFrom::Start, ReadFrom::Tail, ReadFrom::After(positions[3])] {
        assert_eq!(numbers(&broker.read(&room, Rooms::latest(), from, 10).await.expect("it works")), [9]);
    }
    let nothing =
        broker.read(&room, Rooms::latest(), ReadFrom::After(positions[9]), 10).await.expect("it works");
    assert_eq!((nothing.start, nothing.messages.len()), (positions[9], 0));
}

/// What nobody keeps reaches who is there.
///
/// # Panics
/// If not.
pub async fn what_nobody_keeps_reaches_who_is_there(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let (one, two) = (server.broker().await, server.broker().await);
    let room = room("typing");
    let notes = Arc::new(Notes::default());
    let sink = Arc::downgrade(&notes);
    two.attach(sink);
    two.watch(&room, Rooms::ephemeral()).await.expect("it works");
    // A server answers in order, so that it has heard of the watch.
    two.read(&self::room("any"), log(1), ReadFrom::Tail, 1).await.expect("it works");
    let before = two.read(&room, Rooms::ephemeral(), ReadFrom::Tail, 1).await.expect("it works").head;
    for number in 0..5 {
        one.publish(publish(&room, Rooms::ephemeral(), number)).await.expect("it works");
    }
    until(5, "all are handed over", || notes.messages().len() == 5).await;
    let mut follows = before;
    for message in notes.messages() {
        assert_eq!((message.id(), message.follows()), (None, follows));
        follows = message.position();
    }
}

/// How long a read near the head takes does not depend on how much there is.
///
/// # Panics
/// If not.
pub async fn the_newest_of_a_deep_history_are_read_as_fast_as_of_a_shallow_one(kind: ServerKind) {
    // In memory, NATS of version 2.9 gets slower with each message of a subject.
    let server = BrokerServer::start_stored(kind);
    let broker = server.broker().await;
    let rooms = log(60_000);
    let mut times = Vec::new();
    for (name, count) in [("shallow", 1_000), ("deep", 50_000)] {
        let room = room(name);
        for part in (0..count).step_by(2_000).map(|from| from..(from + 2_000).min(count)) {
            let publishes = part.map(|number| broker.publish(publish(&room, rooms, number)));
            for answer in join_all(publishes).await {
                answer.expect("it works");
            }
        }
        let tail = broker.read(&room, rooms, ReadFrom::Tail, 1_024).await.expect("it works");
        assert_eq!(tail.messages.len(), count.min(1_024));
        let (near, head) = (tail.messages[tail.messages.len() - 11].position(), tail.head);
        let near_head = async || {
            let begin = Instant::now();
            let slice = broker.read(&room, rooms, ReadFrom::After(near), 64).await.expect("it works");
            assert_eq!((slice.start, slice.messages.len(), slice.head), (near, 10, head));
            begin.elapsed()
        };
        let mut all = Vec::new();
        for _ in 0..21 {
            all.push(near_head().await);
        }
        all.sort();
        let begin = Instant::now();
        broker.read(&room, rooms, ReadFrom::Tail, 1_024).await.expect("it works");
        println!("{name}: 10 back {:?}, the newest 1 024 {:?}", all[10], begin.elapsed());
        times.push(all[10]);
    }
    assert!(times[1] < Duration::from_millis(50), "{times:?}");
    assert!(times[1] < times[0] * 3 + Duration::from_millis(2), "{times:?}");
}
