//! Servers that refuse, freeze, are slow, or go away for a while.

use crate::server::*;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tidings_core::{Event, From, Hub, Limits, Received, Subscription, broker::*, gate};
use tidings_nats::NatsBroker;
use tidings_testkit::{Client, Kind, Server, Tap, request};

fn builder(url: &str) -> tidings_nats::Builder {
    NatsBroker::builder(url).storage(tidings_nats::Storage::Memory).timeout(Duration::from_millis(500))
}

async fn refused(broker: &NatsBroker) -> String {
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
    let broker = builder(&format!("nats://127.0.0.1:{port}")).build().unwrap();
    let why = refused(&broker).await;
    assert!(why.contains("IO error"), "{why}");
    let server = NatsServer::on(port, &["-js"]);
    ready(&broker).await;
    publish_all(&broker, &room("r"), log(10), 0..1).await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_and_a_wrong_password_are_told() {
    let broker = builder("nats://no-such-host.invalid:4222").build().unwrap();
    let why = refused(&broker).await;
    assert!(why.contains("DNS error"), "{why}");

    let server = NatsServer::with(&["-js", "--user", "me", "--pass", "s:cret"]);
    let at = server.url().replace("nats://", "");
    let wrong = builder(&format!("nats://me:wrong@{at}")).build().unwrap();
    until(10, "it is told", || wrong.fault().is_some_and(|fault| fault.contains("authorization"))).await;
    assert!(refused(&wrong).await.contains("authorization"));
    let right = builder(&format!("nats://me:s%3Acret@{at}")).build().unwrap();
    ready(&right).await;
    publish_all(&right, &room("r"), log(10), 0..1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_makes_the_outcome_unknown_and_then_publishing_fails_at_once() {
    let server = NatsServer::start();
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
    let server = NatsServer::start();
    let tap = Tap::to(server.url().replace("nats://", "").parse().unwrap()).await;
    let broker = builder(&format!("nats://{}", tap.address())).build().unwrap();
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
    let monitor = free_port();
    let mut server = NatsServer::with(&["-js", "-m", &monitor.to_string()]);
    let broker = Arc::new(server.builder().storage(tidings_nats::Storage::File).build().unwrap());
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
    let other = server.builder().storage(tidings_nats::Storage::File).build().unwrap();
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
    let mut names: Vec<_> = wanted.iter().map(|(name, _)| format!("td.live.log.0.{name}")).collect();
    // That of the words to all nodes.
    names.push("td.live.log.0.=7Econtrol".to_owned());
    names.sort();
    within(5, "the subscriptions are those wanted", async {
        loop {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], monitor));
            let answer = request(address, "GET", "/connz?subs=1&limit=4096", &[], "").await.unwrap();
            let list = answer.json();
            let connections = list["connections"].as_array().unwrap().iter();
            let subscriptions =
                connections.filter_map(|each| each["subscriptions_list"].as_array()).flatten();
            let names_there = subscriptions.filter_map(|subject| subject.as_str());
            let mut there: Vec<_> =
                names_there.filter(|name| name.starts_with("td.live.")).map(str::to_owned).collect();
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
    let server = NatsServer::start();
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
