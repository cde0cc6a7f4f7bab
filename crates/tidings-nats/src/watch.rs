//! The watches of a node, and what is known of each watched room.

use crate::names::Place;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicU64},
    time::Duration,
};
use tidings_core::{Position, RoomName, broker::Sink};
use tokio::{sync::OnceCell, task::JoinHandle, time::Instant};

/// Which rooms are watched, and by whom what they say is taken.
#[derive(Default)]
pub(crate) struct Watches {
    sinks: Mutex<Arc<[Weak<dyn Sink>]>>,
    rooms: Mutex<HashMap<RoomName, Arc<Watch>>>,
    /// Counts what came in rooms that keep nothing, so that each has a position on this node.
    pub(crate) ephemeral: AtomicU64,
}

/// One watched room.
pub(crate) struct Watch {
    pub(crate) room: RoomName,
    /// None: it keeps nothing.
    pub(crate) place: Option<Place>,
    /// How often it is watched, under the lock on the map.
    count: Mutex<usize>,
    /// Set when the servers have been told.
    pub(crate) started: OnceCell<()>,
    pub(crate) task: Mutex<Option<JoinHandle<()>>>,
    heads: Mutex<Heads>,
}

/// Where the room's newest message stood, by the two ways of knowing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heads {
    /// What was handed over last.
    pub(crate) live: Option<(Position, Instant)>,
    /// What a range read found, as of when it began.
    pub(crate) read: Option<(Position, Instant)>,
}

impl Heads {
    /// The position with this sequence, if it is one of these.
    pub(crate) fn at(&self, sequence: u64) -> Option<Position> {
        let known = |head: Option<(Position, Instant)>| {
            head.map(|(position, _)| position).filter(|position| position.offset == sequence)
        };
        known(self.live).or(known(self.read))
    }

    /// Whether this was the newest position less than `age` ago.
    fn stood_at(&self, position: Position, age: Duration) -> bool {
        let stood = |head: Option<(Position, Instant)>| {
            head.is_some_and(|(head, at)| head == position && at.elapsed() < age)
        };
        stood(self.live) || stood(self.read)
    }
}

impl Watch {
    pub(crate) fn heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
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

    pub(crate) fn get(&self, room: &RoomName) -> Option<Arc<Watch>> {
        self.rooms().get(room).cloned()
    }

    /// Counts one more watch of a room.
    pub(crate) fn add(&self, room: &RoomName, place: Option<Place>) -> Arc<Watch> {
        let mut rooms = self.rooms();
        let watch = rooms.entry(room.clone()).or_insert_with(|| {
            Arc::new(Watch {
                room: room.clone(),
                place,
                count: Mutex::new(0),
                started: OnceCell::new(),
                task: Mutex::default(),
                heads: Mutex::default(),
            })
        });
        *watch.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Arc::clone(watch)
    }

    /// Counts one less; with the last the watch ends.
    pub(crate) fn remove(&self, room: &RoomName) {
        let mut rooms = self.rooms();
        let Some(watch) = rooms.get(room) else { return };
        let left = {
            let mut count = watch.count.lock().unwrap_or_else(PoisonError::into_inner);
            *count -= 1;
            *count
        };
        let ended = if left == 0 { rooms.remove(room) } else { None };
        drop(rooms);
        ended.into_iter().for_each(|watch| watch.end());
    }

    /// Ends all watches.
    pub(crate) fn clear(&self) {
        let ended: Vec<_> = self.rooms().drain().map(|(_, watch)| watch).collect();
        ended.iter().for_each(|watch| watch.end());
    }

    pub(crate) fn len(&self) -> usize {
        self.rooms().len()
    }

    /// What was handed over may have been lost. What is known of the rooms was so when it was, and stays.
    pub(crate) fn lost(&self) {
        self.each_sink(|sink| sink.lost(None));
    }

    /// A stream is another one now, or not what it was: nothing that is known of its rooms counts any more.
    pub(crate) fn reset(&self, place: Place) {
        let of_place = |watch: &&Arc<Watch>| watch.place == Some(place);
        let watches: Vec<_> = self.rooms().values().filter(of_place).cloned().collect();
        for watch in &watches {
            *watch.heads() = Heads::default();
            self.each_sink(|sink| sink.lost(Some(&watch.room)));
        }
    }

    /// A range read that began at `at` found the room's newest message here.
    pub(crate) fn read(&self, room: &RoomName, head: Position, at: Instant) {
        if let Some(watch) = self.get(room) {
            watch.heads().read = Some((head, at));
        }
    }

    /// Whether it is known, from less than `age` ago, that this was the room's newest position.
    pub(crate) fn stood_at(&self, room: &RoomName, position: Position, age: Duration) -> bool {
        self.get(room).is_some_and(|watch| watch.heads().stood_at(position, age))
    }
}
