//! What is lost with no connection lost, which other brokers cannot be made to do.

use crate::server::*;
use std::sync::Arc;
use tidings_core::broker::Broker;
use tidings_testkit::presence;

#[tokio::test(flavor = "multi_thread")]
async fn members_are_told_again_where_their_words_were_deleted() {
    let server = RedisServer::start();
    let broker = async || Arc::new(server.broker().await) as Arc<dyn Broker>;
    let brokers = [broker().await, broker().await, broker().await];
    presence::members_are_told_again_where_their_words_were_lost(brokers, async || {
        server.admin::<()>("FLUSHALL").await
    })
    .await;
}
