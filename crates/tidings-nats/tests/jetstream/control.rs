//! Words to all nodes, each of which has a broker of its own.

use crate::server::*;
use std::time::Duration;
use tidings_core::CloseReason;
use tidings_nats::{NatsBroker, Storage};
use tidings_testkit::{
    Client, Kind, Server, Tap,
    users::{self, node_of, word},
};

const LATER: Duration = Duration::from_secs(30);

async fn connect(node: &Server) -> Client {
    Client::connect(Kind::Ws, node.address(), "a", "now").await.expect("let in")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_loses_a_room_and_then_its_sessions_on_every_node_within_a_second() {
    let server = NatsServer::start();
    let brokers = [server.broker().await, server.broker().await, server.broker().await];
    users::a_user_loses_a_room_and_then_its_sessions(brokers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_kept_from_a_user_on_another_node_also_in_its_history() {
    let server = NatsServer::start();
    let brokers = [server.broker().await, server.broker().await, server.broker().await];
    users::an_event_is_kept_from_a_user(brokers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_comes_back_where_the_broker_has_lost_the_words() {
    let mut server = NatsServer::start();
    let one = node_of("ann", server.broker().await).await;
    let mut ann = connect(&one).await;
    // Its streams are in memory.
    server.kill();
    server.restart();
    assert_eq!(word(LATER, &mut ann).await["code"], "drain");
    let mut again = within(10, "a place", async {
        loop {
            match Client::connect(Kind::Ws, one.address(), "a", "now").await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    })
    .await;
    one.hub().disconnect("ann", CloseReason::Expired).await.expect("stored");
    assert_eq!(word(Duration::from_secs(1), &mut again).await["code"], "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_hears_what_was_said_meanwhile() {
    let server = NatsServer::start();
    let address = server.url().trim_start_matches("nats://").parse().expect("an address");
    let tap = Tap::to(address).await;
    let away = NatsBroker::builder(&format!("nats://{}", tap.address()))
        .storage(Storage::Memory)
        .build()
        .expect("settings");
    ready(&away).await;
    let (one, two) = (node_of("ann", away).await, node_of("bob", server.broker().await).await);
    let mut ann = connect(&one).await;
    // What was under way is lost, and nothing comes.
    tap.freeze();
    tap.cut();
    two.hub().disconnect("ann", CloseReason::Revoked).await.expect("stored");
    tap.thaw();
    assert_eq!(word(LATER, &mut ann).await["code"], "revoked");
}
