//! What a node counts, always: so little that nobody need switch it off. Nothing is counted for each delivery, but what comes
//! together is added together.

use super::Hub;
use crate::{CloseReason, notice::GapReason};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// How much of what a hub holds, and how often what has happened since it was built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Live sessions, by transport.
    pub sessions: BTreeMap<&'static str, usize>,
    /// Sessions that have begun so far.
    pub opened: u64,
    /// Sessions that the server has ended, by the reason that was told.
    pub closed: BTreeMap<&'static str, u64>,
    /// Rooms known to this node.
    pub rooms: usize,
    /// Memberships: sessions in rooms, each room counted.
    pub members: usize,
    /// The same by the patterns of [`HubBuilder::rooms`](crate::HubBuilder::rooms); without one, `other`.
    pub classes: BTreeMap<String, ClassStats>,
    /// Joins, by where they began: `now`, `start`, `resumed` at a cursor, or `missed`, at a cursor with a gap behind it.
    pub joins: BTreeMap<&'static str, u64>,
    /// Gaps that were told, by reason.
    pub gaps: BTreeMap<&'static str, u64>,
    /// Requests, sessions, joins and commands that were refused, each once, by the code of the protocol; the application's own
    /// codes are `other`.
    pub refused: BTreeMap<&'static str, u64>,
    /// Slow episodes so far: how often a session that had everything of a room has fallen off what the node holds of it, or
    /// a client was given up that took nothing.
    pub slow: u64,
    /// Written straight to the sockets of sessions that were waiting.
    pub direct: Deliveries,
    /// Taken by sessions that looked for themselves.
    pub pulled: Deliveries,
    /// How long it took from the moment when a room had something new until all its members were served.
    pub lag: Lag,
}

/// Of the rooms of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// Rooms known to this node.
    pub rooms: usize,
    /// Memberships.
    pub members: usize,
    /// Events that were published here so far.
    pub published: u64,
    /// Events that the broker did not take, or may not have taken.
    pub failed: u64,
}

/// Messages on their way out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deliveries {
    /// Messages, each counted for each session.
    pub messages: u64,
    /// Writes, or batches, that they went in.
    pub writes: u64,
}

/// How long things took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// How many took no longer than each of [`BOUNDS`](Self::BOUNDS) and longer than the one before, and how many longer than
    /// all.
    pub counts: [u64; Self::BOUNDS.len() + 1],
    /// All together.
    pub sum: Duration,
}

impl Lag {
    /// The bounds: four times as long each.
    pub const BOUNDS: [Duration; 8] = [
        Duration::from_micros(250),
        Duration::from_millis(1),
        Duration::from_millis(4),
        Duration::from_millis(16),
        Duration::from_millis(64),
        Duration::from_millis(256),
        Duration::from_millis(1_024),
        Duration::from_millis(4_096),
    ];
}

impl Hub {
    /// How much of what the hub holds now, and how often what has happened. All of it is counted as it happens: to ask costs
    /// the same however much there is.
    pub fn stats(&self) -> Stats {
        let node = &self.node;
        let mut stats = node.counts.read();
        stats.sessions.extend(&node.sessions.lock().by_transport);
        for class in node.rules.classes().chain(node.rules.own_classes()) {
            let of_class = ClassStats {
                rooms: class.present.load(Relaxed),
                members: class.members.load(Relaxed),
                published: class.published.load(Relaxed),
                failed: class.failed.load(Relaxed),
            };
            stats.rooms += of_class.rooms;
            stats.members += of_class.members;
            stats.classes.insert(class.pattern(), of_class);
        }
        stats.slow = node.quotas.slow();
        stats
    }
}

/// How often what has happened.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) opened: AtomicU64,
    pub(crate) closed: Tally<{ CloseReason::ALL.len() }>,
    pub(crate) joins: Tally<4>,
    pub(crate) gaps: Tally<{ GapReason::ALL.len() }>,
    pub(crate) refused: Tally<31>,
    pub(crate) direct: Count,
    pub(crate) pulled: Count,
    lag: [AtomicU64; Lag::BOUNDS.len() + 1],
    lag_sum: AtomicU64,
}

/// Counts by name.
#[derive(Debug)]
pub(crate) struct Tally<const N: usize> {
    /// The last one stands for all that are not among them, if there can be any.
    names: [&'static str; N],
    counts: [AtomicU64; N],
}

#[derive(Debug, Default)]
pub(crate) struct Count {
    messages: AtomicU64,
    writes: AtomicU64,
}

impl<const N: usize> Tally<N> {
    fn new(names: [&'static str; N]) -> Self {
        Self { names, counts: [const { AtomicU64::new(0) }; N] }
    }

    /// Counts what happens seldom: it looks for the name.
    pub(crate) fn add(&self, name: &str) {
        let at = self.names.iter().position(|known| *known == name).unwrap_or(N - 1);
        self.counts[at].fetch_add(1, Relaxed);
    }

    fn read(&self) -> BTreeMap<&'static str, u64> {
        self.names.iter().copied().zip(self.counts.iter().map(|count| count.load(Relaxed))).collect()
    }
}

impl Count {
    pub(crate) fn add(&self, messages: u64, writes: u64) {
        if writes > 0 {
            self.messages.fetch_add(messages, Relaxed);
            self.writes.fetch_add(writes, Relaxed);
        }
    }

    fn read(&self) -> Deliveries {
        Deliveries { messages: self.messages.load(Relaxed), writes: self.writes.load(Relaxed) }
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            opened: AtomicU64::default(),
            closed: Tally::new(CloseReason::ALL.map(CloseReason::word)),
            joins: Tally::new(["now", "start", "resumed", "missed"]),
            gaps: Tally::new(GapReason::ALL.map(GapReason::word)),
            refused: Tally::new([
                "bad_json",
                "bad_command",
                "bad_room",
                "bad_event",
                "bad_cursor",
                "bad_key",
                "bad_query",
                "bad_body",
                "bad_data",
                "too_many",
                "too_many_rooms",
                "no_stream",
                "handshake",
                "protocol",
                "upgrade",
                "method",
                "origin",
                "unauthorized",
                "forbidden",
                "not_found",
                "unknown_method",
                "too_large",
                "encoding",
                "timeout",
                "rate",
                "too_many_sessions",
                "internal",
                "busy",
                "unavailable",
                "unknown_outcome",
                OTHER,
            ]),
            direct: Count::default(),
            pulled: Count::default(),
            lag: Default::default(),
            lag_sum: AtomicU64::default(),
        }
    }
}

impl Counts {
    /// All members of a room were served, so long after it had something new.
    pub(super) fn served(&self, lag: Duration) {
        let at = Lag::BOUNDS.iter().position(|bound| lag <= *bound).unwrap_or(Lag::BOUNDS.len());
        self.lag[at].fetch_add(1, Relaxed);
        self.lag_sum.fetch_add(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    fn read(&self) -> Stats {
        Stats {
            opened: self.opened.load(Relaxed),
            closed: self.closed.read(),
            joins: self.joins.read(),
            gaps: self.gaps.read(),
            refused: self.refused.read(),
            direct: self.direct.read(),
            pulled: self.pulled.read(),
            lag: Lag {
                counts: self.lag.each_ref().map(|count| count.load(Relaxed)),
                sum: Duration::from_micros(self.lag_sum.load(Relaxed)),
            },
            ..Stats::default()
        }
    }
}

const OTHER: &str = "other";
