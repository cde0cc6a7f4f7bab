//! Who is in a room, told over every transport by nodes of one process.

use tidings_testkit::{Shared, presence};

#[tokio::test(flavor = "multi_thread")]
async fn members_are_told_alike_on_every_node_and_transport() {
    let shared = Shared::new();
    let brokers = [shared.broker().await, shared.broker().await];
    presence::members_are_told_alike_on_every_node_and_transport(brokers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_changes_transport_and_node_has_not_left() {
    let shared = Shared::new();
    let brokers = [shared.broker().await, shared.broker().await];
    presence::a_user_who_changes_transport_and_node_has_not_left(brokers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_node_that_was_killed_have_gone() {
    let shared = Shared::new();
    presence::users_of_a_node_that_was_killed_have_gone([shared.broker().await, shared.broker().await]).await;
}
