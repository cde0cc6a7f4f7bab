//! The only way into a ring.

use crate::{Message, Position, Retention, broker::Slice, ring::Ring};
use std::sync::Arc;
use tokio::time::Instant;

/// A room as this node knows it: a [`Ring`], and whether it may be behind.
///
/// Brokers lose, repeat and reorder. A message enters the ring only as the direct successor of its head; a
/// repeat is dropped; anything else means that something was missed, and one range read of the broker's history
/// repairs the room for all its readers at once. Hence a reader never merges a history with a live stream: it
/// reads an ordered ring at a cursor.
#[derive(Debug)]
pub struct Replica {
    ring: Ring,
    /// What arrives while a range read is under way; none when the room is live.
    held: Option<Held>,
    /// False until the first range read has said where the head is.
    known: bool,
}

#[derive(Debug, Default)]
struct Held {
    messages: Vec<Arc<Message>>,
    /// So many of them had arrived when the range read began. They are in its answer, or in no history any more.
    before: usize,
    overflowed: bool,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "each needs another answer from the driver")]
pub enum Ingest {
    /// It is the new head; readers have something to read.
    Appended,
    /// It was here already.
    Duplicate,
    /// It waits for the range read that is under way.
    Held,
    /// Something is missing: the driver must begin a range read. The message is held.
    Resync,
}

/// What a range read led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "each needs another answer from the driver")]
pub enum Synced {
    /// The room is live.
    Live,
    /// There is more to read: another range read from [`Replica::read_from`] is needed.
    Again,
}

impl Replica {
    /// A room of which nothing is known yet. It begins in need of a range read.
    pub fn new(retention: Retention) -> Self {
        Self { ring: Ring::new(Position::UNKNOWN, retention), held: Some(Held::default()), known: false }
    }

    /// The ring.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Whether the ring is as new as what the broker has told.
    pub fn is_live(&self) -> bool {
        self.held.is_none()
    }

    /// Whether a first range read has said where the head is.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// A range read begins: from where it must go; none: the newest messages that fit the ring.
    pub fn read_from(&mut self) -> Option<Position> {
        if let Some(held) = &mut self.held {
            held.before = held.messages.len();
        }
        self.known.then(|| self.ring.head())
    }

    /// Drops what has outlived its age.
    pub fn trim(&mut self, now: Instant) {
        self.ring.trim(now);
    }

    /// Takes what the broker delivered, whatever it is.
    pub fn ingest(&mut self, message: Arc<Message>, now: Instant) -> Ingest {
        if let Some(held) = &mut self.held {
            held.push(message);
            return Ingest::Held;
        }
        let (head, position) = (self.ring.head(), message.position());
        if position.epoch == head.epoch && (position.offset < head.offset || position == head) {
            return Ingest::Duplicate;
        }
        if self.ring.push(Arc::clone(&message), now) {
            return Ingest::Appended;
        }
        // A hole, another branch, or another epoch.
        let mut held = Held::default();
        held.push(message);
        self.held = Some(held);
        Ingest::Resync
    }

    /// The broker may have lost something: a range read is needed. False if one is under way already, whose
    /// answer must then not be trusted to be the last.
    pub fn lost(&mut self) -> bool {
        match &mut self.held {
            Some(held) => {
                held.overflowed = true;
                false
            }
            None => {
                self.held = Some(Held::default());
                true
            }
        }
    }

    /// Takes the answer to a range read from [`read_from`](Self::read_from).
    pub fn synced(&mut self, slice: &Slice, now: Instant) -> Synced {
        let mut held = self.held.take().unwrap_or_default();
        if !self.known || slice.start != self.ring.head() {
            // The head is not in the broker's history: whoever stands in the old ring will be told of a gap.
            self.ring.reset(slice.start);
            self.known = true;
        }
        let whole = slice.messages.iter().all(|message| self.ring.push(Arc::clone(message), now));
        if !whole || self.ring.head() != slice.head || held.overflowed {
            held.overflowed = false;
            self.held = Some(held);
            return Synced::Again;
        }
        // What came before the range read is in its answer, or left over from a history that is gone.
        for message in held.messages.drain(held.before..) {
            // After a Resync the rest is held by the machine itself.
            self.ingest(message, now);
        }
        if self.is_live() { Synced::Live } else { Synced::Again }
    }
}

impl Held {
    fn push(&mut self, message: Arc<Message>) {
        if self.messages.len() < HELD_MAX {
            self.messages.push(message);
        } else {
            // What does not fit is in the broker's history, and the next range read brings it.
            self.messages.clear();
            self.before = 0;
            self.overflowed = true;
        }
    }
}

/// How many messages wait for a range read; more are fetched by another one.
const HELD_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, RoomName};
    use std::time::Duration;

    fn at(offset: u64) -> Position {
        Position { epoch: 7, offset, tag: 1 }
    }

    fn message(offset: u64) -> Arc<Message> {
        let event = Event::json("e", &offset).unwrap();
        Arc::new(Message::new(RoomName::new("r").unwrap(), at(offset), at(offset - 1), event))
    }

    fn slice(range: std::ops::RangeInclusive<u64>, head: u64) -> Slice {
        Slice::new(at(range.start() - 1), range.map(message).collect(), at(head))
    }

    fn nothing(head: u64) -> Slice {
        Slice::new(at(head), Vec::new(), at(head))
    }

    fn live() -> (Replica, Instant) {
        let now = Instant::now();
        let mut replica =
            Replica::new(Retention { count: 100, bytes: usize::MAX, age: Duration::from_secs(60) });
        assert_eq!(replica.read_from(), None);
        assert_eq!(replica.synced(&slice(1..=3, 3), now), Synced::Live);
        (replica, now)
    }

    #[test]
    fn successors_enter_repeats_do_not_and_a_hole_asks_for_a_range_read() {
        let (mut replica, now) = live();
        assert_eq!(replica.ingest(message(4), now), Ingest::Appended);
        assert_eq!(replica.ingest(message(4), now), Ingest::Duplicate);
        assert_eq!(replica.ingest(message(2), now), Ingest::Duplicate);
        assert_eq!(replica.ingest(message(7), now), Ingest::Resync);
        assert_eq!(replica.read_from(), Some(at(4)));
        assert_eq!(replica.ingest(message(8), now), Ingest::Held);
        assert_eq!(replica.synced(&slice(5..=7, 7), now), Synced::Live);
        assert_eq!(replica.ring().head(), at(8));
        assert_eq!(replica.ring().len(), 8);
    }

    #[test]
    fn a_slice_that_ends_before_the_head_is_not_the_last() {
        let (mut replica, now) = live();
        assert!(replica.lost());
        assert_eq!(replica.synced(&slice(4..=5, 7), now), Synced::Again);
        assert_eq!(replica.read_from(), Some(at(5)));
        assert_eq!(replica.synced(&slice(6..=7, 7), now), Synced::Live);
    }

    #[test]
    fn a_loss_reported_during_a_range_read_needs_another_one() {
        let (mut replica, now) = live();
        assert!(replica.lost());
        assert!(!replica.lost());
        assert_eq!(replica.synced(&slice(4..=5, 5), now), Synced::Again);
        assert_eq!(replica.synced(&nothing(5), now), Synced::Live);
    }

    #[test]
    fn too_much_for_the_hold_is_fetched_not_kept() {
        let (mut replica, now) = live();
        assert!(replica.lost());
        for offset in 4..=(HELD_MAX as u64 + 10) {
            assert_eq!(replica.ingest(message(offset), now), Ingest::Held);
        }
        assert_eq!(replica.synced(&slice(4..=4, 4), now), Synced::Again);
    }

    #[test]
    fn a_message_of_a_lost_history_does_not_ask_for_ever() {
        let (mut replica, now) = live();
        let stale = Position { epoch: 6, offset: 9, tag: 9 };
        let event = Event::json("e", &1).unwrap();
        let stale = Message::new(RoomName::new("r").unwrap(), stale, Position { offset: 8, ..stale }, event);
        assert_eq!(replica.ingest(Arc::new(stale), now), Ingest::Resync);
        assert_eq!(replica.read_from(), Some(at(3)));
        assert_eq!(replica.synced(&nothing(3), now), Synced::Live);
        assert_eq!(replica.ingest(message(4), now), Ingest::Appended);
    }

    #[test]
    fn a_head_the_broker_does_not_know_resets_the_ring() {
        let (mut replica, now) = live();
        let other = |offset| Position { epoch: 8, offset, tag: 2 };
        let event = Event::json("e", &1).unwrap();
        let first = Arc::new(Message::new(RoomName::new("r").unwrap(), other(1), other(0), event));
        assert_eq!(replica.ingest(Arc::clone(&first), now), Ingest::Resync);
        assert_eq!(replica.synced(&Slice::new(other(0), vec![first], other(1)), now), Synced::Live);
        assert_eq!((replica.ring().base(), replica.ring().head()), (other(0), other(1)));
    }
}
