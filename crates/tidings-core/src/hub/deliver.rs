//! From the broker to the sessions that have something to read.

use super::{
    Node, Room,
    room::{END, Pass},
    stats::Counts,
};
use crate::{
    JoinError, Message, RoomName, broker::Sink, ingest::Ingest, session::Mailbox, surplus::surplus,
    sync::Mutex,
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{runtime::Handle, sync::Notify, time::Instant};

/// Rooms whose members are to be served, each once, with the place before which they are.
#[derive(Default)]
pub(crate) struct Dirty {
    rooms: Mutex<VecDeque<(Arc<Room>, usize)>>,
    /// Tells flushers that there is a room.
    flush: Notify,
    /// Tells the background task that something is to be resynced, that a session expires before the others, or that the
    /// node has ended.
    work: Notify,
    ended: AtomicBool,
}

impl Dirty {
    fn push(&self, room: Arc<Room>, place: usize) {
        self.rooms.lock().push_back((room, place));
    }

    fn pop(&self) -> Option<(Arc<Room>, usize)> {
        let mut rooms = self.rooms.lock();
        let next = rooms.pop_front();
        // Once there may have been a message in every room of a node.
        if let Some(enough) = surplus(rooms.capacity(), rooms.len(), KEPT) {
            rooms.shrink_to(enough);
        }
        next
    }

    /// There is something for the background task.
    pub(super) fn tell(&self) {
        self.work.notify_one();
    }

    /// The node has ended, and who works for it ends too.
    pub(super) fn end(&self) {
        self.ended.store(true, SeqCst);
        self.flush.notify_waiters();
        // One that is not waiting just now finds this.
        self.flush.notify_one();
        self.work.notify_one();
    }
}

impl Node {
    /// Sees to it that a room's members are served, in the background: publishing takes no longer for a large room,
    /// and what is published at once goes out at once.
    pub(super) fn deliver(&self, room: &Arc<Room>) {
        if room.queue() {
            self.dirty.push(Arc::clone(room), END);
            self.dirty.flush.notify_one();
        }
    }

    /// Makes a session a member of a room, which comes to be if it must. Adding a member and removing an empty
    /// room exclude each other by the lock on the map.
    ///
    /// # Errors
    /// [`JoinError::Full`], if the room is not there and there are too many.
    pub(crate) fn enter(
        self: &Arc<Self>,
        name: &RoomName,
        mailbox: Arc<Mailbox>,
        subscription: usize,
    ) -> Result<super::Membership, JoinError> {
        let mut rooms = self.rooms.lock();
        if let Some(room) = rooms.get(name) {
            return Ok(room.enter(mailbox, subscription));
        }
        let (now, most) = (Instant::now(), self.limits.node_rooms);
        let mut evicted = Vec::new();
        if rooms.len() >= most && self.may_evict(now) {
            // Rooms that nobody is in make place at once.
            evicted = rooms.end_empty(now, Duration::ZERO);
        }
        if rooms.len() >= most {
            drop(rooms);
            self.unwatch(&evicted);
            self.quotas.note_full(&JoinError::Full, None);
            return Err(JoinError::Full);
        }
        let presences = self.presence_of(name).and(self.presences.clone());
        let class = Arc::clone(self.rules.of(name));
        let room = Arc::new(Room::new(name.clone(), class, presences));
        rooms.insert(Arc::clone(&room));
        let membership = room.enter(mailbox, subscription);
        drop(rooms);
        self.unwatch(&evicted);
        self.run(room.sync(Arc::clone(self)));
        Ok(membership)
    }

    /// Begins the background tasks on the runtime that is there, unless they run: one for the node itself, and a
    /// flusher for each of the runtime's threads. One runtime may end before another begins, and the tasks with it.
    pub(super) fn start(self: &Arc<Self>, runtime: &Handle) {
        let mut background = self.background.lock();
        if background.as_ref().is_none_or(|(_, task)| task.is_finished()) {
            // The task holds the node only while it works, so that the last handle's drop ends both.
            let task = runtime.spawn(run(Arc::downgrade(self), Arc::clone(&self.dirty)));
            *background = Some((runtime.clone(), task));
            for _ in 0..runtime.metrics().num_workers() {
                runtime.spawn(flush(Arc::clone(&self.dirty), self.limits.batch, Arc::clone(&self.counts)));
            }
            self.listen(runtime);
            self.tend(runtime);
            // What was left undone by those before.
            self.dirty.tell();
            self.dirty.flush.notify_one();
        }
    }

    /// Tells the broker to hand over no more of these rooms.
    fn unwatch(&self, rooms: &[Arc<Room>]) {
        for room in rooms.iter().filter(|room| room.take_watched()) {
            self.broker.unwatch(&room.name);
        }
    }

    /// Whether to look for rooms to evict: not at every call, for it takes the map from everybody.
    fn may_evict(&self, now: Instant) -> bool {
        let mut last = self.evicted.lock();
        let may = last.is_none_or(|last| now.saturating_duration_since(last) >= EVICTION);
        if may {
            *last = Some(now);
        }
        may
    }

    /// As the node ends.
    pub(super) fn unwatch_all(&mut self) {
        let rooms = self.rooms.lock().take_all();
        self.unwatch(&rooms);
        self.unwatch(std::slice::from_ref(&self.control.room));
    }

    fn housekeep(&self, now: Instant) {
        let (ended, kept) = {
            let mut rooms = self.rooms.lock();
            let ended = rooms.end_empty(now, self.limits.linger);
            rooms.shrink(KEPT);
            let kept: Vec<_> = rooms.values().chain([&self.control.room]).cloned().collect();
            (ended, kept)
        };
        kept.iter().for_each(|room| room.trim(now));
        self.sessions.lock().shrink(KEPT);
        self.quotas.tidy();
        self.trim_tickets(now);
        self.unwatch(&ended);
        if let Some(every) = self.broker.check_every() {
            kept.into_iter().filter(|room| room.check(now, every)).for_each(|room| self.resync(room));
        }
        self.broker.housekeep(now);
    }
}

impl Sink for Node {
    fn live(&self, message: Arc<Message>) {
        let Some(room) = self.room(message.room()) else { return };
        match room.ingest(message, Instant::now()) {
            Ingest::Appended => self.deliver(&room),
            Ingest::Duplicate | Ingest::Held => {}
            Ingest::Resync => self.resync(room),
        }
    }

    fn lost(&self, room: Option<&RoomName>) {
        let rooms: Vec<_> = match room {
            Some(name) => self.room(name).into_iter().collect(),
            None => self.rooms.lock().values().chain([&self.control.room]).cloned().collect(),
        };
        for room in rooms {
            if room.lost() {
                self.resync(room);
            }
        }
    }
}

impl Node {
    fn room(&self, name: &RoomName) -> Option<Arc<Room>> {
        let control = &self.control.room;
        if *name == control.name { Some(Arc::clone(control)) } else { self.rooms.lock().get(name).cloned() }
    }

    fn resync(&self, room: Arc<Room>) {
        self.resyncs.lock().push(room);
        self.dirty.tell();
    }
}

async fn run(node: Weak<Node>, dirty: Arc<Dirty>) {
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut expiry = None;
    loop {
        tokio::select! {
            () = dirty.work.notified() => {}
            () = until(expiry) => {}
            now = housekeeping.tick() => match node.upgrade() {
                Some(node) => node.housekeep(now),
                None => return,
            },
        }
        let Some(node) = node.upgrade() else { return };
        expiry = node.expire(Instant::now());
        for room in std::mem::take(&mut *node.resyncs.lock()) {
            node.run(room.sync(Arc::clone(&node)));
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Serves rooms, in turns of a few members, so that a room of many does not hold up a room of few, nor the rest of the
/// work its runtime has.
async fn flush(dirty: Arc<Dirty>, batch: usize, counts: Arc<Counts>) {
    while !dirty.ended.load(SeqCst) {
        let Some((room, place)) = dirty.pop() else {
            dirty.flush.notified().await;
            continue;
        };
        let Pass { members, next, since } = room.members_before(place);
        if let Some(next) = next {
            dirty.push(Arc::clone(&room), next);
        }
        if !dirty.rooms.lock().is_empty() {
            // Another thread may have nothing to do.
            dirty.flush.notify_one();
        }
        let (messages, writes) = room.serve(&members, batch);
        counts.direct.add(messages, writes);
        if let Some(since) = since {
            counts.served(since.elapsed());
        }
        drop((members, room));
        tokio::task::yield_now().await;
    }
    // Whoever waits beside this one is to see it too.
    dirty.flush.notify_one();
}

/// The least time between two looks for rooms to evict.
const EVICTION: Duration = Duration::from_millis(100);
/// Places in maps and lists of rooms, and of sessions, that are kept in any case.
const KEPT: usize = 1_024;
/// How often what has outlived its age is looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, From, Hub, Rooms, gate};

    #[tokio::test]
    async fn a_large_room_that_is_always_published_to_is_on_the_list_once() {
        let rooms = Rooms::log(100_000, Duration::from_secs(600));
        let hub = Hub::builder().gate(gate::open()).rooms("*", rooms).build();
        let mut members = Vec::new();
        for _ in 0..20 * 64 {
            members.push(hub.subscribe("large", From::Now).await.unwrap());
        }
        let mut small = hub.subscribe("small", From::Now).await.unwrap();
        let event = || Event::json("e", &1).unwrap();
        let publishing = tokio::spawn({
            let hub = hub.clone();
            async move {
                loop {
                    hub.publish("large", event()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
            let rooms = hub.node.dirty.rooms.lock();
            assert!(rooms.iter().filter(|(room, _)| room.members() > 1).count() <= 1);
        }
        hub.publish("small", event()).await.unwrap();
        assert!(hub.node.dirty.rooms.lock().len() <= 2, "one turn of the large room is before the small one");
        assert!(small.next().await.is_some());
        publishing.abort();
    }
}
