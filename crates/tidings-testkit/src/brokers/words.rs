//! Words to all nodes, each of which has a broker of its own.

use super::{BrokerServer, ServerKind, until_ready, within};
use crate::{
    Client, Kind, Server, Tap,
    users::{self, node_of, word},
};
use std::{sync::Arc, time::Duration};
use tidings::{CloseReason, broker::Broker};
use tokio::time::sleep;

async fn three(server: &BrokerServer) -> [Arc<dyn Broker>; 3] {
    [server.broker().await.shared(), server.broker().await.shared(), server.broker().await.shared()]
}

async fn connect(node: &Server) -> Client {
    Client::connect(Kind::Ws, node.address(), "a", "now").await.expect("let in")
}

/// A user loses a room, and then all sessions, on every node within a second.
///
/// # Panics
/// If not.
pub async fn a_user_loses_a_room_and_then_its_sessions_on_every_node_within_a_second(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    users::a_user_loses_a_room_and_then_its_sessions(three(&server).await).await;
}

/// An event is kept from a user on another node, also when it comes from the history.
///
/// # Panics
/// If not.
pub async fn an_event_is_kept_from_a_user_on_another_node_also_in_its_history(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    users::an_event_is_kept_from_a_user(three(&server).await).await;
}

/// Where the broker has lost the words to all nodes, who may have been meant comes back and is asked for anew.
///
/// # Panics
/// If not.
pub async fn a_user_comes_back_where_the_broker_has_lost_the_words(kind: ServerKind) {
    let mut server = BrokerServer::start(kind);
    let one = node_of("ann", server.broker().await.shared()).await;
    let mut ann = connect(&one).await;
    server.kill();
    server.restart();
    assert_eq!(word(LATER, &mut ann).await["code"], "drain");
    let mut again = within(10, "a place", async {
        loop {
            match Client::connect(Kind::Ws, one.address(), "a", "now").await {
                Ok(client) => return client,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    })
    .await;
    one.hub().disconnect("ann", CloseReason::Expired).await.expect("stored");
    assert_eq!(word(Duration::from_secs(1), &mut again).await["code"], "expired");
}

/// A node that was cut off hears later what was said meanwhile.
///
/// # Panics
/// If not.
pub async fn a_node_that_was_away_hears_what_was_said_meanwhile(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    server.listens().await;
    let tap = Tap::to(server.address()).await;
    let away = kind.hasty_broker(tap.address());
    until_ready(&away).await;
    let one = node_of("ann", away.shared()).await;
    let two = node_of("bob", server.broker().await.shared()).await;
    let mut ann = connect(&one).await;
    // What was under way is lost, and nothing comes.
    tap.freeze();
    tap.cut();
    two.hub().disconnect("ann", CloseReason::Revoked).await.expect("stored");
    tap.thaw();
    assert_eq!(word(LATER, &mut ann).await["code"], "revoked");
}

const LATER: Duration = Duration::from_secs(30);
