//! What becomes of cursors when a history is lost, or made anew.

use crate::server::*;
use tidings_core::broker::*;
use tidings_testkit::{Client, Kind, Server, brokers::recreated::gap};

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
