//! A session's cursors.

use super::{
    Mailbox,
    agenda::Todo,
    task::Task,
    work::{Entered, Joined},
};
use crate::{
    CloseReason, Cursor, Identity, Message, Notice, Position, RoomName, Rooms,
    broker::{ReadFrom, Slice},
    hub::{Membership, Node, jitter},
    policy::Pattern,
    reader::{Fill, Given, Reader},
};
use slab::Slab;
use smallvec::SmallVec;
use std::{
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
    /// By the names of their rooms, for look-up and for cursors over all of them.
    sorted: SmallVec<[usize; 2]>,
}

impl std::fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rooms()).finish()
    }
}

struct Subscription {
    membership: Membership,
    reader: Reader,
    /// The range read that the reader waits for. A task of its own, for the session may not be polled for a while,
    /// and would keep its turn from others.
    read: Option<Task<Slice>>,
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
    /// It waits for a range read.
    Read,
    /// It has nothing, and will be heard of when it has.
    Nothing,
}

impl Subscriptions {
    /// Bytes for each room, as the slab has them.
    #[cfg(test)]
    pub(super) const SLOT: usize = size_of::<Result<Option<Subscription>, usize>>();

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn reserve(&mut self) -> usize {
        // Most sessions are in one room, and a vector makes place for four by itself.
        if self.slots.capacity() == 0 {
            self.slots = Slab::with_capacity(1);
        }
        self.slots.insert(None)
    }

    /// Gives up the slots of joins that did not come to their end.
    pub(super) fn sweep(&mut self) {
        // Looked for only where there is one, for each join asks.
        if self.slots.len() > self.sorted.len() {
            self.slots.retain(|_, slot| slot.is_some());
        }
    }

    pub(super) fn release(&mut self, key: usize) {
        self.slots.try_remove(key);
    }

    pub(super) fn fill(&mut self, key: usize, entered: Entered) {
        let Entered { membership, reader } = entered;
        match self.find(&membership.room.name) {
            Err(at) => self.sorted.insert(at, key),
            // Joined meanwhile on another way; to be in a room twice would be to hear everything twice.
            Ok(_) => return self.release(key),
        }
        self.slots[key] = Some(Subscription { membership, reader, read: None });
    }

    pub(super) fn remove_room(&mut self, room: &RoomName) {
        if let Ok(at) = self.find(room) {
            self.slots.try_remove(self.sorted.remove(at));
        }
    }

    /// The rooms that a pattern fits.
    pub(super) fn matching(&self, pattern: Pattern<'_>) -> Vec<RoomName> {
        self.rooms().filter(|room| pattern.fits(room)).cloned().collect()
    }

    /// Where a room is in the sorted list, or would be.
    fn find(&self, room: &RoomName) -> Result<usize, usize> {
        self.sorted.binary_search_by(|key| self.name(*key).cmp(&Some(room)))
    }

    fn name(&self, key: usize) -> Option<&RoomName> {
        Some(&self.slots.get(key)?.as_ref()?.membership.room.name)
    }

    pub(super) fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        self.sorted.iter().filter_map(|key| self.name(*key))
    }

    pub(super) fn joined(&self, room: &RoomName) -> Option<Joined> {
        let at = self.find(room).ok()?;
        let subscription = self.slots.get(self.sorted[at])?.as_ref()?;
        Some(Joined {
            room: room.clone(),
            cursor: subscription.reader.cursor(),
            recovered: !subscription.reader.is_before_gap(),
        })
    }

    /// Whether this is true of every room's reader, and there is one.
    pub(super) fn all(&self, is: impl Fn(&Reader) -> bool) -> bool {
        let so = |slot: &Option<Subscription>| slot.as_ref().is_some_and(|one| is(&one.reader));
        !self.slots.is_empty() && self.slots.iter().all(|(_, slot)| so(slot))
    }

    /// Whether it has everything of every room.
    pub(super) fn are_standing(&self) -> bool {
        self.all(Reader::is_standing)
    }

    /// Where it stands in each room, by the rooms' serial numbers.
    pub(super) fn places(&self) -> impl Iterator<Item = (u64, Position)> {
        let subscriptions = self.slots.iter().filter_map(|(_, slot)| slot.as_ref());
        subscriptions.map(|one| (one.membership.room.serial, one.reader.cursor()))
    }

    /// Whoever had the cursor of a room has moved it.
    pub(super) fn move_to(&mut self, room: u64, cursor: Position) {
        let mut subscriptions = self.slots.iter_mut().filter_map(|(_, slot)| slot.as_mut());
        if let Some(one) = subscriptions.find(|one| one.membership.room.serial == room) {
            one.reader.move_to(cursor);
        }
    }

    /// The rooms, sorted by name, and the cursor over them.
    pub(crate) fn cursor(&self) -> (Vec<RoomName>, Cursor) {
        let positions = self.sorted.iter().map(|key| {
            self.slots.get(*key).and_then(Option::as_ref).map_or(Position::UNKNOWN, |one| one.reader.cursor())
        });
        (self.rooms().cloned().collect(), Cursor::new(positions.collect()))
    }

    pub(super) fn next(
        &mut self,
        key: usize,
        node: &Arc<Node>,
        mailbox: &Mailbox,
        who: Option<&Identity>,
    ) -> Next {
        let Some(Some(subscription)) = self.slots.get_mut(key) else { return Next::Nothing };
        subscription.next(node, mailbox, who)
    }

    /// The word that a room has ended, right after its last message: the two go out together, or a cursor between
    /// them would say less than was meant.
    pub(super) fn take_end(&mut self, key: usize) -> Option<Notice> {
        let subscription = self.slots.get_mut(key)?.as_mut()?;
        if !subscription.reader.is_end_due() {
            return None;
        }
        let given = subscription.reader.give();
        let Some(Given::End { id }) = given else { return None };
        Some(Notice::End { room: subscription.membership.room.name.clone(), id })
    }

    /// Takes it as said that rooms have ended whose last message the client already had.
    pub(super) fn skip_ends(&mut self) {
        for (_, slot) in &mut self.slots {
            if let Some(one) = slot.as_mut().filter(|one| one.reader.is_at_end()) {
                one.reader.give();
            }
        }
    }

    /// Polls the range reads under way, whose answers may have about `bytes`; those whose answer is in are ready.
    pub(super) fn poll_reads(&mut self, cx: &mut Context<'_>, bytes: usize, todo: &mut Todo) -> bool {
        let Todo { ready, reading, .. } = todo;
        let before = ready.len();
        reading.retain(|key| {
            let Some(Some(subscription)) = self.slots.get_mut(*key) else { return false };
            let done = subscription.poll_read(cx, bytes);
            if done {
                ready.push_back(*key);
            }
            !done
        });
        ready.len() > before
    }
}

impl Subscription {
    fn next(&mut self, node: &Arc<Node>, mailbox: &Mailbox, who: Option<&Identity>) -> Next {
        if self.read.is_some() {
            return Next::Nothing;
        }
        let room = &self.membership.room;
        let name = || room.name.clone();
        let user = who.and_then(Identity::name);
        while let Some(given) = self.reader.give() {
            return Next::Item(match given {
                // The cursor has moved past it, as past what was given.
                Given::Message(message)
                    if message.event().is_kept_from(user, |name| node.is_session(name, mailbox.serial())) =>
                {
                    continue;
                }
                Given::Message(message) => Item::Message(message),
                Given::Gap { id, reason } => {
                    node.counts.gaps.add(reason.word());
                    Item::Notice(Notice::Gap { room: name(), id, reason })
                }
                Given::End { id } => Item::Notice(Notice::End { room: name(), id }),
            });
        }
        let was_slow = self.reader.is_slow();
        let fill = room.fill(&mut self.reader, node.limits.batch);
        if self.reader.is_slow() && !was_slow {
            node.note_slow(mailbox, room);
        }
        match fill {
            Fill::TooSlow => {
                mailbox.close(CloseReason::Slow);
                Next::Nothing
            }
            Fill::Some => Next::Turn,
            Fill::Nothing => Next::Nothing,
            Fill::Read(from) => {
                self.read = Some(Task::spawn(read(Arc::clone(node), name(), room.rooms, from)));
                Next::Read
            }
        }
    }

    /// Whether a range read was under way and is done.
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes: usize) -> bool {
        let Some(read) = &mut self.read else { return true };
        let Poll::Ready(slice) = Pin::new(read).poll(cx) else { return false };
        self.read = None;
        if let Some(slice) = slice {
            self.reader.read(slice, bytes);
        }
        true
    }
}

/// Reads a page of history, however long the broker is away: the session keeps its place meanwhile.
pub(crate) async fn read(node: Arc<Node>, room: RoomName, rooms: Rooms, from: ReadFrom) -> Slice {
    let mut pause = FIRST_PAUSE;
    loop {
        {
            let _turn = node.reads.acquire().await;
            match node.broker.read(&room, rooms, from, PAGE).await {
                Ok(slice) => return slice,
                Err(error) => node.quotas.note_broker("read", &error),
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
