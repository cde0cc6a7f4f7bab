//! In which rooms a node tells members: written down, so that another can see to them when it has gone.

use super::WAIT;
use crate::{
    Event, RoomName, Rooms,
    broker::{Broker, Publish, ReadFrom},
};
use std::{
    collections::{BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

/// The rooms of this node, in lists that are each written as a whole.
#[derive(Debug)]
pub(super) struct Journal {
    lists: Vec<BTreeSet<RoomName>>,
    /// Lists that differ from what was written, by bits.
    changed: u64,
    /// Those that are being written.
    busy: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { lists: vec![BTreeSet::new(); usize::from(LISTS)], changed: 0, busy: 0 }
    }
}

impl Journal {
    /// Takes note of whether the node has anybody in a room.
    pub(super) fn set(&mut self, room: &RoomName, has: bool) {
        let list = list_of(room);
        let rooms = &mut self.lists[usize::from(list)];
        let changed =
            if has { !rooms.contains(room) && rooms.insert(room.clone()) } else { rooms.remove(room) };
        self.changed |= u64::from(changed) << list;
    }

    /// What was written is gone.
    pub(super) fn forget(&mut self) {
        for (list, rooms) in (0..).zip(&self.lists) {
            self.changed |= u64::from(!rooms.is_empty()) << list;
        }
    }

    /// The next list that is to be written, and what it says.
    pub(super) fn next(&mut self) -> Option<(u8, Event)> {
        let list = (self.changed & !self.busy).trailing_zeros();
        let list = u8::try_from(list).ok().filter(|list| *list < LISTS)?;
        self.changed &= !(1 << list);
        self.busy |= 1 << list;
        let mut bytes = 0;
        let fits = |room: &&RoomName| {
            bytes += room.len() + QUOTES;
            bytes <= LIST
        };
        let all = &self.lists[usize::from(list)];
        let rooms: Vec<_> = all.iter().take_while(fits).collect();
        if rooms.len() < all.len() {
            tracing::warn!(
                rooms = all.len(),
                written = rooms.len(),
                "a node tells members of too many rooms"
            );
        }
        Some((list, Event::json("rooms", &rooms).expect("a name, and a list of texts is JSON")))
    }

    /// A list was written, or not.
    pub(super) fn note(&mut self, list: u8, stored: bool) {
        self.busy &= !(1 << list);
        self.changed |= u64::from(!stored) << list;
    }
}

fn list_of(room: &RoomName) -> u8 {
    let mut hasher = DefaultHasher::new();
    room.as_str().hash(&mut hasher);
    (hasher.finish() % u64::from(LISTS)) as u8
}

/// What is done about a node that has gone.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) node: u64,
    /// When it begins, if no other node that should be first has done it by then, and how often that was waited for.
    pub(super) at: Instant,
    pub(super) waited: u32,
    /// Some of its lists may have been emptied, and it was not told so.
    pub(super) owed: bool,
    /// Its lists are being read, and were.
    pub(super) begun: bool,
    pub(super) read: bool,
    /// The lists that were not empty.
    pub(super) lists: Vec<u8>,
    /// Its rooms, and those that are looked at.
    pub(super) rooms: VecDeque<RoomName>,
    pub(super) open: Vec<RoomName>,
}

impl Sweep {
    pub(super) fn new(node: u64, at: Instant) -> Self {
        let (lists, rooms, open) = Default::default();
        Self { node, at, waited: 0, owed: false, begun: false, read: false, lists, rooms, open }
    }
}

/// Reads what a node has written down: the lists that are not empty, and the rooms in them; none if that cannot be read.
pub(super) async fn read(
    broker: &Arc<dyn Broker>,
    node: u64,
    rooms: Rooms,
) -> Option<(Vec<u8>, VecDeque<RoomName>)> {
    let (mut lists, mut all) = (Vec::new(), VecDeque::new());
    for some in (0..LISTS).collect::<Vec<_>>().chunks(AT_ONCE) {
        let mut reads = JoinSet::new();
        for &list in some {
            let broker = Arc::clone(broker);
            reads.spawn(async move {
                let room = RoomName::journal(node, list);
                (list, timeout(WAIT, broker.read(&room, rooms, ReadFrom::Tail, 1)).await)
            });
        }
        while let Some(read) = reads.join_next().await {
            let (list, slice) = read.ok()?;
            let slice = slice.ok()?.ok()?;
            let Some(message) = slice.messages.last() else { continue };
            let names: Vec<String> = message.event().parse().unwrap_or_default();
            if !names.is_empty() {
                lists.push(list);
            }
            all.extend(names.iter().filter_map(|name| RoomName::new(name).ok()));
        }
    }
    Some((lists, all))
}

/// Writes down that a node has no rooms any more; false if that was not stored.
pub(super) async fn clear(broker: &Arc<dyn Broker>, node: u64, lists: &[u8], rooms: Rooms) -> bool {
    for some in lists.chunks(AT_ONCE) {
        let mut writes = JoinSet::new();
        for &list in some {
            let broker = Arc::clone(broker);
            let event = Event::json("rooms", &[""; 0]).expect("a name, and a list is JSON");
            let publish = Publish { room: RoomName::journal(node, list), event, key: None, rooms };
            writes.spawn(async move { matches!(timeout(WAIT, broker.publish(publish)).await, Ok(Ok(_))) });
        }
        while let Some(stored) = writes.join_next().await {
            if !matches!(stored, Ok(true)) {
                return false;
            }
        }
    }
    true
}

/// Lists that are read or written together: with all of them one after the other a slow broker would take longer than anybody
/// waits.
const AT_ONCE: usize = 16;
/// Lists of a node: a change writes one of them, and all of them hold a hundred thousand rooms.
const LISTS: u8 = 64;
/// Bytes of a list: what any broker carries in one message.
const LIST: usize = 256 << 10;
/// Bytes around a name.
const QUOTES: usize = 3;
/// Rooms that are looked at together.
pub(super) const OPEN: usize = 1_024;
/// How long the nodes before this one have for it, and how often they may have it again.
pub(super) const TURN: Duration = Duration::from_secs(10);
pub(super) const TURNS: u32 = 6;

#[cfg(all(test, not(tidings_loom)))]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::new(name).expect("a name")
    }

    #[test]
    fn a_list_is_written_when_it_has_changed_and_again_if_it_was_not_stored() {
        let mut journal = Journal::default();
        assert!(journal.next().is_none());
        journal.set(&room("a"), true);
        journal.set(&room("a"), true);
        let (list, event) = journal.next().expect("changed");
        assert_eq!(event.parse::<Vec<String>>().unwrap(), ["a"]);
        journal.set(&room("a"), false);
        assert!(journal.next().is_none(), "not two at once");
        journal.note(list, true);
        let (_, event) = journal.next().expect("changed meanwhile");
        assert!(event.parse::<Vec<String>>().unwrap().is_empty());
        journal.note(list, false);
        assert!(journal.next().is_some());
        journal.note(list, true);
        assert!(journal.next().is_none());
        journal.forget();
        assert!(journal.next().is_none(), "there is nothing in it");
        journal.set(&room("b"), true);
        let (list, _) = journal.next().expect("changed");
        journal.note(list, true);
        journal.forget();
        assert!(journal.next().is_some());
    }

    #[test]
    fn a_list_has_no_more_bytes_than_a_broker_takes() {
        let mut journal = Journal::default();
        for n in 0..100_000 {
            journal.set(&room(&format!("{n:0200}")), true);
        }
        while let Some((_, event)) = journal.next() {
            assert!(event.data().len() <= LIST + 2);
        }
    }
}
