//! Servers that refuse, freeze, are slow, or go away for a while.

use crate::server::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tidings_core::{Event, From, Hub, Limits, Received, Rooms, Subscription, broker::*, gate};
use tidings_redis::RedisBroker;
use tidings_testkit::{Client, Kind, Server, Tap};

fn builder(url: &str) -> tidings_redis::Builder {
    RedisBroker::builder(url).timeout(Duration::from_millis(500))
}

async fn refused(broker: &RedisBroker) -> String {
    let begin = Instant::now();
    let error = broker.publish(publish(&room("r"), log(10), 1)).await.expect_err("it cannot be published");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    match error {
        BrokerError::Unavailable(why) => why,
        error => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_late_is_found_without_a_restart() {
    let port = free_port();
    let broker = builder(&format!("redis://127.0.0.1:{port}")).build().unwrap();
    let why = refused(&broker).await;
    assert!(why.contains("refused"), "{why}");
    let server = RedisServer::on(port, &[]);
    ready(&broker).await;
    publish_all(&broker, &room("r"), log(10), 0..1).await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_a_wrong_password_and_a_replica_are_told() {
    let broker = builder("redis://no-such-host.invalid:6379").build().unwrap();
    let why = refused(&broker).await;
    assert!(why.contains("lookup"), "{why}");

    let server = RedisServer::with(&["--requirepass", "s:cret"]);
    let at = server.url().replace("redis://", "");
    let wrong = builder(&format!("redis://:wrong@{at}")).build().unwrap();
    until(10, "it is told", || wrong.fault().is_some_and(|fault| fault.contains("WRONGPASS"))).await;
    let why = refused(&wrong).await;
    assert!(why.contains("WRONGPASS") && !why.contains(":wrong"), "{why}");
    let none = builder(&server.url()).build().unwrap();
    until(10, "it is told", || none.fault().is_some_and(|fault| fault.contains("NOAUTH"))).await;
    let right = builder(&format!("redis://:s%3Acret@{at}")).build().unwrap();
    ready(&right).await;
    publish_all(&right, &room("r"), log(10), 0..1).await;

    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", "1"]);
    let broker = builder(&replica.url()).build().unwrap();
    until(10, "it is told", || broker.fault().is_some_and(|fault| fault.contains("replica"))).await;
    assert!(refused(&broker).await.contains("replica"));
    replica.admin::<()>("REPLICAOF NO ONE").await;
    ready(&broker).await;
    publish_all(&broker, &room("r"), log(10), 0..1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_makes_the_outcome_unknown_and_then_publishing_fails_at_once() {
    let server = RedisServer::start();
    let broker = Arc::new(builder(&server.url()).build().unwrap());
    ready(&broker).await;
    let hub = Hub::builder().gate(gate::open()).broker(broker.clone()).rooms("*", log(100)).build();
    let node = Server::with_hub(hub).await;
    let mut client = Client::connect(Kind::Ws, node.address(), "r", "now").await.unwrap();
    let first = node.publish("r", 1).await.to_string();
    node.publish("r", 2).await;
    assert_eq!((client.number().await, client.number().await), (1, 2));
    server.freeze();
    let keyed = Publish { key: Some("k".into()), ..publish(&room("r"), log(100), 3) };
    let begin = Instant::now();
    let error = broker.publish(keyed.clone()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unknown(_)), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(2));
    until(10, "it is noticed", || broker.fault().is_some()).await;
    let begin = Instant::now();
    refused(&broker).await;
    assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());
    // The ring serves on.
    let mut resumed = Client::connect(Kind::Poll, node.address(), "r", &first).await.unwrap();
    assert_eq!(resumed.number().await, 2);
    server.thaw();
    ready(&broker).await;
    let position = broker.publish(keyed.clone()).await.unwrap();
    assert_eq!(broker.publish(keyed).await.unwrap(), position);
    node.publish("r", 4).await;
    for client in [&mut client, &mut resumed] {
        assert_eq!(within(15, "the third, once", client.number()).await, 3);
        assert_eq!(within(15, "the fourth", client.number()).await, 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_come_late_are_no_false_success_and_no_repeat() {
    let server = RedisServer::start();
    let tap = Tap::to(server.url().replace("redis://", "").parse().unwrap()).await;
    let broker = builder(&format!("redis://{}", tap.address())).build().unwrap();
    ready(&broker).await;
    publish_all(&broker, &room("r"), log(10), 0..1).await;
    tap.delay(Duration::from_secs(5));
    let keyed = Publish { key: Some("k".into()), ..publish(&room("r"), log(10), 1) };
    let error = broker.publish(keyed.clone()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unknown(_)), "{error}");
    until(10, "it is noticed", || broker.fault().is_some()).await;
    refused(&broker).await;
    tap.delay(Duration::ZERO);
    tap.cut();
    ready(&broker).await;
    let position = broker.publish(keyed).await.unwrap();
    let slice = broker.read(&room("r"), log(10), ReadFrom::Start, 10).await.unwrap();
    assert_eq!((numbers(&slice), slice.head), (vec![0, 1], position));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_subscribed_after_an_outage_is_what_is_wanted() {
    const ROOMS: usize = 1_000;
    let mut server = RedisServer::with(STORED);
    let broker = Arc::new(server.builder().build().unwrap());
    ready(&broker).await;
    let mut limits = Limits::default();
    limits.linger = Duration::from_millis(100);
    let hub =
        Hub::builder().gate(gate::open()).broker(broker.clone()).rooms("*", log(100)).limits(limits).build();
    let mut wanted: Vec<(String, Subscription)> = Vec::new();
    for at in 0..ROOMS {
        let name = format!("room-{at}");
        let subscription = hub.subscribe(name.as_str(), From::Now).await.unwrap();
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
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.restart();
    let other = server.builder().build().unwrap();
    ready(&other).await;
    // Stored before this node is told of anything again, perhaps.
    for (name, _) in &wanted {
        other.publish(publish(&room(name), log(100), 1)).await.unwrap();
    }
    for (name, subscription) in &mut wanted {
        let Some(Received::Message(message)) = within(10, name, subscription.next()).await else {
            panic!("a gap in {name}")
        };
        assert_eq!(message.event().parse::<u64>().unwrap(), 1);
    }
    for join in joins {
        wanted.push(within(10, "the join", join).await.unwrap());
    }
    let mut names: Vec<_> = wanted.iter().map(|(name, _)| name.clone()).collect();
    // That of the words to all nodes.
    names.push("~control".to_owned());
    names.sort();
    within(5, "the subscriptions are those wanted", async {
        loop {
            let channels: Vec<String> = server.admin("PUBSUB CHANNELS").await;
            let room = |channel: &String| channel.rsplit(':').next().unwrap().to_owned();
            let mut there: Vec<_> = channels.iter().map(room).collect();
            there.sort_unstable();
            if there == names {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(broker.watched(), names.len());
    hub.publish("late-3", Event::json("n", &9).unwrap()).await.unwrap();
    let (_, late) = wanted.iter_mut().find(|(name, _)| name == "late-3").unwrap();
    within(5, "live", late.next()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_fits_on_the_way_is_not_taken_and_what_is_taken_is_stored() {
    let server = RedisServer::start();
    let broker = Arc::new(builder(&server.url()).build().unwrap());
    ready(&broker).await;
    publish_all(&*broker, &room("r"), log(1_000), 0..1).await;
    server.freeze();
    let large = Event::json("n", &"x".repeat(900 << 10)).unwrap();
    let publishes = (0..200).map(|_| {
        let publish = Publish { event: large.clone(), ..publish(&room("r"), log(1_000), 0) };
        let broker = broker.clone();
        tokio::spawn(async move { broker.publish(publish).await })
    });
    let publishes: Vec<_> = publishes.collect();
    let (mut unknown, mut refused) = (0, 0);
    for publish in publishes {
        match within(5, "an answer", publish).await.unwrap() {
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

#[tokio::test(flavor = "multi_thread")]
async fn what_refuses_or_swallows_is_tried_again_but_not_all_the_time() {
    let tried = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refuses = listener.local_addr().unwrap();
    let count = tried.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            count.fetch_add(1, Relaxed);
            drop(socket);
        }
    });
    let swallows = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let brokers = [
        builder(&format!("redis://{refuses}")).build().unwrap(),
        builder(&format!("redis://{}", swallows.local_addr().unwrap())).build().unwrap(),
    ];
    let begin = Instant::now();
    for broker in &brokers {
        refused(broker).await;
        let begin = Instant::now();
        refused(broker).await;
        assert!(begin.elapsed() < Duration::from_millis(600), "{:?}", begin.elapsed());
        let watched = broker.watch(&room("r"), log(10)).await;
        assert!(matches!(watched, Err(BrokerError::Unavailable(_))), "{watched:?}");
        assert_eq!(broker.watched(), 0);
    }
    tokio::time::sleep(Duration::from_secs(4).saturating_sub(begin.elapsed())).await;
    // Two connections, of which each is tried in ever longer pauses.
    let tried = tried.load(Relaxed);
    assert!((4..60).contains(&tried), "{tried} times in four seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_memory_is_full_takes_nothing_and_later_does() {
    let server = RedisServer::start();
    let broker = server.broker().await;
    publish_all(&broker, &room("r"), log(10), 0..3).await;
    server.admin::<()>("CONFIG SET maxmemory 1mb").await;
    for name in ["r", "another"] {
        let error = broker.publish(publish(&room(name), log(10), 3)).await.unwrap_err();
        assert!(matches!(&error, BrokerError::Unavailable(why) if why.contains("OOM")), "{error}");
    }
    let slice = broker.read(&room("r"), log(10), ReadFrom::Start, 10).await.unwrap();
    assert_eq!(numbers(&slice), [0, 1, 2], "what is there is read");
    server.admin::<()>("CONFIG SET maxmemory 0").await;
    publish_all(&broker, &room("r"), log(10), 3..4).await;
    let slice = broker.read(&room("r"), log(10), ReadFrom::Start, 10).await.unwrap();
    assert_eq!(numbers(&slice), [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_are_documented_are_enough() {
    let server = RedisServer::start();
    let rights = include_str!("../../src/lib.rs")
        .lines()
        .skip_while(|line| !line.contains("ACL SETUSER"))
        .take_while(|line| !line.contains("```"))
        .map(|line| line.trim_start_matches("//!").trim())
        .collect::<Vec<_>>()
        .join(" ");
    server.admin::<()>(&rights).await;
    let url = server.url().replace("redis://", "redis://tidings:secret@");
    let broker = builder(&url).build().unwrap();
    ready(&broker).await;
    broker.watch(&room("r"), log(10)).await.unwrap();
    broker.watch(&room("e"), Rooms::ephemeral()).await.unwrap();
    for (name, rooms, number) in
        [("r", log(1).bytes(1), 1), ("r", log(1).bytes(1), 2), ("e", Rooms::ephemeral(), 3)]
    {
        for key in [None, Some("k".to_owned())] {
            broker.publish(Publish { key, ..publish(&room(name), rooms, number) }).await.unwrap();
        }
    }
    broker.read(&room("new"), log(10), ReadFrom::Start, 10).await.unwrap();
    broker.read(&room("r"), log(10), ReadFrom::Start, 10).await.unwrap();
    broker.unwatch(&room("r"));
    until(5, "it ends", || broker.watched() == 1).await;
    assert_eq!(broker.fault(), None);
    let foreign = builder(&url).prefix("other").build().unwrap();
    ready(&foreign).await;
    let error = foreign.publish(publish(&room("r"), log(10), 1)).await.unwrap_err();
    assert!(matches!(&error, BrokerError::Unavailable(why) if why.contains("no permissions")), "{error}");
}
