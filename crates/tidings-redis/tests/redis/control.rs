//! Words to all nodes, each of which has a broker of its own.

use crate::server::*;
use tidings_testkit::users;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_loses_a_room_and_then_its_sessions_on_every_node_within_a_second() {
    let server = RedisServer::start();
    let brokers = [server.broker().await, server.broker().await, server.broker().await];
    users::a_user_loses_a_room_and_then_its_sessions(brokers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_kept_from_a_user_on_another_node_also_in_its_history() {
    let server = RedisServer::start();
    let brokers = [server.broker().await, server.broker().await, server.broker().await];
    users::an_event_is_kept_from_a_user(brokers).await;
}
