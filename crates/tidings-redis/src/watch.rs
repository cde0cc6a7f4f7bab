//! The watches of a node.

use crate::names::Partition;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tidings_core::{Event, Message, Position, RoomName, broker::Sink};
use tokio::sync::watch;

/// Which rooms are watched, and by whom what they say is taken.
pub(crate) struct Watches {
    sinks: Mutex<Arc<[Weak<dyn Sink>]>>,
    rooms: Mutex<HashMap<RoomName, Arc<Watch>>>,
    /// The epoch of rooms that keep nothing: this node's own.
    epoch: u32,
    /// Counts what came in rooms that keep nothing, so that each event has a position on this node.
    ephemeral: AtomicU64,
}

/// One watched room.
pub(crate) struct Watch {
    pub(crate) room: RoomName,
    pub(crate) partition: Partition,
    /// Whether its events are kept.
    pub(crate) keeps: bool,
    /// How often it is watched, under the lock on the map.
    count: Mutex<usize>,
    /// Whether a server hands it over.
    pub(crate) started: watch::Sender<bool>,
    /// In a room that keeps nothing: what came last.
    newest: Mutex<Option<Position>>,
}

impl Default for Watches {
    fn default() -> Self {
        Self {
            sinks: Mutex::default(),
            rooms: Mutex::default(),
            epoch: rand::random::<u32>().max(1),
            ephemeral: AtomicU64::new(0),
        }
    }
}

impl Watches {
    pub(crate) fn attach(&self, sink: Weak<dyn Sink>) {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        *sinks = sinks.iter().filter(|sink| sink.strong_count() > 0).cloned().chain([sink]).collect();
    }

    /// Calls `f` for each node.
    pub(crate) fn each_sink(&self, f: impl Fn(&dyn Sink)) {
        let sinks = Arc::clone(&self.sinks.lock().unwrap_or_else(PoisonError::into_inner));
        sinks.iter().filter_map(Weak::upgrade).for_each(|sink| f(&*sink));
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, Arc<Watch>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, room: &str) -> Option<Arc<Watch>> {
        self.rooms().get(room).cloned()
    }

    /// All that some server is to hand over.
    pub(crate) fn of(&self, is_its: impl Fn(Partition) -> bool) -> Vec<Arc<Watch>> {
        self.rooms().values().filter(|watch| is_its(watch.partition)).cloned().collect()
    }

    /// Counts one more watch of a room.
    pub(crate) fn add(&self, room: &RoomName, keeps: bool) -> Arc<Watch> {
        let mut rooms = self.rooms();
        let watch = rooms.entry(room.clone()).or_insert_with(|| {
            Arc::new(Watch {
                room: room.clone(),
                partition: Partition::of(room),
                keeps,
                count: Mutex::new(0),
                started: watch::Sender::new(false),
                newest: Mutex::default(),
            })
        });
        *watch.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Arc::clone(watch)
    }

    /// Counts one less; with the last the watch ends, which is answered.
    pub(crate) fn remove(&self, room: &RoomName) -> bool {
        let mut rooms = self.rooms();
        let Some(watch) = rooms.get(room) else { return false };
        let left = {
            let mut count = watch.count.lock().unwrap_or_else(PoisonError::into_inner);
            *count -= 1;
            *count
        };
        if left == 0 {
            rooms.remove(room);
        }
        left == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.rooms().len()
    }

    /// Takes an event that nobody keeps.
    pub(crate) fn take_ephemeral(&self, watch: &Watch, event: Event) {
        // Held until it is handed over, for what follows must follow.
        let mut newest = watch.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = self.ephemeral.fetch_add(1, Relaxed) + 1;
        let position = Position { epoch: self.epoch, offset, tag: 0 };
        let follows = newest.replace(position).unwrap_or_else(|| self.nowhere());
        let message = Arc::new(Message::ephemeral(watch.room.clone(), position, follows, event));
        self.each_sink(|sink| sink.live(Arc::clone(&message)));
    }

    /// Where a room that keeps nothing stands on this node.
    pub(crate) fn ephemeral_head(&self, room: &RoomName) -> Position {
        let newest =
            self.get(room).and_then(|watch| *watch.newest.lock().unwrap_or_else(PoisonError::into_inner));
        newest.unwrap_or_else(|| self.nowhere())
    }

    /// Where a room that keeps nothing begins on this node.
    pub(crate) fn nowhere(&self) -> Position {
        Position { epoch: self.epoch, offset: 0, tag: 0 }
    }
}
