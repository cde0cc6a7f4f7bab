//! The broker of one process.

use super::{Answer, Broker, BrokerError, Publish, ReadFrom, Sink, Slice, keys::Keys};
use crate::{Kind, Message, Position, RoomName, Rooms, ring::Ring, surplus::surplus, sync::Mutex};
use std::{
    collections::{HashMap, hash_map::RandomState},
    future::ready,
    hash::BuildHasher,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The broker of one process: histories live and end with it. A new process is a new epoch. Several hubs of one
/// process may share it.
///
/// The epoch of a room is a keyed hash of its name, so it needs no memory and no two rooms are mistaken for each
/// other. A room of which nothing is left is forgotten; should it come back, it begins at an offset that no
/// forgotten room has reached, so an old cursor is never taken for a new one.
///
/// All histories together are bounded ([`with_bytes`](Self::with_bytes)). Beyond that a room makes place in its own, and
/// one that has nothing to give takes no event.
pub struct MemoryBroker {
    bytes: AtomicUsize,
    most: usize,
    sinks: Mutex<Vec<Weak<dyn Sink>>>,
    rooms: Mutex<Histories>,
    seed: RandomState,
}

#[derive(Default)]
struct Histories {
    by_name: HashMap<RoomName, Arc<Mutex<History>>>,
    /// No forgotten room has a head beyond this offset.
    floor: u64,
    /// When they were last gone through, which takes the map from everybody else for as long.
    swept: Option<Instant>,
    /// When that was last done because there were too many.
    pressed: Option<Instant>,
}

struct History {
    ring: Ring,
    keys: Keys,
    watches: usize,
    /// When somebody last published or stopped watching: as long as its events might have been kept, the room is.
    used: Instant,
    /// Nobody comes back to it with a cursor.
    ephemeral: bool,
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBroker").field("rooms", &self.rooms()).finish_non_exhaustive()
    }
}

impl MemoryBroker {
    /// An empty broker whose histories have at most a gibibyte together.
    pub fn new() -> Self {
        Self::with_bytes(1 << 30)
    }

    /// An empty broker whose histories have at most so many bytes together, counted by
    /// [`Event::weight`](crate::Event::weight). The byte forms that a message keeps while it is in a room's ring come
    /// on top, each about as large as the event.
    pub fn with_bytes(most: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            most,
            sinks: Mutex::default(),
            rooms: Mutex::default(),
            seed: RandomState::new(),
        }
    }

    /// How many rooms it remembers.
    pub fn rooms(&self) -> usize {
        self.rooms.lock().by_name.len()
    }

    /// Runs `f` on the room's history, which comes to be if it must and there is a place for it, to keep what `rooms` says.
    /// The room cannot be forgotten meanwhile, because the map is locked until the history is.
    fn with<T>(
        &self,
        room: &RoomName,
        rooms: Rooms,
        f: impl FnOnce(&mut History) -> T,
    ) -> Result<T, BrokerError> {
        let retention = rooms.retention();
        let mut rooms = self.rooms.lock();
        let history = match rooms.by_name.get(room) {
            Some(history) => Arc::clone(history),
            None => {
                let now = Instant::now();
                let rested = |at: Instant| now.saturating_duration_since(at) >= SWEEP;
                if rooms.by_name.len() >= ROOMS && rooms.pressed.is_none_or(rested) {
                    // Under such pressure rooms are not remembered for the sake of their quiet. Not at every call,
                    // for it takes the map from everybody.
                    rooms.pressed = Some(now);
                    self.sweep(&mut rooms, now, Duration::ZERO);
                }
                if rooms.by_name.len() >= ROOMS {
                    return Err(BrokerError::Unavailable(format!("there are {ROOMS} rooms already")));
                }
                let ring = Ring::new(self.position(room, rooms.floor), retention);
                let history = Arc::new(Mutex::new(History {
                    ring,
                    keys: Keys::default(),
                    watches: 0,
                    used: Instant::now(),
                    ephemeral: false,
                }));
                rooms.by_name.insert(room.clone(), Arc::clone(&history));
                history
            }
        };
        let mut history = history.lock();
        drop(rooms);
        let before = history.ring.bytes();
        let result = f(&mut history);
        self.count(before, history.ring.bytes());
        Ok(result)
    }

    fn count(&self, before: usize, after: usize) {
        // Differences of many histories, in whatever order: the sum is exact, for it wraps and comes back.
        self.bytes.fetch_add(after.wrapping_sub(before), Relaxed);
    }

    /// Forgets rooms of which nothing is left, and that nobody has used for as long as they might have kept
    /// something, or for `quiet` if that is less.
    fn sweep(&self, rooms: &mut Histories, now: Instant, quiet: Duration) {
        let mut floor = rooms.floor;
        rooms.by_name.retain(|_, history| {
            let mut history = history.lock();
            let before = history.ring.bytes();
            history.ring.trim(now);
            self.count(before, history.ring.bytes());
            history.keys.trim(now);
            let quiet =
                if history.ephemeral { Duration::ZERO } else { quiet.min(history.ring.retention().age) };
            let keep = history.watches > 0
                || !history.ring.is_empty()
                || !history.keys.is_empty()
                || now.saturating_duration_since(history.used) < quiet;
            if !keep && !history.ephemeral {
                floor = floor.max(history.ring.head().offset);
            }
            keep
        });
        rooms.floor = floor;
        if let Some(enough) = surplus(rooms.by_name.capacity(), rooms.by_name.len(), KEPT) {
            rooms.by_name.shrink_to(enough);
        }
    }

    fn position(&self, room: &RoomName, offset: u64) -> Position {
        let epoch = self.seed.hash_one(room) as u32;
        let tag = self.seed.hash_one((epoch, offset)) as u16;
        Position { epoch: epoch.max(1), offset, tag }
    }

    fn publish_now(&self, publish: Publish) -> Result<Position, BrokerError> {
        let now = Instant::now();
        let Publish { room, event, key, rooms } = publish;
        let stored = rooms.kind() != Kind::Ephemeral;
        let weight = event.weight();
        // Held until every lock is released: a node that ends comes back here to say so.
        let nodes: Vec<_> = self.sinks.lock().iter().filter_map(Weak::upgrade).collect();
        self.with(&room, rooms, |history| {
            history.used = now;
            history.ephemeral = !stored;
            if let Some(first) = key.as_deref().and_then(|key| history.keys.find(key, now)) {
                return Ok(first);
            }
            if stored {
                history.ring.trim(now);
                // Where all histories together are too large, a room makes place in its own, if that is enough.
                let wanted = self.bytes.load(Relaxed).saturating_add(weight).saturating_sub(self.most);
                if wanted > history.ring.bytes() {
                    return Err(BrokerError::Unavailable(FULL.to_owned()));
                }
                let mut shed = 0;
                while shed < wanted {
                    shed += history.ring.drop_oldest().unwrap_or(wanted);
                }
            }
            let follows = history.ring.head();
            let position = self.position(&room, follows.offset + 1);
            if let Some(key) = &key {
                history.keys.insert(key, position, now);
            }
            let message = if !stored {
                let message = Arc::new(Message::ephemeral(room.clone(), position, follows, event));
                history.ring.reset(position);
                message
            } else {
                let message = Arc::new(Message::new(room.clone(), position, follows, event));
                history.ring.retain(rooms.retention());
                let pushed = history.ring.push(Arc::clone(&message), now);
                debug_assert!(pushed, "the successor was made from the head");
                message
            };
            // Under the lock, or two publishers could hand over in another order than they stored. A sink only
            // appends to a ring and wakes.
            nodes.iter().for_each(|node| node.live(Arc::clone(&message)));
            Ok(position)
        })?
    }

    fn read_now(&self, room: &RoomName, from: ReadFrom, limit: usize) -> Slice {
        let now = Instant::now();
        let Some(history) = self.rooms.lock().by_name.get(room).cloned() else {
            let head = self.position(room, self.rooms.lock().floor);
            return Slice::new(head, Vec::new(), head);
        };
        let ring = &mut history.lock().ring;
        let before = ring.bytes();
        ring.trim(now);
        self.count(before, ring.bytes());
        ring.slice(from, limit)
    }
}

impl Broker for MemoryBroker {
    fn attach(&self, sink: Weak<dyn Sink>) {
        let mut sinks = self.sinks.lock();
        sinks.retain(|sink| sink.strong_count() > 0);
        sinks.push(sink);
    }

    fn publish(&self, publish: Publish) -> Answer<'_, Position> {
        Box::pin(ready(self.publish_now(publish)))
    }

    fn watch<'a>(&'a self, room: &'a RoomName, rooms: Rooms) -> Answer<'a, ()> {
        Box::pin(ready(self.with(room, rooms, |history| history.watches += 1)))
    }

    fn unwatch(&self, room: &RoomName) {
        let history = self.rooms.lock().by_name.get(room).cloned();
        if let Some(history) = history {
            let mut history = history.lock();
            history.watches = history.watches.saturating_sub(1);
            history.used = Instant::now();
        }
    }

    fn read<'a>(&'a self, room: &'a RoomName, _: Rooms, from: ReadFrom, limit: usize) -> Answer<'a, Slice> {
        Box::pin(ready(Ok(self.read_now(room, from, limit))))
    }

    /// A call of a function loses nothing.
    fn check_every(&self) -> Option<Duration> {
        None
    }

    fn housekeep(&self, now: Instant) {
        let mut rooms = self.rooms.lock();
        if rooms.swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP) {
            return;
        }
        rooms.swept = Some(now);
        self.sweep(&mut rooms, now, Duration::MAX);
    }
}

/// Rooms with a history, or somebody in them, at once: about half a kilobyte each beside their events, so that names
/// made up by clients cannot fill the memory.
const ROOMS: usize = 250_000;
/// Places in the map of rooms that are kept in any case.
const KEPT: usize = 1_024;
const SWEEP: Duration = Duration::from_secs(5);
const FULL: &str = "the histories are as large as they may be together";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    fn publish(broker: &MemoryBroker, room: &RoomName, key: Option<&str>) -> Position {
        let rooms = Rooms::log(10, Duration::from_secs(60));
        let event = Event::json("e", &1).unwrap();
        broker.publish_now(Publish { room: room.clone(), event, key: key.map(str::to_owned), rooms }).unwrap()
    }

    #[test]
    fn a_key_publishes_once() {
        let broker = MemoryBroker::new();
        let room = RoomName::new("r").unwrap();
        let first = publish(&broker, &room, Some("k"));
        let second = publish(&broker, &room, Some("l"));
        assert_eq!(publish(&broker, &room, Some("k")), first);
        assert_eq!(broker.read_now(&room, ReadFrom::Start, 10).head, second);
    }

    #[test]
    fn all_histories_together_are_bounded() {
        let broker = MemoryBroker::with_bytes(10_000);
        let event = Event::json("e", &"x".repeat(1_000)).unwrap();
        let rooms = Rooms::log(10, Duration::from_secs(60));
        let publish = |number: usize| {
            let room = RoomName::new(&number.to_string()).unwrap();
            broker.publish_now(Publish { room, event: event.clone(), key: None, rooms })
        };
        let refused = (0..100).position(|number| publish(number).is_err()).expect("a bound");
        assert!((7..10).contains(&refused), "{refused} events of {} bytes", event.weight());
        // A room that has something makes place in its own history, and grows no more.
        for _ in 0..5 {
            assert!(publish(0).is_ok());
            assert!(broker.bytes.load(Relaxed) <= 10_000);
        }
        assert_eq!(broker.read_now(&RoomName::new("0").unwrap(), ReadFrom::Start, 9).messages.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_room_is_remembered_as_long_as_it_might_have_kept_something() {
        let broker = MemoryBroker::new();
        let (quiet, busy) = (RoomName::new("q").unwrap(), RoomName::new("b").unwrap());
        broker.with(&quiet, Rooms::default(), |history| history.watches += 1).unwrap();
        let held = broker.read_now(&quiet, ReadFrom::Tail, 1).head;
        broker.unwatch(&quiet);
        publish(&broker, &busy, None);
        // The busy room is kept for a minute, one of which nothing is known for an hour.
        tokio::time::advance(Duration::from_secs(3_000)).await;
        broker.housekeep(Instant::now());
        assert_eq!(broker.rooms(), 1);
        assert_eq!(broker.read_now(&quiet, ReadFrom::After(held), 9).start, held, "nothing was missed");
    }

    #[test]
    fn an_empty_room_has_an_epoch_and_another_room_has_another() {
        let broker = MemoryBroker::new();
        let head = |name| broker.read_now(&RoomName::new(name).unwrap(), ReadFrom::Tail, 1).head;
        assert_ne!(head("a").epoch, 0);
        assert_ne!(head("a").epoch, head("b").epoch);
        let other = MemoryBroker::new();
        let again = other.read_now(&RoomName::new("a").unwrap(), ReadFrom::Tail, 1).head;
        assert_ne!(head("a").epoch, again.epoch, "a new process is a new epoch");
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_that_was_only_watched_is_remembered_as_long_as_its_events_would_be() {
        let broker = MemoryBroker::new();
        let room = RoomName::new("r").unwrap();
        broker.watch(&room, Rooms::log(4, Duration::from_secs(1))).await.unwrap();
        broker.unwatch(&room);
        broker.housekeep(Instant::now());
        assert_eq!(broker.rooms(), 1);
        tokio::time::advance(Duration::from_secs(6)).await;
        broker.housekeep(Instant::now());
        assert_eq!(broker.rooms(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_room_comes_back_where_no_old_cursor_stands() {
        let broker = MemoryBroker::new();
        let room = RoomName::new("r").unwrap();
        let quiet = RoomName::new("q").unwrap();
        let held = broker.read_now(&quiet, ReadFrom::Tail, 1).head;
        let first = publish(&broker, &room, None);
        let second = publish(&broker, &room, None);
        broker.housekeep(Instant::now());
        assert_eq!(broker.rooms(), 1);
        tokio::time::advance(Duration::from_secs(61)).await;
        broker.housekeep(Instant::now());
        assert_eq!((broker.rooms(), broker.bytes.load(Relaxed)), (0, 0));
        let third = publish(&broker, &room, None);
        assert!(third.offset > second.offset);
        assert_ne!(broker.read_now(&room, ReadFrom::After(first), 9).start, first);
        assert_eq!(broker.read_now(&room, ReadFrom::After(second), 9).start, second, "nothing was missed");
        assert_ne!(broker.read_now(&quiet, ReadFrom::After(held), 9).start, held, "cannot be shown complete");
    }
}
