//! The rooms of a node by name: how many there may be, and who brought them.

use super::{Room, sessions::take_one};
use crate::{Address, JoinError, Limits, RoomName, surplus::surplus};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::time::Instant;

/// The rooms of a node.
#[derive(Default)]
pub(super) struct Directory {
    by_name: HashMap<RoomName, Arc<Room>>,
    /// How many each address brought, that was the first in them; none brought none.
    brought: HashMap<Address, usize>,
}

impl Directory {
    pub(super) fn get(&self, name: &RoomName) -> Option<&Arc<Room>> {
        self.by_name.get(name)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Room>> {
        self.by_name.values()
    }

    /// Whether a room more may come to be by somebody from this address.
    pub(super) fn has_place(&self, address: Option<Address>, limits: &Limits) -> Result<(), JoinError> {
        let brought = address.and_then(|address| self.brought.get(&address).copied()).unwrap_or_default();
        if self.by_name.len() >= limits.node_rooms {
            Err(JoinError::Full)
        } else if address.is_some() && brought >= limits.address_rooms {
            Err(JoinError::AddressFull { max: limits.address_rooms })
        } else {
            Ok(())
        }
    }

    pub(super) fn insert(&mut self, room: Arc<Room>) {
        if let Some(address) = room.brought_by {
            *self.brought.entry(address).or_default() += 1;
        }
        room.class.present.fetch_add(1, Relaxed);
        self.by_name.insert(room.name.clone(), room);
    }

    /// Ends the rooms that nobody was in for so long, and answers them.
    pub(super) fn end_empty(&mut self, now: Instant, linger: Duration) -> Vec<Arc<Room>> {
        let Self { by_name, brought } = self;
        let ended = by_name.extract_if(|_, room| room.close_if_empty(now, linger));
        let ended: Vec<_> = ended.map(|(_, room)| room).collect();
        for room in &ended {
            room.class.present.fetch_sub(1, Relaxed);
            if let Some(address) = room.brought_by {
                take_one(brought, &address);
            }
        }
        ended
    }

    pub(super) fn take_all(&mut self) -> Vec<Arc<Room>> {
        self.brought.clear();
        self.by_name.drain().map(|(_, room)| room).collect()
    }

    /// Gives back the place of those that have gone.
    pub(super) fn shrink(&mut self, kept: usize) {
        if let Some(enough) = surplus(self.by_name.capacity(), self.by_name.len(), kept) {
            self.by_name.shrink_to(enough);
        }
        if let Some(enough) = surplus(self.brought.capacity(), self.brought.len(), kept) {
            self.brought.shrink_to(enough);
        }
    }
}
