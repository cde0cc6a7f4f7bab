//! A session's cursors.

use super::work::{Entered, Joined};
use crate::{
    Cursor, GapReason, Kind, Message, Notice, Position, RoomName,
    broker::{ReadFrom, Slice},
    hub::{Membership, Node, Taken, jitter},
};
use slab::Slab;
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// A session's cursors, one a room.
#[derive(Default)]
pub(crate) struct Subscriptions {
    /// None: a join is under way.
    slots: Slab<Option<Subscription>>,
    /// By room name, for look-up and for cursors over all rooms.
    sorted: Vec<(RoomName, usize)>,
    /// Those that wait for a range read.
    reading: Vec<usize>,
}

impl std::fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.sorted.iter().map(|(room, _)| room)).finish()
    }
}

struct Subscription {
    membership: Membership,
    cursor: Position,
    /// A gap to be told before anything else, and where things go on. The cursor stays before it until it is
    /// told, or a client cut off in between would never know.
    gap: Option<(GapReason, Position)>,
    /// A few messages taken under one lock, about to be given.
    taken: VecDeque<Arc<Message>>,
    read: Option<Pin<Box<dyn Future<Output = Slice> + Send>>>,
    /// Whether it had caught up with the room once; if it falls off the history then, it was too slow.
    live: bool,
}

/// Something for the client.
#[derive(Debug)]
pub(crate) enum Item {
    Message(Arc<Message>),
    Notice(Notice),
}

/// What a subscription had.
pub(super) enum Next {
    Item(Item),
    /// It has more; others come first.
    Turn,
    /// It has nothing, and will be heard of when it has.
    Nothing,
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn reserve(&mut self) -> usize {
        // A join whose future was dropped left its slot behind; nothing else is under way now.
        self.slots.retain(|_, slot| slot.is_some());
        self.slots.insert(None)
    }

    pub(super) fn release(&mut self, key: usize) {
        self.slots.try_remove(key);
    }

    pub(super) fn fill(&mut self, key: usize, entered: Entered) {
        let Entered { membership, cursor, gap, taken } = entered;
        let name = membership.room.name.clone();
        if let Err(at) = self.sorted.binary_search_by(|(room, _)| room.cmp(&name)) {
            self.sorted.insert(at, (name, key));
        }
        self.slots[key] = Some(Subscription { membership, cursor, gap, taken, read: None, live: false });
    }

    pub(super) fn remove_room(&mut self, room: &RoomName) {
        if let Ok(at) = self.sorted.binary_search_by(|(name, _)| name.cmp(room)) {
            let (_, key) = self.sorted.remove(at);
            self.slots.try_remove(key);
            self.reading.retain(|reading| *reading != key);
        }
    }

    pub(super) fn joined(&self, room: &RoomName) -> Option<Joined> {
        let at = self.sorted.binary_search_by(|(name, _)| name.cmp(room)).ok()?;
        let subscription = self.slots.get(self.sorted[at].1)?.as_ref()?;
        Some(Joined { room: room.clone(), cursor: subscription.cursor, recovered: true })
    }

    /// The rooms, sorted by name, and the cursor over them.
    pub(crate) fn cursor(&self) -> (Vec<RoomName>, Cursor) {
        let positions = self.sorted.iter().map(|(_, key)| {
            self.slots.get(*key).and_then(Option::as_ref).map_or(Position::UNKNOWN, |one| one.cursor)
        });
        (self.sorted.iter().map(|(room, _)| room.clone()).collect(), Cursor::new(positions.collect()))
    }

    pub(super) fn next(&mut self, key: usize, node: &Arc<Node>) -> Next {
        let Some(Some(subscription)) = self.slots.get_mut(key) else { return Next::Nothing };
        let next = subscription.next(node);
        if subscription.read.is_some() && !self.reading.contains(&key) {
            self.reading.push(key);
        }
        next
    }

    /// Polls the range reads under way; those whose answer is in are `ready`.
    pub(super) fn poll_reads(&mut self, cx: &mut Context<'_>, ready: &mut VecDeque<usize>) -> bool {
        let Self { slots, reading, .. } = self;
        let before = ready.len();
        reading.retain(|key| {
            let Some(Some(subscription)) = slots.get_mut(*key) else { return false };
            let done = subscription.poll_read(cx);
            if done {
                ready.push_back(*key);
            }
            !done
        });
        ready.len() > before
    }
}

impl Subscription {
    fn next(&mut self, node: &Arc<Node>) -> Next {
        if self.read.is_some() {
            return Next::Nothing;
        }
        let room = &self.membership.room;
        if let Some((reason, start)) = self.gap.take() {
            self.cursor = start;
            let notice = Notice::Gap { room: room.name.clone(), id: self.cursor, reason };
            return Next::Item(Item::Notice(notice));
        }
        if let Some(message) = self.taken.pop_front() {
            self.cursor = message.position();
            return Next::Item(Item::Message(message));
        }
        match room.take(self.cursor, node.limits.batch, &mut self.taken) {
            Taken::Some => Next::Turn,
            Taken::Nothing => {
                self.live = true;
                self.taken = VecDeque::new();
                Next::Nothing
            }
            Taken::Read => {
                self.read = Some(Box::pin(read(Arc::clone(node), room.name.clone(), self.cursor)));
                Next::Nothing
            }
        }
    }

    /// Whether a range read was under way and is done.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(read) = &mut self.read else { return true };
        let Poll::Ready(slice) = read.as_mut().poll(cx) else { return false };
        self.read = None;
        self.gap = gap(self.membership.room.rooms.kind(), self.cursor, &slice, self.live);
        if self.gap.is_none() {
            self.cursor = slice.start;
        }
        self.taken = slice.messages.into();
        true
    }
}

/// What a reader at `cursor` must be told before it goes on with `slice`.
pub(super) fn gap(kind: Kind, cursor: Position, slice: &Slice, live: bool) -> Option<(GapReason, Position)> {
    let start = slice.start;
    if start == cursor {
        return None;
    }
    let trimmed = start.epoch == cursor.epoch && cursor.offset < start.offset;
    let reason = match (kind, trimmed) {
        // Skipping to the newest value is what such a room is for, and one that keeps nothing promises nothing.
        (Kind::Latest, true) | (Kind::Ephemeral, _) => return None,
        (_, true) if live => GapReason::Slow,
        (_, true) => GapReason::Trimmed,
        (_, false) => GapReason::Epoch,
    };
    Some((reason, start))
}

/// Reads what follows `cursor`, however long the broker is away: the session keeps its place meanwhile.
async fn read(node: Arc<Node>, room: RoomName, cursor: Position) -> Slice {
    let mut pause = FIRST_PAUSE;
    loop {
        {
            let _turn = node.reads.acquire().await;
            if let Ok(slice) = node.broker.read(&room, ReadFrom::After(cursor), PAGE).await {
                return slice;
            }
        }
        tokio::time::sleep(jitter(pause)).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Messages of one range read.
pub(super) const PAGE: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);
