//! Servers that refuse, freeze, are slow, or go away for a while.

use super::{
    BrokerServer, ServerKind, free_port, hub, log, numbers, publish, publish_all, room, until, until_ready,
    within,
};
use crate::{Client, Kind, Server, Tap};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tidings::{
    Event, From, Hub, Limits, Received, Subscription,
    broker::{Broker, BrokerError, Publish, ReadFrom},
    gate,
};
use tokio::time::sleep;

/// Checks that nothing can be published, which is answered soon. Answers why.
///
/// # Panics
/// If not.
pub async fn refused(broker: &dyn Broker) -> String {
    let begin = Instant::now();
    let error = broker.publish(publish(&room("r"), log(10), 1)).await.expect_err("it cannot be published");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    match error {
        BrokerError::Unavailable(why) => why,
        error => panic!("{error}"),
    }
}

/// A server that comes late is found without a restart.
///
/// # Panics
/// If not.
pub async fn a_server_that_comes_late_is_found_without_a_restart(kind: ServerKind) {
    let port = free_port();
    let broker = kind.hasty_broker(SocketAddr::from(([127, 0, 0, 1], port)));
    let why = refused(&*broker).await;
    assert!(why.contains("refused") || why.contains("IO error"), "{why}");
    let _server = BrokerServer::start_at(kind, port);
    until_ready(&broker).await;
    publish_all(&*broker, &room("r"), log(10), 0..1).await;
}

/// While a server stands still, what was under way is unknown, publishing fails at once, and rings serve on.
///
/// # Panics
/// If not.
pub async fn a_frozen_server_makes_the_outcome_unknown_and_then_publishing_fails_at_once(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let broker = server.hasty_broker();
    until_ready(&broker).await;
    let node = Server::with_hub(hub(broker.shared(), log(100))).await;
    let mut client = Client::connect(Kind::Ws, node.address(), "r", "now").await.expect("it works");
    let first = node.publish("r", 1).await.to_string();
    node.publish("r", 2).await;
    assert_eq!((client.number().await, client.number().await), (1, 2));
    server.freeze();
    let keyed = Publish { key: Some("k".into()), ..publish(&room("r"), log(100), 3) };
    let begin = Instant::now();
    let error = broker.publish(keyed.clone()).await.expect_err("it fails");
    assert!(matches!(error, BrokerError::Unknown(_)), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(2));
    until(10, "it is noticed", || broker.fault().is_some()).await;
    let begin = Instant::now();
    refused(&*broker).await;
    assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());
    // The ring serves on.
    let mut resumed = Client::connect(Kind::Poll, node.address(), "r", &first).await.expect("it works");
    assert_eq!(resumed.number().await, 2);
    server.thaw();
    until_ready(&broker).await;
    let position = broker.publish(keyed.clone()).await.expect("it works");
    assert_eq!(broker.publish(keyed).await.expect("it works"), position);
    node.publish("r", 4).await;
    for client in [&mut client, &mut resumed] {
        assert_eq!(within(15, "the third, once", client.number()).await, 3);
        assert_eq!(within(15, "the fourth", client.number()).await, 4);
    }
}

/// Answers that come late are no false success, and again with the same key is no repeat.
///
/// # Panics
/// If not.
pub async fn answers_that_come_late_are_no_false_success_and_no_repeat(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let tap = Tap::to(server.address()).await;
    let broker = kind.hasty_broker(tap.address());
    until_ready(&broker).await;
    publish_all(&*broker, &room("r"), log(10), 0..1).await;
    tap.delay(Duration::from_secs(5));
    let keyed = Publish { key: Some("k".into()), ..publish(&room("r"), log(10), 1) };
    let error = broker.publish(keyed.clone()).await.expect_err("it fails");
    assert!(matches!(error, BrokerError::Unknown(_)), "{error}");
    until(10, "it is noticed", || broker.fault().is_some()).await;
    refused(&*broker).await;
    tap.delay(Duration::ZERO);
    tap.cut();
    until_ready(&broker).await;
    let position = broker.publish(keyed).await.expect("it works");
    let slice = broker.read(&room("r"), log(10), ReadFrom::Start, 10).await.expect("it works");
    assert_eq!((numbers(&slice), slice.head), (vec![0, 1], position));
}

/// No more is taken than fits on the way.
///
/// # Panics
/// If not.
pub async fn more_than_fits_on_the_way_is_not_taken_and_what_is_taken_is_stored(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let broker = server.hasty_broker();
    until_ready(&broker).await;
    publish_all(&*broker, &room("r"), log(1_000), 0..1).await;
    server.freeze();
    let large = Event::json("n", &"x".repeat(900 << 10)).expect("it works");
    let publishes = (0..200).map(|_| {
        let publish = Publish { event: large.clone(), ..publish(&room("r"), log(1_000), 0) };
        let broker = broker.clone();
        tokio::spawn(async move { broker.publish(publish).await })
    });
    let publishes: Vec<_> = publishes.collect();
    let (mut unknown, mut refused) = (0, 0);
    for publish in publishes {
        match within(5, "an answer", publish).await.expect("it works") {
            Err(BrokerError::Unknown(_)) => unknown += 1,
            Err(BrokerError::Unavailable(_)) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    // 64 MiB are 72 of them; about as many may have their turn when those are given up, just before they are refused too, and
    // a few more on a busy machine, where they do not all begin at once.
    assert!(
        unknown <= 2 * 72 + 20 && refused >= 200 - 2 * 72 - 20,
        "{unknown} on the way, {refused} refused"
    );
    server.thaw();
}

/// What refuses or swallows connections is tried again, in ever longer pauses.
///
/// # Panics
/// If not.
pub async fn what_refuses_or_swallows_is_tried_again_but_not_all_the_time(kind: ServerKind) {
    let tried = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("it works");
    let refuses = listener.local_addr().expect("it works");
    let count = tried.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            count.fetch_add(1, Relaxed);
            drop(socket);
        }
    });
    let swallows = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("it works");
    let brokers = [refuses, swallows.local_addr().expect("bound")].map(|address| kind.hasty_broker(address));
    let begin = Instant::now();
    for broker in &brokers {
        refused(&**broker).await;
        let begin = Instant::now();
        refused(&**broker).await;
        assert!(begin.elapsed() < Duration::from_millis(600), "{:?}", begin.elapsed());
        let watched = broker.watch(&room("r"), log(10)).await;
        assert!(matches!(watched, Err(BrokerError::Unavailable(_))), "{watched:?}");
        assert_eq!(broker.watched(), 0);
    }
    sleep(Duration::from_secs(4).saturating_sub(begin.elapsed())).await;
    // Of no more than two connections, each of which is tried in ever longer pauses.
    let tried = tried.load(Relaxed);
    assert!((4..60).contains(&tried), "{tried} times in four seconds");
}

/// After an outage what is subscribed is what is wanted then, and nothing that came meanwhile is missing.
///
/// # Panics
/// If not.
pub async fn what_is_subscribed_after_an_outage_is_what_is_wanted(kind: ServerKind) {
    const ROOMS: usize = 1_000;
    let mut server = BrokerServer::start_stored(kind);
    let broker = server.broker().await;
    let mut limits = Limits::default();
    limits.linger = Duration::from_millis(100);
    let hub =
        Hub::builder().gate(gate::open()).broker(broker.shared()).rooms("*", log(100)).limits(limits).build();
    let mut wanted: Vec<(String, Subscription)> = Vec::new();
    for at in 0..ROOMS {
        let name = format!("room-{at}");
        let subscription = hub.subscribe(name.as_str(), From::Now).await.expect("it works");
        wanted.push((name, subscription));
    }
    server.kill();
    until(10, "it is noticed", || broker.fault().is_some()).await;
    let joins = (0..10).map(|at| {
        let (hub, name) = (hub.clone(), format!("late-{at}"));
        tokio::spawn(async move {
            loop {
                if let Ok(subscription) = hub.subscribe(name.as_str(), From::Now).await {
                    return (name, subscription);
                }
            }
        })
    });
    let joins: Vec<_> = joins.collect();
    wanted.drain(..10);
    sleep(Duration::from_secs(5)).await;
    server.restart();
    let other = server.broker().await;
    // Stored before this node is told of anything again, perhaps.
    for (name, _) in &wanted {
        other.publish(publish(&room(name), log(100), 1)).await.expect("it works");
    }
    for (name, subscription) in &mut wanted {
        let Some(Received::Message(message)) = within(10, name, subscription.next()).await else {
            panic!("a gap in {name}")
        };
        assert_eq!(message.event().parse::<u64>().expect("it works"), 1);
    }
    for join in joins {
        wanted.push(within(10, "the join", join).await.expect("it works"));
    }
    let mut names: Vec<_> = wanted.iter().map(|(name, _)| name.clone()).collect();
    // That of the words to all nodes.
    names.push("~control".to_owned());
    names.sort();
    within(5, "the subscriptions are those wanted", async {
        loop {
            let mut there = server.subscribed().await;
            there.sort_unstable();
            if there == names {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(broker.watched(), names.len());
    hub.publish("late-3", Event::json("n", &9).expect("it works")).await.expect("it works");
    let (_, late) = wanted.iter_mut().find(|(name, _)| name == "late-3").expect("it works");
    within(5, "live", late.next()).await.expect("it works");
}

/// What is under way when the connection breaks is unknown at once, and once stored when it is tried again.
///
/// # Panics
/// If not.
pub async fn what_is_under_way_when_the_connection_breaks_is_unknown_at_once(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    server.listens().await;
    let tap = Tap::to(server.address()).await;
    let broker = kind.patient_broker(tap.address());
    until_ready(&broker).await;
    publish_all(&*broker, &room("r"), log(10), 0..1).await;
    tap.freeze();
    let keyed = Publish { key: Some("k".into()), ..publish(&room("r"), log(10), 1) };
    let begin = Instant::now();
    let (published, read, ()) = tokio::join!(
        broker.publish(keyed.clone()),
        async { broker.read(&room("r"), log(10), ReadFrom::Start, 10).await },
        async {
            // Both are sent when they are first looked at.
            sleep(Duration::from_millis(100)).await;
            tap.cut();
        }
    );
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(matches!(published, Err(BrokerError::Unknown(_))), "{published:?}");
    assert!(read.is_err(), "{read:?}");
    tap.thaw();
    until_ready(&broker).await;
    let position = within(15, "published again", async {
        loop {
            match broker.publish(keyed.clone()).await {
                Ok(position) => return position,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await;
    let slice = broker.read(&room("r"), log(10), ReadFrom::Start, 10).await.expect("it works");
    assert_eq!((numbers(&slice), slice.head), (vec![0, 1], position));
}
