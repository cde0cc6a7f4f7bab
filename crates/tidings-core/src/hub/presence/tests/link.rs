//! A node's way to a broker, that can be cut.

use crate::{
    Message, Position, RoomName, Rooms,
    broker::{Answer, Broker, BrokerError, MemoryBroker, Publish, ReadFrom, Sink, Slice},
    sync::Mutex,
};
use std::{
    future::ready,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// A node's way to a broker. While it is cut nothing gets through, and what is handed over is lost.
pub(super) struct Link {
    broker: Arc<MemoryBroker>,
    cut: Arc<AtomicBool>,
    /// Of this room no event gets to the broker.
    lost: Mutex<Option<RoomName>>,
    relays: Mutex<Vec<Arc<Relay>>>,
}

struct Relay {
    node: Weak<dyn Sink>,
    cut: Arc<AtomicBool>,
}

impl Link {
    pub(super) fn new(broker: &Arc<MemoryBroker>) -> Self {
        Self {
            broker: Arc::clone(broker),
            cut: Arc::default(),
            lost: Mutex::default(),
            relays: Mutex::default(),
        }
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, SeqCst);
    }

    /// Events of this room are not stored, as far as anybody knows.
    pub(super) fn lose(&self, room: Option<RoomName>) {
        *self.lost.lock() = room;
    }

    pub(super) fn heal(&self) {
        self.cut.store(false, SeqCst);
        self.relays.lock().iter().filter_map(|relay| relay.node.upgrade()).for_each(|node| node.lost(None));
    }

    fn through<'a, T: Send + 'a>(&self, ask: impl FnOnce() -> Answer<'a, T>) -> Answer<'a, T> {
        if self.cut.load(SeqCst) {
            return Box::pin(ready(Err(BrokerError::Unavailable("it is cut".to_owned()))));
        }
        ask()
    }
}

impl Sink for Relay {
    fn live(&self, message: Arc<Message>) {
        if let Some(node) = self.node.upgrade().filter(|_| !self.cut.load(SeqCst)) {
            node.live(message);
        }
    }

    fn lost(&self, room: Option<&RoomName>) {
        if let Some(node) = self.node.upgrade() {
            node.lost(room);
        }
    }
}

impl Broker for Link {
    fn attach(&self, node: Weak<dyn Sink>) {
        let relay = Arc::new(Relay { node, cut: Arc::clone(&self.cut) });
        let weak: Weak<Relay> = Arc::downgrade(&relay);
        self.broker.attach(weak);
        self.relays.lock().push(relay);
    }

    fn publish(&self, publish: Publish) -> Answer<'_, Position> {
        if self.lost.lock().as_ref() == Some(&publish.room) {
            return Box::pin(ready(Err(BrokerError::Unknown("it is lost".to_owned()))));
        }
        self.through(|| self.broker.publish(publish))
    }

    fn watch<'a>(&'a self, room: &'a RoomName, rooms: Rooms) -> Answer<'a, ()> {
        self.through(|| self.broker.watch(room, rooms))
    }

    fn unwatch(&self, room: &RoomName) {
        self.broker.unwatch(room);
    }

    fn read<'a>(
        &'a self,
        room: &'a RoomName,
        rooms: Rooms,
        from: ReadFrom,
        limit: usize,
    ) -> Answer<'a, Slice> {
        self.through(|| self.broker.read(room, rooms, from, limit))
    }
}
