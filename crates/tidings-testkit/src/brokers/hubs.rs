//! Nodes, each with a broker of its own, and clients that go from one to the other.

use super::{BrokerServer, ServerKind, hub, log, within};
use crate::{Client, Heard, Kind, Ledger, Random, Server, Tap};
use std::time::{Duration, Instant};
use tidings::{Event, From, Rooms};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

async fn nodes(server: &BrokerServer, rooms: Rooms) -> Vec<Server> {
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Server::with_hub(hub(server.broker().await.shared(), rooms)).await);
    }
    nodes
}

async fn connect(kind: Kind, node: &Server, from: &str) -> Client {
    Client::connect(kind, node.address(), "r", from).await.expect("let in")
}

async fn next(client: &mut Client) -> Heard {
    within(10, "something", client.next()).await.expect("still open")
}

/// A client that goes from node to node and from transport to transport has everything once and in order.
///
/// # Panics
/// If not.
pub async fn a_hundred_changes_of_node_and_transport_lose_and_repeat_nothing(kind: ServerKind) {
    let server = BrokerServer::start(kind);
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
            // Something in between, in another room.
            hubs[0].publish("other", Event::json("n", &0).expect("JSON")).await.expect("published");
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
        let (transport, at) = (*random.pick(&Kind::ALL), random.below(3) as usize);
        let mut client = Client::connect(transport, taps[at].address(), "r", &cursor).await.expect("let in");
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

/// An event has one position on every node, and a client needs no affinity.
///
/// # Panics
/// If not.
pub async fn an_event_has_one_position_on_every_node_and_a_client_needs_no_affinity(kind: ServerKind) {
    let server = BrokerServer::start(kind);
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

/// What is trimmed is told of, and what is just kept is not.
///
/// # Panics
/// If not.
pub async fn what_is_trimmed_is_told_and_what_is_just_kept_is_not(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let nodes = nodes(&server, log(5)).await;
    for transport in Kind::ALL {
        let room = format!("{transport:?}");
        let connect = async |node: usize, from: &str| {
            Client::connect(transport, nodes[node].address(), &room, from).await.expect("let in")
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
                assert_eq!(client.number().await, number, "{transport:?} on node {node}");
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

/// A quiet room goes on without a gap, whatever happens beside it.
///
/// # Panics
/// If not.
pub async fn a_quiet_room_goes_on_without_a_gap_beside_a_busy_one(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    // Nothing stays of the other room, so that what both may be kept in begins ever later.
    let nodes = nodes(&server, log(2)).await;
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(connect(Kind::Ws, node, "now").await);
    }
    for round in 1..=5 {
        for _ in 0..20 {
            nodes[0].publish("busy", 0).await;
        }
        nodes[round % 3].publish("r", round as u64).await;
        for client in &mut clients {
            assert_eq!(client.number().await, round as u64);
        }
    }
}

/// A latest value reaches who comes later, on another node, and goes on.
///
/// # Panics
/// If not.
pub async fn a_latest_value_reaches_who_comes_later_on_another_node_and_goes_on_live(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let nodes = nodes(&server, Rooms::latest()).await;
    for number in 1..=3 {
        nodes[0].publish("r", number).await;
    }
    for transport in Kind::ALL {
        assert_eq!(connect(transport, &nodes[1], "now").await.number().await, 3);
    }
    let mut client = connect(Kind::Ws, &nodes[2], "now").await;
    assert_eq!(client.number().await, 3);
    nodes[1].publish("r", 4).await;
    assert_eq!(client.number().await, 4);
}

/// An event is at another node within two milliseconds, at the median.
///
/// # Panics
/// If not.
pub async fn an_event_is_at_another_node_within_two_milliseconds(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let (one, two) =
        (hub(server.broker().await.shared(), log(1_000)), hub(server.broker().await.shared(), log(1_000)));
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
