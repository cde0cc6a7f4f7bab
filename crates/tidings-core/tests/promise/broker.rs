//! A broker's history, as it really is.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tidings_core::{
    Event, Message, Position, RoomName,
    broker::{ReadFrom, Slice},
};

pub(crate) struct Broker {
    room: RoomName,
    event: Event,
    log: VecDeque<Arc<Message>>,
    base: Position,
    /// Each event has an identity of its own, which is its tag. A run has fewer than 65 536, so two are never taken
    /// for each other; real tags are right but for one in as many.
    events: u16,
    /// Which event each was published after, on whatever branch.
    pub(crate) predecessors: HashMap<Position, Position>,
}

impl Broker {
    pub(crate) fn new() -> Self {
        Self {
            room: RoomName::new("r").expect("a name"),
            event: Event::json("e", &0).expect("JSON"),
            log: VecDeque::new(),
            base: Position { epoch: 1, offset: 0, tag: 0 },
            events: 0,
            predecessors: HashMap::new(),
        }
    }

    pub(crate) fn head(&self) -> Position {
        self.log.back().map_or(self.base, |message| message.position())
    }

    pub(crate) fn len(&self) -> usize {
        self.log.len()
    }

    pub(crate) fn publish(&mut self) -> Arc<Message> {
        self.events += 1;
        let head = self.head();
        let position = Position { epoch: head.epoch, offset: head.offset + 1, tag: self.events };
        self.predecessors.insert(position, head);
        let message = Arc::new(Message::new(self.room.clone(), position, head, self.event.clone()));
        self.log.push_back(Arc::clone(&message));
        message
    }

    /// Forgets all but the newest `keep` events.
    pub(crate) fn trim(&mut self, keep: usize) {
        while self.log.len() > keep {
            self.base = self.log.pop_front().expect("more than none").position();
        }
    }

    /// Loses everything and begins a new history.
    pub(crate) fn begin_epoch(&mut self) {
        self.log.clear();
        self.base = Position { epoch: self.base.epoch + 1, offset: 0, tag: 0 };
    }

    /// A replica takes over that has not got the last `count` events; their offsets will be used again.
    pub(crate) fn fail_over(&mut self, count: usize) {
        self.log.truncate(self.log.len().saturating_sub(count));
    }

    /// The contract of a range read.
    pub(crate) fn read(&self, from: ReadFrom, limit: usize) -> Slice {
        let at = match from {
            ReadFrom::Start => 0,
            ReadFrom::Tail => self.log.len().saturating_sub(limit),
            ReadFrom::After(cursor) if cursor == self.base => 0,
            ReadFrom::After(cursor) => {
                self.log.iter().position(|message| message.position() == cursor).map_or(0, |at| at + 1)
            }
        };
        let start = at.checked_sub(1).map_or(self.base, |before| self.log[before].position());
        Slice::new(start, self.log.iter().skip(at).take(limit).cloned().collect(), self.head())
    }
}
