//! How a reader gets through a room: from a ring and a broker's history to messages, each once and in order, and
//! gaps.

use crate::{
    From, GapReason, Kind, Message, Position, Slow,
    broker::{ReadFrom, Slice},
    ring::{Place, Ring},
};
use smallvec::SmallVec;
use std::sync::Arc;

/// A reader of one room. Live, replay and resume are the same thing to it: it stands at a cursor, takes what the
/// [`Ring`] holds after it, and asks for a range read of the broker's history where the ring cannot say.
///
/// A machine without I/O. Its driver calls [`give`](Self::give) until it has nothing, then
/// [`fill`](Self::fill) with the room's ring, and answers a wish to read with [`read`](Self::read).
#[derive(Debug)]
pub struct Reader {
    kind: Kind,
    cursor: Position,
    /// Boxed, because there are as many readers as members, and one that has everything has nothing under way.
    pending: Option<Box<Pending>>,
    pace: Pace,
    end: End,
}

/// What a reader has under way.
#[derive(Debug, Default)]
struct Pending {
    /// A gap to be told before anything else, and where things go on. The cursor stays before it until it is
    /// told, or a client cut off in between would never know.
    gap: Option<(GapReason, Position)>,
    /// A few messages taken at once, about to be given, from the end.
    taken: SmallVec<[Arc<Message>; 2]>,
    /// The cursor and the head of the ring when the reader was found to be ahead of it, and asked the history.
    ahead: Option<(Position, Position)>,
}

/// How a reader keeps up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// It has not had everything yet.
    Catching,
    /// It had, the last time or the one before; if it falls off the history then, it is too slow.
    Live,
    /// It has fallen off what the ring holds, and has not had everything since.
    Slow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    No,
    /// The last message of the room has been given, and that it is the last is to be told.
    Due,
    Told,
}

/// What a reader gives.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_enums, reason = "a driver must pass on each")]
pub enum Given {
    /// The next message.
    Message(Arc<Message>),
    /// Something is missing before the next message, which follows `id`.
    Gap {
        /// Where things go on.
        id: Position,
        /// Why.
        reason: GapReason,
    },
    /// The message before was the room's last.
    End {
        /// Its position.
        id: Position,
    },
}

/// What a ring had for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver must act on each")]
pub enum Fill {
    /// Something to give.
    Some,
    /// Nothing newer yet.
    Nothing,
    /// The ring cannot say; this range read can.
    Read(ReadFrom),
    /// The reader was too slow, and is not to go on.
    TooSlow,
}

impl Reader {
    /// A reader that begins at `from`, if the ring can say where that is.
    ///
    /// # Errors
    /// Else the range read whose answer [`begin_with`](Self::begin_with) needs.
    pub fn begin(kind: Kind, from: From, ring: &Ring) -> Result<Self, ReadFrom> {
        match (kind, from) {
            (Kind::Ephemeral, _) | (Kind::Log, From::Now) => Ok(Self::at(kind, ring.head(), ring)),
            (Kind::Latest, From::Now | From::Start) => Ok(Self::at(kind, ring.base(), ring)),
            (Kind::Log, From::Start) => Err(ReadFrom::Start),
            (kind, From::After(cursor)) => match ring.locate(cursor) {
                Place::At(_) => Ok(Self::at(kind, cursor, ring)),
                // A newer value says all that the older ones did.
                Place::Older if kind == Kind::Latest => Ok(Self::at(kind, ring.base(), ring)),
                Place::Older | Place::Newer | Place::Foreign => Err(ReadFrom::After(cursor)),
            },
        }
    }

    /// A reader that begins with the answer to a range read.
    pub fn begin_with(kind: Kind, read: ReadFrom, slice: Slice, bytes: usize) -> Self {
        let mut reader =
            Self { kind, cursor: slice.start, pending: None, pace: Pace::Catching, end: End::No };
        if let ReadFrom::After(cursor) = read {
            reader.cursor = cursor;
        }
        reader.read(slice, bytes);
        reader
    }

    fn at(kind: Kind, cursor: Position, ring: &Ring) -> Self {
        let ended = cursor == ring.head() && ring.newest().is_some_and(|newest| newest.event().is_last());
        let end = if ended { End::Due } else { End::No };
        Self { kind, cursor, pending: None, pace: Pace::Catching, end }
    }

    /// A reader that had everything up to `cursor`.
    pub(crate) fn standing(kind: Kind, cursor: Position) -> Self {
        Self { kind, cursor, pending: None, pace: Pace::Live, end: End::No }
    }

    /// Whether it has everything there was when it last looked, so that [`standing`](Self::standing) at its cursor
    /// would be the same.
    pub(crate) fn is_standing(&self) -> bool {
        let nothing = self.pending.as_ref().is_none_or(|pending| pending.is_empty());
        self.pace == Pace::Live && nothing && self.end != End::Due
    }

    /// Others have given, in its place, everything up to `cursor`.
    pub(crate) fn move_to(&mut self, cursor: Position) {
        debug_assert!(self.is_standing(), "only what is at rest is moved");
        if self.cursor != cursor {
            (self.cursor, self.end) = (cursor, End::No);
        }
    }

    /// After the last message or gap that was given.
    pub fn cursor(&self) -> Position {
        self.cursor
    }

    /// Whether it had everything once, has fallen off what the ring holds, and has not had everything since: one slow
    /// episode, however long.
    pub fn is_slow(&self) -> bool {
        self.pace == Pace::Slow
    }

    /// Whether the next thing given is a gap.
    pub fn is_before_gap(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.gap.is_some())
    }

    /// Whether the next thing given is that the room has ended.
    pub fn is_end_due(&self) -> bool {
        self.end == End::Due && !self.is_before_gap()
    }

    /// Whether the room's last message was given, and that it was the last.
    pub fn has_ended(&self) -> bool {
        self.end == End::Told
    }

    /// Whether nothing is left but to say that the room has ended, if that.
    pub fn is_at_end(&self) -> bool {
        self.end != End::No && !self.has_something()
    }

    /// Whether there is a gap or a message to give.
    fn has_something(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.gap.is_some() || !pending.taken.is_empty())
    }

    /// What is next of that which is at hand. The cursor moves past it.
    pub fn give(&mut self) -> Option<Given> {
        let gap = self.pending.as_mut().and_then(|pending| pending.gap.take());
        if let Some((reason, id)) = gap {
            self.cursor = id;
            return Some(Given::Gap { id, reason });
        }
        if self.end == End::Due {
            self.end = End::Told;
            return Some(Given::End { id: self.cursor });
        }
        let message = self.pending.as_mut()?.taken.pop()?;
        self.cursor = message.position();
        self.end = if message.event().is_last() { End::Due } else { End::No };
        Some(Given::Message(message))
    }

    /// Takes what the ring has after the cursor, up to a few messages and about `bytes` of them. Must be called
    /// when there is nothing left to give. `slow` is for a reader that had everything and has fallen off the ring.
    pub fn fill(&mut self, ring: &Ring, bytes: usize, slow: Slow) -> Fill {
        if self.has_something() || self.end == End::Due {
            return Fill::Some;
        }
        let newest = ring.len().saturating_sub(1);
        let place = ring.locate(self.cursor);
        if (self.kind, place, self.pace) == (Kind::Log, Place::Older, Pace::Live) {
            self.pace = Pace::Slow;
        }
        let mut gap = None;
        let from = match (self.kind, place) {
            // It has been on a node that was ahead of this one, and waits, for it never goes back; or the history
            // was cut short behind it. The broker knows, and is asked once for each head.
            (_, Place::Newer) => {
                let ahead = Some((self.cursor, ring.head()));
                let known = &mut self.pending.get_or_insert_default().ahead;
                if *known == ahead {
                    return Fill::Nothing;
                }
                *known = ahead;
                return Fill::Read(ReadFrom::After(self.cursor));
            }
            (Kind::Log | Kind::Ephemeral, Place::At(at)) => at,
            (Kind::Ephemeral, Place::Older | Place::Foreign) => 0,
            (Kind::Latest, Place::At(at)) => at.max(newest),
            (Kind::Latest, Place::Older) => newest,
            (Kind::Log, Place::Older) if self.pace == Pace::Slow && slow != Slow::Backfill => {
                let at = match slow {
                    Slow::Disconnect => return Fill::TooSlow,
                    Slow::Latest => newest,
                    Slow::Gap | Slow::Backfill => 0,
                };
                gap = Some((GapReason::Slow, ring.before(at)));
                at
            }
            (_, Place::Older | Place::Foreign) => return Fill::Read(ReadFrom::After(self.cursor)),
        };
        let mut taken = SmallVec::new();
        let mut weight = 0;
        for message in ring.messages(from).take(PIECE) {
            taken.push(Arc::clone(message));
            weight += message.event().weight();
            if weight >= bytes {
                break;
            }
        }
        if taken.is_empty() && gap.is_none() {
            self.pace = Pace::Live;
            self.pending = None;
            return Fill::Nothing;
        }
        taken.reverse();
        let pending = self.pending.get_or_insert_default();
        (pending.gap, pending.taken, pending.ahead) = (gap, taken, None);
        Fill::Some
    }

    /// Takes the answer to a range read after the cursor; of its messages about `bytes`, for the rest can be read
    /// again, and a reader that is not read from must not hold it.
    pub fn read(&mut self, mut slice: Slice, bytes: usize) {
        let mut weight = 0;
        let enough = slice.messages.iter().position(|message| {
            weight += message.event().weight();
            weight >= bytes
        });
        if let Some(last) = enough.filter(|_| self.kind != Kind::Latest) {
            slice.messages.truncate(last + 1);
        }
        let gap = self.gap_before(slice.start);
        if gap.is_none() {
            self.cursor = slice.start;
        }
        slice.messages.reverse();
        if self.kind == Kind::Latest {
            slice.messages.truncate(1);
        }
        let pending = self.pending.get_or_insert_default();
        (pending.gap, pending.taken) = (gap, slice.messages.into());
    }

    /// What must be told before going on from `start`.
    fn gap_before(&self, start: Position) -> Option<(GapReason, Position)> {
        if start == self.cursor {
            return None;
        }
        let trimmed = start.epoch == self.cursor.epoch && self.cursor.offset < start.offset;
        let reason = match (self.kind, trimmed) {
            // Skipping to the newest value is what such a room is for; one that keeps nothing promises nothing.
            (Kind::Latest, true) | (Kind::Ephemeral, _) => return None,
            (_, true) if self.pace != Pace::Catching => GapReason::Slow,
            (_, true) => GapReason::Trimmed,
            (_, false) => GapReason::Epoch,
        };
        Some((reason, start))
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.gap.is_none() && self.taken.is_empty() && self.ahead.is_none()
    }
}

/// Messages taken from a ring at once.
const PIECE: usize = 64;
