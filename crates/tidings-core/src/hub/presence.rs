//! Who is in a room, on all nodes.
//!
//! The nodes tell one another by events of reserved rooms, as they do of other things, so that every broker carries it. In
//! `~members:<room>` each says who is in the room by it, all of it each time, and the newest words of all nodes together are
//! the room's members. In `~nodes` each gives a sign of life, and when one has given none for its lease another says in the
//! rooms where it had somebody that it has gone. What clients see, `~presence:<room>`, is no room of the broker's: each node
//! makes it from the words, one value at each word's position, so that it is the same on every node and cursors hold.

mod broker;
mod driver;
mod fold;
mod journal;
mod nodes;
mod offline;
mod others;
mod part;
mod room;

pub(super) use broker::PresenceBroker;
pub(super) use offline::Offline;

use super::{Hub, Node};
use crate::{
    CloseReason, Identity, JoinError, Presence, RoomName,
    broker::{BrokerError, Slice},
    session::Mailbox,
    surplus::surplus,
    sync::Mutex,
};
use room::{Hearing, Room};
use serde::{Deserialize, Serialize};
use slab::Slab;
use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// Who is in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Members {
    /// How many users. Exact where every node lists all that it has ([`Presence::listed`]); beyond that, a user who is there by
    /// several nodes and whom not all of them list counts more than once.
    pub count: usize,
    /// Their names, sorted: all, or the first.
    pub users: Vec<String>,
}

/// The rooms whose members this node tells, or is asked for. Its lock is taken last of all.
pub(crate) struct Presences {
    me: u64,
    rooms: Mutex<Tended>,
    /// Told when there is something for the one who tends them.
    work: Notify,
    /// Of the words of this node.
    number: AtomicU64,
    /// Where whoever tends to them is told that the node has ended.
    mailbox: Mutex<Option<Arc<Mailbox>>>,
    /// Told when nobody tends to them any more.
    finished: Notify,
}

#[derive(Default)]
struct Tended {
    by_name: HashMap<RoomName, Room>,
    /// Those to be looked at, each once.
    dirty: VecDeque<RoomName>,
    /// Whose sessions are in which.
    seats: Slab<(RoomName, Box<str>)>,
    /// Somebody tends to them.
    running: bool,
    /// The node has ended.
    ended: bool,
}

/// A user's session in a room, by a number; who has it must give it back.
#[derive(Debug)]
pub(crate) struct Seat(NonZeroU32);

/// Keeps a room's members known; dropping it lets them be forgotten.
struct Wanted<'a> {
    presences: &'a Presences,
    room: RoomName,
}

impl Hub {
    /// Who is in a room, on all nodes that share the broker, as this node knows it: what others have to say may be a second
    /// old, and a node that was killed is found out after 15 seconds. Nobody, where the class of the room has no
    /// [`Presence`].
    ///
    /// If nobody is in the room on this node its words are read from the broker.
    ///
    /// # Errors
    /// If the name is no room name, or what the nodes have said cannot be read within
    /// [`Limits::join_wait`](crate::Limits::join_wait), or this node has been [drained](Self::drain).
    pub async fn presence<R>(&self, room: R) -> Result<Members, JoinError>
    where
        R: TryInto<RoomName, Error = crate::NameError>,
    {
        self.node.start_if_possible();
        let room = room.try_into()?;
        let (Some(presence), Some(presences)) = (self.node.presence_of(&room), &self.node.presences) else {
            return Ok(Members::default());
        };
        if presences.rooms.lock().ended {
            return Err(JoinError::Unavailable);
        }
        let known = presences.want(&room, presence);
        let wait = timeout(self.node.limits.join_wait, presences.known(&room));
        wait.await.map_err(|_| JoinError::Unavailable)?;
        let members = presences.with(&room, |room| room.members()).ok_or(JoinError::Unavailable)?;
        drop(known);
        Ok(members)
    }
}

impl Node {
    /// Who is told to be in a room, if anybody is: the room that tells it must have a name, too.
    pub(crate) fn presence_of(&self, room: &RoomName) -> Option<Presence> {
        let presence = self.rules.of(room).rooms.presence_policy()?;
        RoomName::of_presence(room).ok().map(|_| presence)
    }

    /// Takes note that a user's session is in a room, where that is told.
    pub(super) fn sit(&self, presences: &Presences, room: &RoomName, who: Option<&Identity>) -> Option<Seat> {
        let user = who?.name()?;
        let presence = self.presence_of(room)?;
        let key = presences.rooms.lock().seats.insert((room.clone(), user.into()));
        presences.change(room, presence, |room| room.part.sit(user));
        // One more than the key, of which there are never so many.
        u32::try_from(key + 1).ok().and_then(NonZeroU32::new).map(Seat)
    }
}

impl Presences {
    pub(super) fn new(me: u64) -> Self {
        Self {
            me,
            rooms: Mutex::default(),
            work: Notify::new(),
            number: AtomicU64::new(1),
            mailbox: Mutex::default(),
            finished: Notify::new(),
        }
    }

    /// The node has ended.
    pub(super) fn end(&self) {
        self.rooms.lock().ended = true;
        self.work.notify_one();
        if let Some(mailbox) = &*self.mailbox.lock() {
            mailbox.close(CloseReason::Gone);
        }
    }

    /// The node ends, and the others are told so, or find out: from here on it says nothing about members.
    pub(super) async fn end_well(&self) {
        self.end();
        let finished = async {
            loop {
                let mut told = std::pin::pin!(self.finished.notified());
                told.as_mut().enable();
                if !self.rooms.lock().running {
                    return;
                }
                told.await;
            }
        };
        // The runtime of the one who is to say so may have ended.
        if timeout(WAIT, finished).await.is_err() {
            tracing::debug!("nobody is there to tell the others that this node ends");
        }
    }

    /// A user's session is out of a room.
    pub(super) fn rise(&self, Seat(seat): Seat) {
        let now = Instant::now();
        let mut rooms = self.rooms.lock();
        let Some((name, user)) = rooms.seats.try_remove(seat.get() as usize - 1) else { return };
        if surplus(rooms.seats.capacity(), rooms.seats.len(), KEPT).is_some() {
            rooms.seats.shrink_to_fit();
        }
        let Some(room) = rooms.by_name.get_mut(&name) else { return };
        if room.part.rise(&user, now, room.presence) {
            rooms.touch(&name);
            drop(rooms);
            self.work.notify_one();
        }
    }

    fn finish(&self) {
        self.rooms.lock().running = false;
        self.finished.notify_waiters();
    }

    fn with<T>(&self, room: &RoomName, f: impl FnOnce(&mut Room) -> T) -> Option<T> {
        self.rooms.lock().by_name.get_mut(room).map(f)
    }

    /// Changes a room, which comes to be if it must, and has it looked at if `f` says so.
    fn change(&self, name: &RoomName, presence: Presence, f: impl FnOnce(&mut Room) -> bool) {
        let mut rooms = self.rooms.lock();
        if rooms.ended {
            return;
        }
        let room = rooms.by_name.entry(name.clone()).or_insert_with(|| Room::new(presence));
        if f(room) {
            rooms.touch(name);
            drop(rooms);
            self.work.notify_one();
        }
    }

    /// One who tends to the rooms begins, where the last one has stopped.
    fn begin(&self, mailbox: Arc<Mailbox>) {
        *self.mailbox.lock() = Some(mailbox);
        let mut rooms = self.rooms.lock();
        rooms.running = true;
        let Tended { by_name, dirty, .. } = &mut *rooms;
        dirty.clear();
        for (name, room) in by_name {
            room.forget();
            (room.writing.busy, room.due, room.dirty) = (false, None, true);
            dirty.push_back(name.clone());
        }
    }

    fn take_dirty(&self) -> Option<RoomName> {
        let mut rooms = self.rooms.lock();
        let name = rooms.dirty.pop_front()?;
        if let Some(room) = rooms.by_name.get_mut(&name) {
            room.dirty = false;
        }
        Some(name)
    }

    /// Changes a room, if it is tended, and has it looked at.
    fn change_known(&self, name: &RoomName, f: impl FnOnce(&mut Room)) {
        let mut rooms = self.rooms.lock();
        if let Some(room) = rooms.by_name.get_mut(name) {
            f(room);
            rooms.touch(name);
        }
    }

    /// Keeps a room's members known.
    fn want(&self, name: &RoomName, presence: Presence) -> Wanted<'_> {
        self.change(name, presence, |room| {
            room.wanted += 1;
            true
        });
        Wanted { presences: self, room: name.clone() }
    }

    fn unwant(&self, name: &RoomName) {
        let mut rooms = self.rooms.lock();
        if let Some(room) = rooms.by_name.get_mut(name) {
            room.wanted = room.wanted.saturating_sub(1);
            rooms.touch(name);
            drop(rooms);
            self.work.notify_one();
        }
    }

    /// Forgets rooms that nobody has to do with, and that were never entered.
    fn drop_idle(&self) {
        let mut rooms = self.rooms.lock();
        let Tended { by_name, dirty, .. } = &mut *rooms;
        dirty.retain(|name| {
            let idle =
                by_name.get(name).is_none_or(|room| room.hearing == Hearing::Not && room.is_idle(self.me));
            if idle {
                by_name.remove(name);
            }
            !idle
        });
        rooms.shrink();
    }

    /// Resolves when the members of a room are known, which is wanted.
    async fn known(&self, name: &RoomName) {
        let Some(known) = self.with(name, |room| Arc::clone(&room.known)) else { return };
        loop {
            let mut told = std::pin::pin!(known.notified());
            told.as_mut().enable();
            if self.with(name, |room| room.place.is_some()).unwrap_or(true) {
                return;
            }
            told.await;
        }
    }

    /// What a range read of the room that tells a room's members has for an answer, and up to where the node knows.
    fn slice(&self, told: &RoomName, name: &RoomName) -> Option<Slice> {
        self.with(name, |room| {
            let (before, at) = room.place?;
            let value = (before != at).then(|| room.value(told.clone(), before, at));
            Some(Slice::new(before, value.into_iter().collect(), at))
        })?
    }
}

impl Tended {
    /// Has a room looked at.
    fn touch(&mut self, name: &RoomName) {
        if let Some(room) = self.by_name.get_mut(name)
            && !std::mem::replace(&mut room.dirty, true)
        {
            self.dirty.push_back(name.clone());
        }
    }

    /// Gives back the place of those that have gone.
    fn shrink(&mut self) {
        if let Some(enough) = surplus(self.by_name.capacity(), self.by_name.len(), KEPT) {
            self.by_name.shrink_to(enough);
        }
        if let Some(enough) = surplus(self.dirty.capacity(), self.dirty.len(), KEPT) {
            self.dirty.shrink_to(enough);
        }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.presences.unwant(&self.room);
    }
}

/// The members of a room cannot be told now.
fn unknown() -> BrokerError {
    BrokerError::Unavailable("what the nodes have said about the room's members is not known yet".to_owned())
}

/// Places that are kept in any case.
const KEPT: usize = 1_024;
/// How long whoever asks for members waits to be told, and a word to be stored or heard.
const WAIT: Duration = Duration::from_secs(5);

#[cfg(all(test, not(tidings_loom)))]
mod tests;
