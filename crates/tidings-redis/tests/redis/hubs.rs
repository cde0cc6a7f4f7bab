//! Nodes, each with a broker of its own, and clients that go from one to the other.

use crate::server::*;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tidings_core::{Event, From, Hub, Rooms, gate};
use tidings_redis::RedisBroker;
use tidings_testkit::{Client, Heard, Kind, Ledger, Random, Server, Tap};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

pub(crate) fn hub(broker: RedisBroker, rooms: Rooms) -> Hub {
    Hub::builder().gate(gate::open()).broker(Arc::new(broker)).rooms("*", rooms).build()
}

async fn nodes(server: &RedisServer, rooms: Rooms) -> Vec<Server> {
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Server::with_hub(hub(server.broker().await, rooms)).await);
    }
    nodes
}

async fn connect(kind: Kind, node: &Server, from: &str) -> Client {
    Client::connect(kind, node.address(), "r", from).await.expect("let in")
}

async fn next(client: &mut Client) -> Heard {
    within(10, "something", client.next()).await.expect("still open")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_changes_of_node_and_transport_lose_and_repeat_nothing() {
    let server = RedisServer::start();
    let nodes = nodes(&server, log(20_000)).await;
    let mut taps = Vec::new();
    for node in &nodes {
        taps.push(Tap::to(node.address()).await);
    }
    let hubs: Vec<_> = nodes.iter().map(|node| node.hub().clone()).collect();
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let publisher = tokio::spawn(async move {
        let mut tick = interval(Duration::from_millis(2));
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 1_u64.. {
            tick.tick().await;
            let event = Event::json("n", &number).expect("a number is JSON");
            hubs[number as usize % hubs.len()].publish("r", event).await.expect("published");
            if stopped.try_recv().is_ok() {
                return number;
            }
        }
        unreachable!("there are enough numbers")
    });
    let mut random = Random::new();
    let mut ledger = Ledger::default();
    let mut cursor = "start".to_owned();
    for _ in 0..100 {
        let (kind, at) = (*random.pick(&Kind::ALL), random.below(3) as usize);
        let mut client = Client::connect(kind, taps[at].address(), "r", &cursor).await.expect("let in");
        let stay = Duration::from_millis(random.below(60));
        let listening = timeout(stay, async {
            while let Some(heard) = client.next().await {
                ledger.note(&heard);
            }
        });
        if random.below(2) == 0 {
            let _ = listening.await;
        } else {
            let (_, ()) = tokio::join!(listening, async {
                sleep(stay / 2).await;
                taps[at].cut();
            });
        }
        client.cursor().clone_into(&mut cursor);
    }
    stop.send(()).expect("the publisher runs");
    let last = publisher.await.expect("the publisher does not panic");
    let mut client = connect(Kind::Ws, &nodes[0], &cursor).await;
    while ledger.last() < last {
        ledger.note(&next(&mut client).await);
    }
    ledger.assert_equal(last);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_one_position_on_every_node_and_a_client_needs_no_affinity() {
    let server = RedisServer::start();
    let nodes = nodes(&server, log(1_000)).await;
    let mut cursor = "now".to_owned();
    let mut ledger = Ledger::default();
    for round in 1..=60 {
        let mut client = connect(Kind::ALL[round % 3], &nodes[round % 3], &cursor).await;
        let published = nodes[(round + 1) % 3].publish("r", round as u64).await;
        ledger.note(&next(&mut client).await);
        assert_eq!(client.cursor(), published.to_string());
        client.cursor().clone_into(&mut cursor);
    }
    ledger.assert_equal(60);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_trimmed_is_told_and_what_is_just_kept_is_not() {
    let server = RedisServer::start();
    let nodes = nodes(&server, log(5)).await;
    for kind in Kind::ALL {
        let room = format!("{kind:?}");
        let connect = async |node: usize, from: &str| {
            Client::connect(kind, nodes[node].address(), &room, from).await.expect("let in")
        };
        let mut positions = vec![String::new()];
        for number in 1..=10 {
            positions.push(nodes[0].publish(&room, number).await.to_string());
        }
        for number in 11..=15 {
            nodes[1].publish(&room, number).await;
        }
        for node in 0..3 {
            let mut client = connect(node, &positions[10]).await;
            for number in 11..=15 {
                assert_eq!(client.number().await, number, "{kind:?} on node {node}");
            }
            let mut client = connect(node, &positions[9]).await;
            let gap = loop {
                match next(&mut client).await {
                    Heard::Gap { reason, .. } => break reason,
                    Heard::Joined { recovered, .. } => assert!(!recovered),
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(gap, "trimmed");
            assert_eq!(client.number().await, 11);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_latest_value_reaches_who_comes_later_on_another_node_and_goes_on_live() {
    let server = RedisServer::start();
    let nodes = nodes(&server, Rooms::latest()).await;
    for number in 1..=3 {
        nodes[0].publish("r", number).await;
    }
    for kind in Kind::ALL {
        assert_eq!(connect(kind, &nodes[1], "now").await.number().await, 3);
    }
    let mut client = connect(Kind::Ws, &nodes[2], "now").await;
    assert_eq!(client.number().await, 3);
    nodes[1].publish("r", 4).await;
    assert_eq!(client.number().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_at_another_node_within_two_milliseconds() {
    let server = RedisServer::start();
    let (one, two) = (hub(server.broker().await, log(1_000)), hub(server.broker().await, log(1_000)));
    let mut subscription = two.subscribe("r", From::Now).await.expect("joined");
    let mut times = Vec::new();
    for number in 0..300 {
        let begin = Instant::now();
        let event = Event::json("n", &number).expect("JSON");
        let (published, heard) = tokio::join!(one.publish("r", event), async {
            within(5, "the event", subscription.next()).await
        });
        published.expect("published");
        heard.expect("still open");
        times.push(begin.elapsed());
    }
    times.sort();
    println!("node to node: median {:?}, 99 of 100 {:?}", times[150], times[297]);
    assert!(
        times[150] < Duration::from_millis(if cfg!(debug_assertions) { 10 } else { 2 }),
        "{:?}",
        times[150]
    );
}
