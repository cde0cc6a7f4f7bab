//! What becomes of cursors when a server ends, and comes back with its history or without.

use super::{BrokerServer, ServerKind, hub, log, numbers, publish, publish_all, room, until_ready, within};
use crate::{Client, Heard, Kind, Server};
use std::time::Duration;
use tidings::{Event, Rooms, broker::ReadFrom};
use tokio::time::sleep;

/// Hears a gap, and why, before anything else.
///
/// # Panics
/// If anything else comes.
pub async fn gap(client: &mut Client) -> String {
    loop {
        match within(15, "something", client.next()).await.expect("still open") {
            Heard::Gap { reason, .. } => return reason,
            Heard::Joined { .. } => {}
            other => panic!("{other:?} before the gap"),
        }
    }
}

/// A server that is killed and comes back with its store has lost nothing, whoever asks.
///
/// # Panics
/// If not.
pub async fn a_killed_server_that_comes_back_with_its_store_loses_nothing(kind: ServerKind) {
    let mut server = BrokerServer::start_stored(kind);
    let (one, two) = (
        Server::with_hub(hub(server.broker().await.shared(), log(1_000))).await,
        Server::with_hub(hub(server.broker().await.shared(), log(1_000))).await,
    );
    let mut client = Client::connect(Kind::Ws, two.address(), "r", "now").await.expect("let in");
    let mut cursor = String::new();
    for number in 1..=20 {
        cursor = one.publish("r", number).await.to_string();
    }
    for number in 1..=20 {
        assert_eq!(client.number().await, number);
    }
    server.kill();
    sleep(Duration::from_secs(4)).await;
    server.restart();
    within(15, "published again", async {
        let event = Event::json("n", &21).expect("JSON");
        while one.hub().publish_once("r", event.clone(), "21").await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    // Who stayed, who was away, and who comes anew.
    assert_eq!(within(10, "the next", client.number()).await, 21);
    let mut client = Client::connect(Kind::Sse, one.address(), "r", &cursor).await.expect("let in");
    assert_eq!(client.number().await, 21);
    let mut client = Client::connect(Kind::Poll, two.address(), "r", "start").await.expect("let in");
    for number in 1..=21 {
        assert_eq!(client.number().await, number);
    }
}

/// A server that comes back without its store is another epoch.
///
/// # Panics
/// If not.
pub async fn a_server_that_comes_back_without_its_store_is_another_epoch(kind: ServerKind) {
    let mut server = BrokerServer::start(kind);
    let broker = server.broker().await;
    let room = room("r");
    let rooms: Rooms = log(100);
    let old = publish_all(&*broker, &room, rooms, 0..10).await;
    server.kill();
    server.restart();
    until_ready(&broker).await;
    within(15, "the server is back", async {
        while broker.publish(publish(&room, rooms, 0)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let new = publish_all(&*broker, &room, rooms, 1..12).await;
    assert_ne!(new[0].epoch, old[0].epoch);
    for cursor in [old[0], old[9]] {
        let slice = broker.read(&room, rooms, ReadFrom::After(cursor), 100).await.expect("read");
        assert_ne!(slice.start, cursor);
        assert_eq!(numbers(&slice), (0..12).collect::<Vec<_>>());
    }
}

/// Who was away while everything was lost is told so, on every node.
///
/// # Panics
/// If not.
pub async fn a_server_that_has_lost_everything_is_another_epoch_for_who_was_away(kind: ServerKind) {
    let mut server = BrokerServer::start(kind);
    let (one, two) = (
        Server::with_hub(hub(server.broker().await.shared(), log(100))).await,
        Server::with_hub(hub(server.broker().await.shared(), log(100))).await,
    );
    let connect = async |node: &Server, from: &str| {
        within(15, "a place", async {
            loop {
                match Client::connect(Kind::Ws, node.address(), "r", from).await {
                    Ok(client) => return client,
                    // It has not found its broker again yet.
                    Err(refused) => assert_eq!(refused.code, "unavailable"),
                }
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    };
    let mut third = String::new();
    let nothing_seen = connect(&one, "now").await.cursor().to_owned();
    assert_ne!(nothing_seen, "now", "an empty room has a place too");
    for number in 1..=3 {
        third = one.publish("r", number).await.to_string();
    }
    server.kill();
    server.restart();
    for number in 1..=5 {
        within(15, "published again", async {
            let event = Event::json("n", &number).expect("JSON");
            while two.hub().publish_once("r", event.clone(), &number.to_string()).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
    for node in [&one, &two] {
        for cursor in [&third, &nothing_seen] {
            let mut client = connect(node, cursor).await;
            assert_eq!(gap(&mut client).await, "epoch", "from {cursor}");
            for number in 1..=5 {
                assert_eq!(client.number().await, number);
            }
        }
    }
}
