//! What becomes of cursors when a history is lost, or made anew.

use crate::{hubs::hub, server::*};
use tidings_core::{Rooms, broker::*};
use tidings_testkit::{Client, Heard, Kind, Server};

async fn next(client: &mut Client) -> Heard {
    within(15, "something", client.next()).await.expect("still open")
}

/// Hears a gap, and why, before anything else.
async fn gap(client: &mut Client) -> String {
    loop {
        match next(client).await {
            Heard::Gap { reason, .. } => return reason,
            Heard::Joined { .. } => {}
            other => panic!("{other:?} before the gap"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_made_anew_is_another_epoch_for_who_was_away() {
    let server = RedisServer::start();
    let (one, two) = (
        Server::with_hub(hub(server.broker().await, log(100))).await,
        Server::with_hub(hub(server.broker().await, log(100))).await,
    );
    let connect = async |node: &Server, from: &str| {
        Client::connect(Kind::Ws, node.address(), "r", from).await.expect("let in")
    };
    let mut third = String::new();
    let nothing_seen = connect(&one, "now").await.cursor().to_owned();
    assert_ne!(nothing_seen, "now", "an empty room has a place too");
    for number in 1..=3 {
        third = one.publish("r", number).await.to_string();
    }
    server.admin::<()>("FLUSHALL").await;
    for number in 1..=5 {
        two.publish("r", number).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_room_made_anew_is_noticed_by_who_stays_with_the_next_event_or_the_next_connection() {
    let mut server = RedisServer::start();
    let mut clients = Vec::new();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let node = Server::with_hub(hub(server.broker().await, log(100))).await;
        clients.push(Client::connect(Kind::Ws, node.address(), "r", "now").await.expect("let in"));
        nodes.push(node);
    }
    for number in 1..=3 {
        nodes[0].publish("r", number).await;
    }
    for client in &mut clients {
        for number in 1..=3 {
            assert_eq!(client.number().await, number);
        }
    }
    server.admin::<()>("FLUSHALL").await;
    nodes[2].publish("r", 4).await;
    for client in &mut clients {
        assert_eq!(gap(client).await, "epoch");
        assert_eq!(client.number().await, 4);
    }
    server.kill();
    server.restart();
    for client in &mut clients {
        assert_eq!(gap(client).await, "epoch");
    }
    nodes[1].publish("r", 5).await;
    for client in &mut clients {
        assert_eq!(client.number().await, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_that_comes_back_with_its_store_loses_nothing() {
    let mut server = RedisServer::with(STORED);
    let broker = || server.builder().build().expect("settings that can work");
    ready(&broker()).await;
    let (one, two) = (
        Server::with_hub(hub(broker(), log(1_000))).await,
        Server::with_hub(hub(broker(), log(1_000))).await,
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
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    server.restart();
    within(15, "published again", async {
        let event = tidings_core::Event::json("n", &21).expect("JSON");
        while one.hub().publish_once("r", event.clone(), "21").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_without_its_store_is_another_epoch() {
    let mut server = RedisServer::start();
    let broker = server.broker().await;
    let room = room("r");
    let rooms: Rooms = log(100);
    let old = publish_all(&broker, &room, rooms, 0..10).await;
    server.kill();
    server.restart();
    ready(&broker).await;
    within(15, "the server is back", async {
        while broker.publish(publish(&room, rooms, 0)).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let new = publish_all(&broker, &room, rooms, 1..12).await;
    assert_ne!(new[0].epoch, old[0].epoch);
    for cursor in [old[0], old[9]] {
        let slice = broker.read(&room, rooms, ReadFrom::After(cursor), 100).await.expect("read");
        assert_ne!(slice.start, cursor);
        assert_eq!(numbers(&slice), (0..12).collect::<Vec<_>>());
    }
}

/// As where a replica that was behind takes the place of its master.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_history_that_was_lost_and_written_anew_is_a_gap_for_who_has_seen_it() {
    let mut server = RedisServer::start();
    let broker = server.broker().await;
    let (room, rooms) = (room("r"), log(100));
    let node = Server::with_hub(hub(server.broker().await, rooms)).await;
    let connect =
        async |from: String| Client::connect(Kind::Ws, node.address(), "r", &from).await.expect("let in");
    let mut stays = connect("now".to_owned()).await;
    let kept = publish_all(&broker, &room, rooms, 1..11).await;
    server.admin::<()>("SAVE").await;
    let lost = publish_all(&broker, &room, rooms, 11..16).await;
    for number in 1..=15 {
        assert_eq!(stays.number().await, number);
    }
    server.kill();
    until(10, "it is noticed", || broker.fault().is_some()).await;
    server.restart();
    ready(&broker).await;
    let anew = publish_all(&broker, &room, rooms, 16..21).await;
    assert_eq!(anew[4].offset, lost[4].offset, "the same place in the same epoch");
    assert_eq!(anew[4].epoch, lost[4].epoch);
    // From here on the node knows, whose ring served what it had until then.
    gap(&mut stays).await;
    for cursor in [lost[0], lost[4]] {
        let slice = broker.read(&room, rooms, ReadFrom::After(cursor), 100).await.expect("read");
        assert_ne!(slice.start, cursor);
        let mut client = connect(cursor.to_string()).await;
        gap(&mut client).await;
    }
    let slice = broker.read(&room, rooms, ReadFrom::After(kept[9]), 100).await.expect("read");
    assert_eq!((slice.start, numbers(&slice)), (kept[9], (16..21).collect()));
    let mut client = connect(kept[9].to_string()).await;
    for number in 16..=20 {
        assert_eq!(client.number().await, number, "who has not seen it has missed nothing");
    }
    publish_all(&broker, &room, rooms, 21..22).await;
    let mut last = 0;
    while last != 21 {
        let number = within(10, "the newest", stays.number()).await;
        assert!(number > last, "{number} after {last}");
        last = number;
    }
}
