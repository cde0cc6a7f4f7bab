//! Who is in a room, told by nodes each of which has a broker of its own.

use crate::server::*;
use tidings_testkit::presence;

#[tokio::test(flavor = "multi_thread")]
async fn members_are_told_alike_on_every_node_and_transport() {
    let server = RedisServer::start();
    let brokers = [server.broker().await, server.broker().await];
    presence::members_are_told_alike_on_every_node_and_transport(brokers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_changes_transport_and_node_has_not_left() {
    let server = RedisServer::start();
    let brokers = [server.broker().await, server.broker().await];
    presence::a_user_who_changes_transport_and_node_has_not_left(brokers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_told_again_where_their_words_were_lost() {
    let server = RedisServer::start();
    let brokers = [server.broker().await, server.broker().await, server.broker().await];
    presence::members_are_told_again_where_their_words_were_lost(brokers, async || {
        server.admin::<()>("FLUSHALL").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_node_that_was_killed_have_gone() {
    let server = RedisServer::start();
    presence::users_of_a_node_that_was_killed_have_gone([server.broker().await, server.broker().await]).await;
}
