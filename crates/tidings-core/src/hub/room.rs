//! A room as a node holds it: its replica and its members.

mod members;

use super::{
    Node, Runs,
    presence::{Presences, Seat},
};
use crate::{
    From, Identity, Message, Position, RoomName, Rooms,
    broker::{BrokerError, ReadFrom},
    ingest::{Ingest, Replica, Synced},
    policy::Class,
    reader::{Fill, Reader},
    ring::Ring,
    session::Mailbox,
    sync::Mutex,
};
use members::{Member, Members};
use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// A room as a node holds it.
pub(crate) struct Room {
    pub(crate) name: RoomName,
    pub(crate) rooms: Rooms,
    pub(crate) class: Arc<Class>,
    /// No two rooms of a process have the same.
    pub(crate) serial: u64,
    /// Where it is told who is in it, if it is.
    presences: Option<Arc<Presences>>,
    state: Mutex<State>,
    /// Told when the first range read is in.
    known: Notify,
}

struct State {
    replica: Replica,
    members: Members,
    /// Since when a pass over the members is to end, if one is under way or to begin, and since when another is to follow it.
    queued: Option<Instant>,
    again: Option<Instant>,
    /// Since when nobody is in it.
    empty: Option<Instant>,
    /// No longer in the hub's map.
    closed: bool,
    /// Whether the broker was told to hand its messages over, and not yet told to stop.
    watched: bool,
    /// When it was last compared with the broker's history.
    checked: Instant,
}

/// A session's place among a room's members; dropping it leaves the room, whenever that is.
pub(crate) struct Membership {
    pub(crate) room: Arc<Room>,
    // Small ones, for there are many memberships.
    key: u32,
    /// The user's, where it is told who is in the room.
    seat: Option<Seat>,
}

/// Some of a room's members, who are to be served.
pub(super) struct Pass {
    pub(super) members: Vec<Member>,
    /// Before which place to go on, if there are more or another pass is to follow.
    pub(super) next: Option<usize>,
    /// If these are the last of their pass: since when they wait.
    pub(super) since: Option<Instant>,
}

impl Room {
    pub(super) fn new(name: RoomName, class: Arc<Class>, presences: Option<Arc<Presences>>) -> Self {
        let rooms = class.rooms;
        let mut retention = rooms.retention();
        retention.count = retention.count.min(RING);
        let state = State {
            replica: Replica::new(retention),
            members: Members::default(),
            queued: None,
            again: None,
            empty: None,
            closed: false,
            watched: false,
            checked: Instant::now(),
        };
        let serial = SERIAL.fetch_add(1, Relaxed);
        Self { name, rooms, class, serial, presences, state: Mutex::new(state), known: Notify::new() }
    }

    pub(super) fn enter(self: &Arc<Self>, mailbox: Arc<Mailbox>, subscription: usize) -> Membership {
        let mut state = self.state.lock();
        state.empty = None;
        let key = state.members.insert(mailbox, subscription);
        self.class.members.fetch_add(1, Relaxed);
        Membership { room: Arc::clone(self), key, seat: None }
    }

    /// Ends the room if nobody was in it for `linger`, or if there is nothing in it that were worth keeping.
    pub(super) fn close_if_empty(&self, now: Instant, linger: Duration) -> bool {
        let mut state = self.state.lock();
        let bare = state.replica.ring().is_empty();
        state.closed =
            state.empty.is_some_and(|since| bare || now.saturating_duration_since(since) >= linger);
        state.closed
    }

    /// Whether the broker is to be told to stop; true once for each time it was told to begin.
    pub(super) fn take_watched(&self) -> bool {
        std::mem::take(&mut self.state.lock().watched)
    }

    pub(super) fn ingest(&self, message: Arc<Message>, now: Instant) -> Ingest {
        self.state.lock().replica.ingest(message, now)
    }

    pub(super) fn lost(&self) -> bool {
        self.state.lock().replica.lost()
    }

    /// Whether it is time to compare the room with the broker's history; then it needs a range read.
    pub(super) fn check(&self, now: Instant, every: Duration) -> bool {
        let mut state = self.state.lock();
        let due = now.saturating_duration_since(state.checked) >= every;
        if due {
            state.checked = now;
        }
        due && state.replica.is_live() && state.replica.lost()
    }

    /// Drops what is over its age, and gives back the place of what is gone.
    pub(super) fn trim(&self, now: Instant) {
        let mut state = self.state.lock();
        state.replica.trim(now);
        state.members.shrink();
    }

    #[cfg(test)]
    pub(super) fn members(&self) -> usize {
        self.state.lock().members.len()
    }

    /// Asks for a pass over the members that begins after this. If one is under way the next follows it, and the room
    /// need not be put on the list.
    pub(super) fn queue(&self) -> bool {
        let mut state = self.state.lock();
        if state.queued.is_some() {
            state.again.get_or_insert_with(Instant::now);
            return false;
        }
        state.queued = Some(Instant::now());
        true
    }

    /// Some of the members before a place.
    pub(super) fn members_before(&self, place: usize) -> Pass {
        let mut state = self.state.lock();
        let (members, start) = state.members.before(place, CHUNK);
        members.iter().for_each(|member| member.mailbox.warm());
        let members = members.to_vec();
        if start > 0 {
            return Pass { members, next: Some(start), since: None };
        }
        // Before these are served: what is published from here on begins a pass of its own.
        let again = state.again.take();
        let since = std::mem::replace(&mut state.queued, again);
        Pass { members, next: state.queued.map(|_| END), since }
    }

    /// Serves members: writes what is new, or wakes those that must see for themselves. Answers how many messages were written,
    /// and in how many writes.
    pub(super) fn serve(&self, members: &[Member], batch: usize) -> (u64, u64) {
        let mut runs = Runs::new(self, batch);
        for member in members {
            member.mailbox.serve(member.subscription as usize, &mut runs).into_iter().for_each(Waker::wake);
        }
        runs.written()
    }

    /// Resolves when the first range read is in.
    pub(crate) async fn known(&self) {
        loop {
            let mut told = std::pin::pin!(self.known.notified());
            told.as_mut().enable();
            if self.state.lock().replica.is_known() {
                return;
            }
            told.await;
        }
    }

    /// Begins a reader, if the ring can say where; else the range read is answered that can.
    pub(crate) fn begin(&self, from: From, now: Instant) -> Result<Reader, ReadFrom> {
        let mut state = self.state.lock();
        state.replica.trim(now);
        Reader::begin(self.rooms.kind(), from, state.replica.ring())
    }

    /// Looks at what the node holds of it.
    pub(super) fn with_ring<T>(&self, look: impl FnOnce(&Ring) -> T) -> T {
        look(self.state.lock().replica.ring())
    }

    /// Before the oldest message that the node holds.
    pub(crate) fn base(&self) -> Position {
        self.with_ring(Ring::base)
    }

    /// The newest one's.
    pub(crate) fn head(&self) -> Position {
        self.with_ring(Ring::head)
    }

    pub(crate) fn fill(&self, reader: &mut Reader, bytes: usize) -> Fill {
        reader.fill(self.state.lock().replica.ring(), bytes, self.rooms.slow_policy())
    }

    /// Brings the replica up to date, however long it takes, unless the room ends before.
    pub(super) async fn sync(self: Arc<Self>, node: Arc<Node>) {
        let mut pause = FIRST_PAUSE;
        while !self.state.lock().closed {
            match self.read_once(&node).await {
                Ok(Synced::Live) => return,
                Ok(Synced::Again) => {}
                Err(error) => {
                    node.quotas.note_broker("watch", &error);
                    tokio::time::sleep(jitter(pause)).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }

    async fn read_once(self: &Arc<Self>, node: &Arc<Node>) -> Result<Synced, BrokerError> {
        let watched = self.state.lock().watched;
        if !watched {
            node.broker.watch(&self.name, self.rooms).await?;
            let closed = {
                let mut state = self.state.lock();
                state.watched = !state.closed;
                state.closed
            };
            if closed {
                // It ended while it was waited for, and whoever ended it had nothing to stop.
                node.broker.unwatch(&self.name);
                return Ok(Synced::Live);
            }
        }
        let from = self.state.lock().replica.read_from();
        let from = from.map_or(ReadFrom::Tail, ReadFrom::After);
        let slice = node.broker.read(&self.name, self.rooms, from, RING).await?;
        let synced = self.state.lock().replica.synced(&slice, Instant::now());
        self.known.notify_waiters();
        node.deliver(self);
        Ok(synced)
    }
}

impl Membership {
    /// Takes note whose it is, where it is told who is in the room.
    pub(crate) fn sit(&mut self, node: &Node, who: Option<&Identity>) {
        if self.seat.is_none()
            && let Some(presences) = &self.room.presences
        {
            self.seat = node.sit(presences, &self.room.name, who);
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let (Some(presences), Some(seat)) = (&self.room.presences, self.seat.take()) {
            presences.rise(seat);
        }
        let mut state = self.room.state.lock();
        let member = state.members.remove(self.key);
        self.room.class.members.fetch_sub(1, Relaxed);
        if state.members.is_empty() {
            state.empty = Some(Instant::now());
        }
        drop(state);
        drop(member);
    }
}

/// Between half and all of `pause`, so that what failed together does not come back together.
pub(crate) fn jitter(pause: Duration) -> Duration {
    let part = RandomState::new().hash_one(0_u8) % 1_000;
    pause / 2 + (pause / 2).mul_f64(part as f64 / 1_000.0)
}

static SERIAL: AtomicU64 = AtomicU64::new(0);

/// Messages that a room's ring holds at most; what lies deeper is read from the broker.
const RING: usize = 1_024;
/// Members served before others have their turn.
const CHUNK: usize = 64;
/// The place behind the last member: where a pass begins.
pub(super) const END: usize = usize::MAX;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(5);

#[cfg(all(test, tidings_loom))]
mod tests;
