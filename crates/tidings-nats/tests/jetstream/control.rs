//! Words to all nodes, each of which has a broker of its own.

use crate::server::*;
use std::{sync::Arc, time::Duration};
use tidings_core::{
    CloseReason, Event, Gate, Hub, Identity,
    gate::{Decision, RequestHead},
};
use tidings_nats::NatsBroker;
use tidings_testkit::{Client, Heard, Kind, Server, Tap};

/// Everybody is this user.
struct As(&'static str);

impl Gate for As {
    fn connect<'a>(&'a self, _: &'a RequestHead) -> Decision<'a, Identity> {
        Box::pin(std::future::ready(Ok(Identity::user(self.0))))
    }
}

fn hub(broker: NatsBroker, user: &'static str) -> Hub {
    Hub::builder().gate(As(user)).broker(Arc::new(broker)).build()
}

async fn node(server: &NatsServer, user: &'static str) -> Server {
    Server::with_hub(hub(server.broker().await, user)).await
}

async fn connect(node: &Server, rooms: &[&str]) -> Client {
    Client::connect_many(Kind::Ws, node.address(), rooms, "now").await.expect("let in")
}

/// The next word that is neither an event nor about one.
async fn word(seconds: u64, client: &mut Client) -> serde_json::Value {
    within(seconds, "a word", async {
        loop {
            match client.next().await.expect("still open") {
                Heard::Other(value) => return value,
                Heard::Joined { .. } | Heard::Event { .. } | Heard::Gap { .. } => {}
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_loses_a_room_and_then_its_sessions_on_every_node_within_a_second() {
    let server = NatsServer::start();
    let (one, two, other) =
        (node(&server, "ann").await, node(&server, "ann").await, node(&server, "bob").await);
    let mut anns = [connect(&one, &["a", "b"]).await, connect(&two, &["a", "b"]).await];
    let mut bob = connect(&other, &["a"]).await;
    other.hub().revoke("ann", "a").await.expect("stored");
    for ann in &mut anns {
        let word = word(1, ann).await;
        assert_eq!((word["type"].as_str(), word["room"].as_str()), (Some("error"), Some("a")));
    }
    one.publish("a", 1).await;
    one.publish("b", 2).await;
    for ann in &mut anns {
        assert_eq!(ann.number().await, 2);
    }
    two.hub().disconnect("ann", CloseReason::Revoked).await.expect("stored");
    for ann in &mut anns {
        assert_eq!(word(1, ann).await["code"], "revoked");
    }
    assert_eq!(bob.number().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_kept_from_a_user_on_another_node_also_in_its_history() {
    let server = NatsServer::start();
    let (one, two) = (node(&server, "ann").await, node(&server, "bob").await);
    let (mut ann, mut bob) = (connect(&one, &["a"]).await, connect(&two, &["a"]).await);
    let event = Event::json("n", &1).expect("JSON").except_user("ann");
    two.hub().publish("a", event).await.expect("stored");
    two.publish("a", 2).await;
    assert_eq!((bob.number().await, bob.number().await, ann.number().await), (1, 2, 2));
    let late = node(&server, "ann").await;
    let mut again = Client::connect(Kind::Sse, late.address(), "a", "start").await.expect("let in");
    assert_eq!(again.number().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_comes_back_where_the_broker_has_lost_the_words() {
    let mut server = NatsServer::start();
    let one = node(&server, "ann").await;
    let mut ann = connect(&one, &["a"]).await;
    // Its streams are in memory.
    server.kill();
    server.restart();
    assert_eq!(word(30, &mut ann).await["code"], "drain");
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
    assert_eq!(word(1, &mut again).await["code"], "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_hears_what_was_said_meanwhile() {
    let server = NatsServer::start();
    let address = server.url().trim_start_matches("nats://").parse().expect("an address");
    let tap = Tap::to(address).await;
    let away = NatsBroker::builder(&format!("nats://{}", tap.address()))
        .storage(tidings_nats::Storage::Memory)
        .build()
        .expect("settings");
    ready(&away).await;
    let (one, two) = (Server::with_hub(hub(away, "ann")).await, node(&server, "bob").await);
    let mut ann = connect(&one, &["a"]).await;
    // What was under way is lost, and nothing comes.
    tap.freeze();
    tap.cut();
    two.hub().disconnect("ann", CloseReason::Revoked).await.expect("stored");
    tap.thaw();
    assert_eq!(word(30, &mut ann).await["code"], "revoked");
}
