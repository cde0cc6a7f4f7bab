//! The model broker: one room's history as the contract of range reads has it, and all that was ever in it.

use crate::{counts::Counts, rng::Rng};
use std::{collections::VecDeque, sync::Arc};
use tidings_core::{
    Event, Kind, Message, Position, RoomName,
    broker::{ReadFrom, Slice},
};

/// The model broker. Its answers are written down here once more, by walking the history; no machine under test
/// helps.
///
/// The tag of a position is the number of its event in the whole run. The sixteen bits of real tags are random and
/// meet once in 65 536; here they never do, so that a violation is always the machines' and never chance's.
pub(crate) struct ModelBroker {
    kind: Kind,
    room: RoomName,
    plain: Event,
    last: Event,
    now: History,
    /// What a failover falls back to.
    replicated: History,
    /// How many events are kept.
    keep: usize,
    /// Whether offsets rise by more than one at times.
    sparse: bool,
    /// By tag: every event of every branch; none where the tag is that of an epoch's beginning.
    past: Vec<(Position, Option<Arc<Message>>)>,
    epochs: u32,
}

#[derive(Clone)]
struct History {
    /// The position before the oldest event kept.
    base: Position,
    entries: VecDeque<Arc<Message>>,
}

impl History {
    fn head(&self) -> Position {
        self.entries.back().map_or(self.base, |message| message.position())
    }

    fn trim(&mut self, count: usize) {
        for _ in 0..count {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.base = oldest.position();
        }
    }
}

impl ModelBroker {
    pub(crate) fn new(kind: Kind, keep: usize, sparse: bool) -> Self {
        let nowhere = History { base: Position::UNKNOWN, entries: VecDeque::new() };
        let mut broker = Self {
            kind,
            room: RoomName::new("r").expect("a room name"),
            plain: Event::json("e", &1).expect("an event"),
            last: Event::json("e", &2).expect("an event").last(),
            now: nowhere.clone(),
            replicated: nowhere,
            keep,
            sparse,
            // No tag is 0, for nothing may be mistaken for the unknown position.
            past: vec![(Position::UNKNOWN, None)],
            epochs: 0,
        };
        broker.begin_epoch();
        broker.replicate();
        broker
    }

    pub(crate) fn head(&self) -> Position {
        self.now.head()
    }

    pub(crate) fn newest(&self) -> Option<&Arc<Message>> {
        self.now.entries.back()
    }

    /// The event with this position, in whatever branch it was.
    pub(crate) fn event(&self, position: Position) -> Option<&Arc<Message>> {
        let (at, message) = self.past.get(usize::from(position.tag))?;
        message.as_ref().filter(|_| *at == position)
    }

    /// Whether this was ever a position of the room: an event's, or an epoch's beginning.
    pub(crate) fn knows(&self, position: Position) -> bool {
        self.past.get(usize::from(position.tag)).is_some_and(|(at, _)| *at == position)
    }

    /// The very first position.
    pub(crate) fn origin(&self) -> Position {
        self.past[1].0
    }

    fn record(&mut self, epoch: u32, offset: u64) -> Position {
        let tag = u16::try_from(self.past.len()).expect("fewer events in a run than there are tags");
        Position { epoch, offset, tag }
    }

    pub(crate) fn publish(&mut self, rng: &mut Rng) -> Arc<Message> {
        let follows = self.head();
        let step = if self.sparse { rng.between(1, 3) as u64 } else { 1 };
        let position = self.record(follows.epoch, follows.offset + step);
        let event = if rng.percent(4) { self.last.clone() } else { self.plain.clone() };
        let make = if self.kind == Kind::Ephemeral { Message::ephemeral } else { Message::new };
        let message = Arc::new(make(self.room.clone(), position, follows, event));
        self.past.push((position, Some(Arc::clone(&message))));
        self.now.entries.push_back(Arc::clone(&message));
        let over = self.now.entries.len().saturating_sub(self.keep);
        self.now.trim(over);
        message
    }

    pub(crate) fn trim(&mut self, count: usize) {
        self.now.trim(count);
    }

    /// The history is lost and offsets count anew. Epochs are names: a later one may be the smaller number.
    pub(crate) fn begin_epoch(&mut self) {
        self.epochs += 1;
        let position = self.record(self.epochs.wrapping_mul(0x9e37_79b1), 0);
        self.past.push((position, None));
        self.now = History { base: position, entries: VecDeque::new() };
    }

    /// What is there now survives a failover.
    pub(crate) fn replicate(&mut self) {
        self.replicated = self.now.clone();
    }

    /// A failover: what was not replicated has never been, and its offsets are given again, even its epoch is gone.
    pub(crate) fn fail_over(&mut self) {
        self.now = self.replicated.clone();
    }

    /// A failover that loses the last `count` events.
    pub(crate) fn lose_tail(&mut self, count: usize) {
        let kept = self.now.entries.len().saturating_sub(count);
        self.now.entries.truncate(kept);
    }

    /// A failover that loses the newest event, if the next one will have its very offset.
    pub(crate) fn replace_newest(&mut self) -> bool {
        !self.sparse && self.now.entries.pop_back().is_some()
    }

    /// Answers a range read, by the contract.
    pub(crate) fn read(&self, from: ReadFrom, limit: usize) -> Slice {
        let History { base, entries } = &self.now;
        let (start, skip) = match from {
            ReadFrom::Start => (*base, 0),
            ReadFrom::Tail => {
                let skip = entries.len().saturating_sub(limit);
                (if skip == 0 { *base } else { entries[skip - 1].position() }, skip)
            }
            ReadFrom::After(cursor) if cursor == *base => (cursor, 0),
            ReadFrom::After(cursor) => match entries.iter().rposition(|entry| entry.position() == cursor) {
                Some(at) => (cursor, at + 1),
                None => (*base, 0),
            },
        };
        Slice::new(start, entries.iter().skip(skip).take(limit).cloned().collect(), self.head())
    }
}

/// A range read on its way: asked, then answered from the history of that moment, then brought back.
#[derive(Debug)]
pub(crate) struct RangeRead {
    pub(crate) from: ReadFrom,
    answer: Option<Slice>,
}

impl RangeRead {
    pub(crate) fn new(from: ReadFrom) -> Self {
        Self { from, answer: None }
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    pub(crate) fn answer(&mut self, broker: &ModelBroker, limit: usize) {
        self.answer = Some(broker.read(self.from, limit));
    }

    /// One step on its way; brings the answer back in the last. A failed one is asked once more.
    pub(crate) fn step(
        &mut self,
        broker: &ModelBroker,
        limit: usize,
        failing: bool,
        counts: &mut Counts,
    ) -> Option<Slice> {
        if failing {
            counts.failed += 1;
            self.answer = None;
            return None;
        }
        if self.is_answered() {
            return self.answer.take();
        }
        self.answer(broker, limit);
        None
    }
}
