//! Who is in a room, told by nodes each of which has a broker of its own.

use super::{BrokerServer, ServerKind};
use crate::presence;

/// On every node and transport the same members are told, at the same cursor, from which every other goes on.
///
/// # Panics
/// If not.
pub async fn members_are_told_alike_on_every_node_and_transport(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let brokers = [server.broker().await.shared(), server.broker().await.shared()];
    presence::members_are_told_alike_on_every_node_and_transport(brokers).await;
}

/// A user who goes from one transport and node to another is there all the time; one who polls is, too.
///
/// # Panics
/// If not.
pub async fn a_user_who_changes_transport_and_node_has_not_left(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let brokers = [server.broker().await.shared(), server.broker().await.shared()];
    presence::a_user_who_changes_transport_and_node_has_not_left(brokers).await;
}

/// Where the broker comes back with nothing, every node says again what it has to say.
///
/// # Panics
/// If not.
pub async fn members_are_told_again_where_their_words_were_lost(kind: ServerKind) {
    let mut server = BrokerServer::start(kind);
    let brokers =
        [server.broker().await.shared(), server.broker().await.shared(), server.broker().await.shared()];
    presence::members_are_told_again_where_their_words_were_lost(brokers, async || {
        server.kill();
        server.restart();
    })
    .await;
}

/// The application is told of a user of a node that stopped without a word.
///
/// # Panics
/// If not.
pub async fn users_of_a_node_that_was_killed_have_gone(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    let brokers = [server.broker().await.shared(), server.broker().await.shared()];
    presence::users_of_a_node_that_was_killed_have_gone(brokers).await;
}
