//! The rooms that tell who is in a room, as rooms of a broker.

use super::{Presences, WAIT, Wanted, unknown};
use crate::{
    Position, Presence, RoomName, Rooms,
    broker::{Answer, Broker, BrokerError, Publish, ReadFrom, Sink, Slice},
    policy::Rules,
};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// A node's broker, and the rooms that the node makes of what it hears: who reads them need not know.
pub(in crate::hub) struct PresenceBroker {
    pub(in crate::hub) broker: Arc<dyn Broker>,
    pub(in crate::hub) presences: Arc<Presences>,
    pub(in crate::hub) rules: Arc<Rules>,
}

impl PresenceBroker {
    /// The room that such a room tells of.
    fn told(&self, room: &RoomName) -> Option<(RoomName, Option<Presence>)> {
        let told = room.presence_of()?;
        let presence = self.rules.of(&told).rooms.presence_policy();
        Some((told, presence))
    }

    /// A room's members are known from here on, for as long as what is answered is kept.
    async fn known(&self, room: &RoomName, presence: Option<Presence>) -> Result<Wanted<'_>, BrokerError> {
        let presence = presence.ok_or_else(unknown)?;
        let wanted = self.presences.want(room, presence);
        timeout(WAIT, self.presences.known(room)).await.map_err(|_| unknown())?;
        Ok(wanted)
    }

    async fn read_members(
        &self,
        told: &RoomName,
        (room, presence): (RoomName, Option<Presence>),
        from: ReadFrom,
    ) -> Result<Slice, BrokerError> {
        let _wanted = self.known(&room, presence).await?;
        let slice = self.presences.slice(told, &room).ok_or_else(unknown)?;
        let ReadFrom::After(cursor) = from else { return Ok(slice) };
        if cursor == slice.head {
            return Ok(Slice::new(cursor, Vec::new(), cursor));
        }
        if cursor.epoch == slice.head.epoch && cursor.offset > slice.head.offset {
            // Its client was on a node that was ahead of this one; or that history is gone.
            let members = room.members();
            let rooms = self.rules.of(&members).rooms;
            let truth = self.broker.read(&members, rooms, from, 1).await?;
            if truth.start == cursor {
                return Ok(Slice::new(cursor, Vec::new(), cursor));
            }
        }
        Ok(slice)
    }
}

impl Broker for PresenceBroker {
    fn attach(&self, sink: Weak<dyn Sink>) {
        self.broker.attach(sink);
    }

    fn publish(&self, publish: Publish) -> Answer<'_, Position> {
        debug_assert!(publish.room.told().is_none(), "nobody publishes what is made of words");
        self.broker.publish(publish)
    }

    fn watch<'a>(&'a self, room: &'a RoomName, rooms: Rooms) -> Answer<'a, ()> {
        let Some((told, presence)) = self.told(room) else { return self.broker.watch(room, rooms) };
        Box::pin(async move {
            let _wanted = self.known(&told, presence).await?;
            let watch = |room: &mut super::Room| {
                room.wanted += 1;
                room.watched += 1;
            };
            self.presences.with(&told, watch).ok_or_else(unknown)
        })
    }

    fn unwatch(&self, room: &RoomName) {
        match room.presence_of() {
            None => self.broker.unwatch(room),
            Some(told) => {
                self.presences.with(&told, |room| room.watched = room.watched.saturating_sub(1));
                self.presences.unwant(&told);
            }
        }
    }

    fn read<'a>(
        &'a self,
        room: &'a RoomName,
        rooms: Rooms,
        from: ReadFrom,
        limit: usize,
    ) -> Answer<'a, Slice> {
        match self.told(room) {
            None => self.broker.read(room, rooms, from, limit),
            Some(told) => Box::pin(self.read_members(room, told, from)),
        }
    }

    fn check_every(&self) -> Option<Duration> {
        self.broker.check_every()
    }

    fn housekeep(&self, now: Instant) {
        self.broker.housekeep(now);
    }
}
