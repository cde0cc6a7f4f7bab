//! Who is in a room, told over every transport by nodes of one process.

use std::sync::Arc;
use tidings::{
    Broker, MemoryBroker, Position, RoomName, Rooms,
    broker::{Answer, Publish, ReadFrom, Sink, Slice},
};
use tidings_testkit::presence;

/// A memory broker that several nodes share.
#[derive(Clone, Default)]
struct Shared(Arc<MemoryBroker>);

impl Broker for Shared {
    fn attach(&self, sink: std::sync::Weak<dyn Sink>) {
        self.0.attach(sink);
    }

    fn publish(&self, publish: Publish) -> Answer<'_, Position> {
        self.0.publish(publish)
    }

    fn watch<'a>(&'a self, room: &'a RoomName, rooms: Rooms) -> Answer<'a, ()> {
        self.0.watch(room, rooms)
    }

    fn unwatch(&self, room: &RoomName) {
        self.0.unwatch(room);
    }

    fn read<'a>(
        &'a self,
        room: &'a RoomName,
        rooms: Rooms,
        from: ReadFrom,
        limit: usize,
    ) -> Answer<'a, Slice> {
        self.0.read(room, rooms, from, limit)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_told_alike_on_every_node_and_transport() {
    let broker = Shared::default();
    presence::members_are_told_alike_on_every_node_and_transport([broker.clone(), broker]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_changes_transport_and_node_has_not_left() {
    let broker = Shared::default();
    presence::a_user_who_changes_transport_and_node_has_not_left([broker.clone(), broker]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_node_that_was_killed_have_gone() {
    let broker = Shared::default();
    presence::users_of_a_node_that_was_killed_have_gone([broker.clone(), broker]).await;
}
