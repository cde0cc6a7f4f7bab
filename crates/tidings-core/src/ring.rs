//! A room's recent messages on this node.

use crate::{
    Message, Position, Retention,
    broker::{ReadFrom, Slice},
    surplus::surplus,
};
use std::{collections::VecDeque, sync::Arc};
use tokio::time::Instant;

/// A room's recent messages: always contiguous, bounded by count, bytes and age.
///
/// A machine without a clock: whoever drives it says what time it is.
#[derive(Debug)]
pub struct Ring {
    entries: VecDeque<Entry>,
    /// The position before the oldest message.
    base: Position,
    bytes: usize,
    retention: Retention,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    at: Instant,
}

/// Where a cursor stands with regard to a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "every place a cursor can be at; a reader must handle each")]
pub enum Place {
    /// In the ring; so many of its oldest messages lie behind the cursor.
    At(usize),
    /// In the same history, before what the ring holds.
    Older,
    /// In the same history, beyond the head.
    Newer,
    /// In another history: another epoch, or a place where this history holds something else.
    Foreign,
}

impl Ring {
    /// An empty ring whose next message follows `head`.
    pub fn new(head: Position, retention: Retention) -> Self {
        Self { entries: VecDeque::new(), base: head, bytes: 0, retention }
    }

    /// The position of the newest message, or the base of an empty ring.
    pub fn head(&self) -> Position {
        self.entries.back().map_or(self.base, |entry| entry.message.position())
    }

    /// The newest message, if it holds any.
    pub fn newest(&self) -> Option<&Arc<Message>> {
        self.entries.back().map(|entry| &entry.message)
    }

    /// The position before the oldest message.
    pub fn base(&self) -> Position {
        self.base
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The weight of its messages in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the direct successor of the head, then trims. Anything else is refused, for the ring would no
    /// longer be contiguous.
    #[must_use = "a refused message is lost"]
    pub fn push(&mut self, message: Arc<Message>, now: Instant) -> bool {
        let head = self.head();
        if message.follows() != head
            || message.position().epoch != head.epoch
            || message.position().offset <= head.offset
        {
            return false;
        }
        self.bytes += message.event().weight();
        self.entries.push_back(Entry { message, at: now });
        self.trim(now);
        true
    }

    /// Drops what is over a bound. One message may stay over the bound of bytes, none over that of age.
    pub fn trim(&mut self, now: Instant) {
        while let Some(oldest) = self.entries.front() {
            let many = self.entries.len() > 1
                && (self.entries.len() > self.retention.count || self.bytes > self.retention.bytes);
            let old = now.saturating_duration_since(oldest.at) > self.retention.age;
            if !many && !old {
                break;
            }
            self.base = oldest.message.position();
            self.bytes -= oldest.message.event().weight();
            self.entries.pop_front();
        }
        // A burst must not hold its memory for ever.
        if let Some(enough) = surplus(self.entries.capacity(), self.entries.len(), KEPT) {
            self.entries.shrink_to(enough);
        }
    }

    /// Drops the oldest message, as if it were over a bound. Answers its weight; none if there is none.
    pub fn drop_oldest(&mut self) -> Option<usize> {
        let oldest = self.entries.pop_front()?;
        let weight = oldest.message.event().weight();
        self.base = oldest.message.position();
        self.bytes -= weight;
        Some(weight)
    }

    /// Forgets everything; the next message follows `head`.
    pub fn reset(&mut self, head: Position) {
        *self = Self::new(head, self.retention);
    }

    /// The bounds.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// Changes the bounds; they take effect at the next push or trim.
    pub fn retain(&mut self, retention: Retention) {
        self.retention = retention;
    }

    /// A piece of the ring as a broker answers it.
    pub fn slice(&self, from: ReadFrom, limit: usize) -> Slice {
        let (start, at) = match from {
            ReadFrom::Start => (self.base, 0),
            ReadFrom::Tail => {
                let at = self.entries.len().saturating_sub(limit);
                (self.before(at), at)
            }
            ReadFrom::After(cursor) => match self.locate(cursor) {
                Place::At(at) => (cursor, at),
                Place::Older | Place::Newer | Place::Foreign => (self.base, 0),
            },
        };
        Slice::new(start, self.messages(at).take(limit).cloned().collect(), self.head())
    }

    /// Where `cursor` stands.
    pub fn locate(&self, cursor: Position) -> Place {
        if cursor.epoch != self.base.epoch {
            return Place::Foreign;
        }
        if cursor == self.base {
            return Place::At(0);
        }
        if cursor.offset < self.base.offset {
            return Place::Older;
        }
        if cursor.offset > self.head().offset {
            return Place::Newer;
        }
        // Also where the base has the same offset and another tag: then nothing is found.
        match self.entries.binary_search_by_key(&cursor.offset, |entry| entry.message.position().offset) {
            Ok(at) if self.entries[at].message.position() == cursor => Place::At(at + 1),
            _ => Place::Foreign,
        }
    }

    /// The position before the message at index `at`.
    pub fn before(&self, at: usize) -> Position {
        let last = at.checked_sub(1).and_then(|last| self.entries.get(last));
        last.map_or(self.base, |entry| entry.message.position())
    }

    /// The messages from index `from` on, oldest first.
    pub fn messages(&self, from: usize) -> impl Iterator<Item = &Arc<Message>> {
        self.entries.range(from.min(self.entries.len())..).map(|entry| &entry.message)
    }
}

/// Places that are kept in any case.
const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, RoomName};
    use std::time::Duration;

    fn at(offset: u64) -> Position {
        Position { epoch: 7, offset, tag: offset as u16 * 3 }
    }

    fn message(offset: u64) -> Arc<Message> {
        let event = Event::json("e", &offset).unwrap();
        Arc::new(Message::new(RoomName::new("r").unwrap(), at(offset), at(offset - 1), event))
    }

    fn ring(count: usize, upto: u64, now: Instant) -> Ring {
        let retention = Retention { count, bytes: usize::MAX, age: Duration::from_secs(10) };
        let mut ring = Ring::new(at(0), retention);
        for offset in 1..=upto {
            assert!(ring.push(message(offset), now));
        }
        ring
    }

    #[test]
    fn only_the_direct_successor_enters() {
        let now = Instant::now();
        let mut ring = ring(10, 3, now);
        assert!(!ring.push(message(3), now), "a repeat");
        assert!(!ring.push(message(5), now), "a hole");
        let branch = Message::new(
            RoomName::new("r").unwrap(),
            at(4),
            Position { tag: 99, ..at(3) },
            Event::json("e", &0).unwrap(),
        );
        assert!(!ring.push(branch.into(), now), "a successor of another third event");
        assert!(ring.push(message(4), now));
        assert_eq!((ring.head(), ring.len()), (at(4), 4));
    }

    #[test]
    fn every_place_of_a_cursor_is_told_apart() {
        let ring = ring(4, 10, Instant::now());
        assert_eq!(ring.base(), at(6));
        assert_eq!(ring.locate(at(10)), Place::At(4));
        assert_eq!(ring.locate(at(7)), Place::At(1));
        assert_eq!(ring.locate(at(6)), Place::At(0));
        assert_eq!(ring.locate(at(5)), Place::Older);
        assert_eq!(ring.locate(at(11)), Place::Newer);
        assert_eq!(ring.locate(Position { epoch: 8, ..at(7) }), Place::Foreign);
        assert_eq!(ring.locate(Position { tag: 1, ..at(7) }), Place::Foreign);
        assert_eq!(ring.locate(Position { tag: 1, ..at(6) }), Place::Foreign);
        assert_eq!(ring.locate(Position::UNKNOWN), Place::Foreign);
        let offsets: Vec<_> = ring.messages(1).map(|m| m.position().offset).collect();
        assert_eq!(offsets, [8, 9, 10]);
    }

    #[test]
    fn age_empties_a_ring_and_the_head_stays() {
        let now = Instant::now();
        let mut ring = ring(4, 10, now);
        ring.trim(now + Duration::from_secs(10));
        assert_eq!(ring.len(), 4);
        ring.trim(now + Duration::from_secs(11));
        assert_eq!((ring.len(), ring.bytes(), ring.head(), ring.base()), (0, 0, at(10), at(10)));
        assert_eq!(ring.locate(at(9)), Place::Older);
        assert_eq!(ring.locate(at(10)), Place::At(0));
    }

    #[test]
    fn bytes_are_bounded_but_the_newest_stays() {
        let now = Instant::now();
        let weight = message(1).event().weight();
        let retention = Retention { count: 100, bytes: weight * 2 + 1, age: Duration::from_secs(1) };
        let mut ring = Ring::new(at(0), retention);
        for offset in 1..=5 {
            assert!(ring.push(message(offset), now));
            assert!(ring.bytes() <= weight * 2 + 1);
        }
        assert_eq!(ring.len(), 2);
        let retention = Retention { bytes: 1, ..retention };
        let mut ring = Ring::new(at(0), retention);
        assert!(ring.push(message(1), now));
        assert_eq!(ring.len(), 1);
    }
}
