//! What becomes of cursors when a stream is lost, or made anew.

use crate::server::*;
use tidings_testkit::{Client, Kind, Server, brokers::recreated::gap};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_anew_is_another_epoch_for_who_was_away() {
    let server = NatsServer::start();
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
    server.admin().await.delete_stream("td_log_0").await.expect("deleted");
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
async fn a_stream_made_anew_is_noticed_by_who_stays_whether_or_not_something_is_published() {
    let server = NatsServer::start();
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
    server.admin().await.delete_stream("td_log_0").await.expect("deleted");
    for client in &mut clients {
        assert_eq!(gap(client).await, "epoch");
    }
    nodes[2].publish("r", 4).await;
    for client in &mut clients {
        assert_eq!(client.number().await, 4);
    }
}
