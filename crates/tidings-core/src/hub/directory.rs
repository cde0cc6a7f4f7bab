//! The rooms of a node by name.

use super::Room;
use crate::{RoomName, surplus::surplus};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::time::Instant;

/// The rooms of a node, each counted by its class.
#[derive(Default)]
pub(super) struct Directory {
    by_name: HashMap<RoomName, Arc<Room>>,
}

impl Directory {
    pub(super) fn get(&self, name: &RoomName) -> Option<&Arc<Room>> {
        self.by_name.get(name)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Room>> {
        self.by_name.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn insert(&mut self, room: Arc<Room>) {
        room.class.present.fetch_add(1, Relaxed);
        self.by_name.insert(room.name.clone(), room);
    }

    /// Ends the rooms that nobody was in for so long, and answers them.
    pub(super) fn end_empty(&mut self, now: Instant, linger: Duration) -> Vec<Arc<Room>> {
        let ended = self.by_name.extract_if(|_, room| room.close_if_empty(now, linger));
        let ended = ended.map(|(_, room)| room);
        ended.inspect(|room| _ = room.class.present.fetch_sub(1, Relaxed)).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Arc<Room>> {
        self.by_name.drain().map(|(_, room)| room).collect()
    }

    /// Gives back the place of those that have gone.
    pub(super) fn shrink(&mut self, kept: usize) {
        if let Some(enough) = surplus(self.by_name.capacity(), self.by_name.len(), kept) {
            self.by_name.shrink_to(enough);
        }
    }
}
