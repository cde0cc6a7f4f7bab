//! A broker that loses, repeats and reorders what it hands over, as brokers do.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidings::{
    MemoryBroker, Message, Position, RoomName, Rooms,
    broker::{Answer, Broker, Publish, ReadFrom, Sink, Slice},
};
use tokio::time::Instant;

/// A [`MemoryBroker`] behind a bad line: its histories are right, and of what it hands over a tenth each is lost,
/// repeated, and held back behind the next. Several hubs may share it; each has a line of its own.
#[derive(Debug, Default)]
pub struct UnrulyBroker {
    memory: MemoryBroker,
    lines: Mutex<Vec<Arc<Line>>>,
}

/// One node's line.
struct Line {
    sink: Weak<dyn Sink>,
    held: Mutex<Option<Arc<Message>>>,
    count: AtomicU64,
    seed: RandomState,
}

impl UnrulyBroker {
    /// A new broker.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Broker for UnrulyBroker {
    fn attach(&self, sink: Weak<dyn Sink>) {
        let line = Arc::new(Line {
            sink,
            held: Mutex::default(),
            count: AtomicU64::default(),
            seed: RandomState::new(),
        });
        let weak: Weak<Line> = Arc::downgrade(&line);
        self.memory.attach(weak);
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn publish(&self, publish: Publish) -> Answer<'_, Position> {
        self.memory.publish(publish)
    }

    fn watch<'a>(&'a self, room: &'a RoomName, rooms: Rooms) -> Answer<'a, ()> {
        self.memory.watch(room, rooms)
    }

    fn unwatch(&self, room: &RoomName) {
        self.memory.unwatch(room);
    }

    fn read<'a>(
        &'a self,
        room: &'a RoomName,
        rooms: Rooms,
        from: ReadFrom,
        limit: usize,
    ) -> Answer<'a, Slice> {
        Box::pin(async move {
            // As over a network: others run in between, and what is handed over meanwhile must be held.
            tokio::time::sleep(Duration::from_millis(2)).await;
            self.memory.read(room, rooms, from, limit).await
        })
    }

    fn check_every(&self) -> Option<Duration> {
        Some(Duration::from_millis(500))
    }

    fn housekeep(&self, now: Instant) {
        self.memory.housekeep(now);
    }
}

impl Sink for Line {
    fn live(&self, message: Arc<Message>) {
        let Some(sink) = self.sink.upgrade() else { return };
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        match self.seed.hash_one(self.count.fetch_add(1, Ordering::Relaxed)) % 10 {
            0 => {}
            1 => {
                sink.live(Arc::clone(&message));
                sink.live(message);
            }
            2 => *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(message),
            _ => sink.live(message),
        }
        held.into_iter().for_each(|late| sink.live(late));
    }

    fn lost(&self, room: Option<&RoomName>) {
        if let Some(sink) = self.sink.upgrade() {
            sink.lost(room);
        }
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("count", &self.count).finish_non_exhaustive()
    }
}
