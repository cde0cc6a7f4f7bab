//! What a class of rooms keeps.

use crate::{RoomName, name::Reserved};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// How rooms of a class behave: a builder begun by [`log`](Rooms::log), [`latest`](Rooms::latest) or
/// [`ephemeral`](Rooms::ephemeral).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rooms {
    kind: Kind,
    retention: Retention,
    slow: Slow,
    presence: Option<Presence>,
}

/// Who is told to be in a room: the users whose sessions are in it, on all nodes that share the broker. Several sessions of
/// a user count once; sessions without a user's name are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    grace: Duration,
    listed: usize,
}

/// What becomes of a subscriber that had everything and then read more slowly than the history passes: the recent
/// messages that the node holds (the room's, and 1 024 at most) no longer reach back to where it stands. The same becomes of
/// everybody where more is published at once than that; let a room's history be longer than its bursts.
///
/// It holds in rooms with a history of more than the newest event. In the others there is nothing to catch up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Slow {
    /// It reads on in the broker's history at its own pace, and is told of a gap only where that has gone, too: for chats and
    /// feeds.
    #[default]
    Backfill,
    /// It is told of a gap, and goes on with what the node holds: for logs and telemetry, where nobody should read the
    /// history for its sake.
    Gap,
    /// It is told of a gap, and goes on with the newest event alone: for dashboards.
    Latest,
    /// Its session ends with [`CloseReason::Slow`](crate::CloseReason), and it comes back, with its cursor, after some seconds:
    /// for what must be read in full, or not by this client.
    Disconnect,
}

/// The kinds of rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Every event, in order, or a gap.
    Log,
    /// The newest event only: state, prices, dashboards. Skipping older values is no gap.
    Latest,
    /// At most once, nothing stored, no position.
    Ephemeral,
}

/// How much history is kept. Whatever bound is met first trims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "the three bounds of the model")]
pub struct Retention {
    /// Events at most.
    pub count: usize,
    /// Bytes at most, counted by [`Event::weight`](crate::Event::weight).
    pub bytes: usize,
    /// Age at most.
    pub age: Duration,
}

impl Rooms {
    /// Rooms that keep the last `count` events, none older than `age`, and at most [`bytes`](Self::bytes) of them.
    /// At least one event is kept until its age is reached.
    pub fn log(count: usize, age: Duration) -> Self {
        Self {
            kind: Kind::Log,
            retention: Retention { count: count.max(1), bytes: DEFAULT_BYTES, age: age.min(MAX_AGE) },
            slow: Slow::default(),
            presence: None,
        }
    }

    /// Rooms of which only the newest event counts; it is kept for a day.
    pub fn latest() -> Self {
        Self { kind: Kind::Latest, ..Self::log(1, Duration::from_secs(86_400)) }
    }

    /// Rooms that keep nothing: who is not there, or too slow, misses the event and is not told.
    pub fn ephemeral() -> Self {
        Self { kind: Kind::Ephemeral, ..Self::log(EPHEMERAL_BUFFER, Duration::from_secs(10)) }
    }

    /// Sets the bound on a room's bytes (64 MiB unless set).
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.retention.bytes = bytes;
        self
    }

    /// Sets what becomes of slow subscribers; [`Slow::Backfill`] unless set.
    #[must_use]
    pub fn slow(mut self, slow: Slow) -> Self {
        self.slow = slow;
        self
    }

    /// Lets be known who is in each room, to whoever may join it; nobody knows it unless this is set.
    #[must_use]
    pub fn presence(mut self, presence: Presence) -> Self {
        self.presence = Some(presence);
        self
    }

    /// Who is told to be in each room, if anybody is.
    pub fn presence_policy(&self) -> Option<Presence> {
        self.presence
    }

    /// What becomes of slow subscribers.
    pub fn slow_policy(&self) -> Slow {
        self.slow
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The bounds of the history.
    pub fn retention(&self) -> Retention {
        self.retention
    }
}

impl Presence {
    /// Lists 100 users, and gives them five seconds to come back.
    pub fn new() -> Self {
        Self { grace: Duration::from_secs(5), listed: 100 }
    }

    /// Sets how long a user who has no session any more is still a member, a minute at most: a reload, a reconnect, a change
    /// of transport or of node, and the time between two polls are no leaving.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace.min(MAX_GRACE);
        self
    }

    /// Sets how many users are listed at most, 1 000 or fewer, the first by name; the others are counted. Every change sends the
    /// list to all who are told.
    #[must_use]
    pub fn listed(mut self, users: usize) -> Self {
        self.listed = users.min(MAX_LISTED);
        self
    }

    pub(crate) fn grace_time(&self) -> Duration {
        self.grace
    }

    pub(crate) fn most_listed(&self) -> usize {
        self.listed
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Rooms {
    /// What a room gets that no rule names: a log of 1 000 events, an hour and 4 MiB, so that a short disconnect
    /// loses nothing and no room can fill the memory.
    fn default() -> Self {
        Self::log(1_000, Duration::from_secs(3_600)).bytes(4 << 20)
    }
}

/// A room, or all that begin so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pattern<'a> {
    name: &'a str,
    prefix: bool,
}

impl<'a> Pattern<'a> {
    /// `pattern` is a room name, or a prefix and `*`.
    pub(crate) fn new(pattern: &'a str) -> Self {
        let prefix = pattern.strip_suffix('*');
        Self { name: prefix.unwrap_or(pattern), prefix: prefix.is_some() }
    }

    /// Whether it names a room. Who is in a room is the room's own affair.
    pub(crate) fn fits(self, room: &RoomName) -> bool {
        let room = room.told().unwrap_or(room);
        if self.prefix { room.starts_with(self.name) } else { room == self.name }
    }
}

/// The rules of a hub, by room name or prefix.
#[derive(Debug)]
pub(crate) struct Rules {
    classes: Vec<Arc<Class>>,
    /// Of rooms that no rule names.
    other: Arc<Class>,
    /// Of rooms that Tidings keeps for itself.
    presence: Arc<Class>,
    members: Arc<Class>,
    journal: Arc<Class>,
    words: Arc<Class>,
}

/// Rooms that one rule names.
#[derive(Debug, Default)]
pub(crate) struct Class {
    name: String,
    /// Whether the name is the beginning of names.
    prefix: bool,
    pub(crate) rooms: Rooms,
    /// How many of its rooms the node has, and how many members those.
    pub(crate) present: AtomicUsize,
    pub(crate) members: AtomicUsize,
    pub(crate) published: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Class {
    /// The pattern, as it was said.
    pub(crate) fn pattern(&self) -> String {
        match (&*self.name, self.prefix) {
            ("", false) => "other".to_owned(),
            (name, prefix) => format!("{name}{}", if prefix { "*" } else { "" }),
        }
    }

    pub(crate) fn note_published(&self, done: bool) {
        if done { &self.published } else { &self.failed }.fetch_add(1, Relaxed);
    }
}

impl Default for Rules {
    fn default() -> Self {
        let class = |name: &str, rooms| {
            Arc::new(Class { name: name.to_owned(), prefix: true, rooms, ..Class::default() })
        };
        Self {
            classes: Vec::new(),
            other: Arc::default(),
            presence: class("~presence:", Rooms::latest()),
            members: class("~members:", Rooms::log(MEMBERS, MEMBERS_AGE).bytes(MEMBERS_BYTES)),
            journal: class("~node:", Rooms::latest()),
            words: class("~", Rooms::default()),
        }
    }
}

impl Rules {
    pub(crate) fn add(&mut self, pattern: &str, rooms: Rooms) {
        let Pattern { name, prefix } = Pattern::new(pattern);
        let name = name.to_owned();
        self.classes.retain(|class| (&class.name, class.prefix) != (&name, prefix));
        self.classes.push(Arc::new(Class { name, prefix, rooms, ..Class::default() }));
        // The exact name first, then the longest prefix: the first that fits is the one that counts.
        self.classes.sort_by_key(|class| (class.prefix, std::cmp::Reverse(class.name.len())));
    }

    pub(crate) fn of(&self, room: &RoomName) -> &Arc<Class> {
        match room.kept() {
            None => {}
            Some(Reserved::Presence) => return &self.presence,
            Some(Reserved::Members) => return &self.members,
            Some(Reserved::Journal) => return &self.journal,
            Some(Reserved::Words) => return &self.words,
        }
        let fits = |class: &&Arc<Class>| Pattern { name: &class.name, prefix: class.prefix }.fits(room);
        self.classes.iter().find(fits).unwrap_or(&self.other)
    }

    /// Whether the members of any room are told.
    pub(crate) fn have_presence(&self) -> bool {
        self.classes().any(|class| class.rooms.presence.is_some())
    }

    pub(crate) fn classes(&self) -> impl Iterator<Item = &Arc<Class>> {
        self.classes.iter().chain([&self.other])
    }

    /// The classes of rooms that the node is in by itself, if there are such rooms, in which clients may be, too.
    pub(crate) fn own_classes(&self) -> impl Iterator<Item = &Arc<Class>> {
        let own = [&self.presence, &self.members, &self.words];
        own.into_iter().filter(|_| self.have_presence())
    }
}

/// A single room's bytes where only count and age were said.
const DEFAULT_BYTES: usize = 64 << 20;
/// Far beyond any use, and near enough that adding it to a time cannot overflow.
const MAX_AGE: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Longer than any reconnect, and short enough that a departure is still news.
pub(crate) const MAX_GRACE: Duration = Duration::from_secs(60);
/// A longer list is no list that people read.
const MAX_LISTED: usize = 1_000;
/// Words about a room's members that are kept: the newest one of each node is among them, for a node says its own again when
/// more than half of so many have come after it, or a third of the time has passed.
pub(crate) const MEMBERS: usize = 256;
pub(crate) const MEMBERS_AGE: Duration = Duration::from_secs(3_600);
/// As much as so many words have at most.
const MEMBERS_BYTES: usize = MEMBERS * 20_000;
/// How far a reader of an ephemeral room may lag before it misses events.
const EPHEMERAL_BUFFER: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_name_wins_then_the_longest_prefix() {
        let room = |name| RoomName::new(name).unwrap();
        let log = |count| Rooms::log(count, Duration::from_secs(1));
        let mut rules = Rules::default();
        rules.add("*", log(1));
        rules.add("price:*", Rooms::latest());
        rules.add("price:gold", log(3));
        rules.add("price:metal:*", log(4));
        assert_eq!(rules.of(&room("x")).rooms, log(1));
        assert_eq!(rules.of(&room("price:silver")).rooms, Rooms::latest());
        assert_eq!(rules.of(&room("price:gold")).rooms, log(3));
        assert_eq!(rules.of(&room("price:metal:tin")).rooms, log(4));
        rules.add("price:gold", log(5));
        assert_eq!(rules.of(&room("price:gold")).rooms, log(5));
    }

    #[test]
    fn no_rule_is_about_what_tidings_keeps_for_itself() {
        let mut rules = Rules::default();
        rules.add("*", Rooms::ephemeral());
        let room = RoomName::new("a").unwrap();
        for kept in [RoomName::of_presence(&room).unwrap(), room.members(), RoomName::nodes()] {
            assert_ne!(rules.of(&kept).rooms.kind(), Kind::Ephemeral, "{kept}");
        }
        assert_eq!(rules.of(&RoomName::of_user("ann").unwrap()).rooms.kind(), Kind::Ephemeral);
    }

    #[test]
    fn what_names_a_room_names_who_is_in_it() {
        let told = RoomName::of_presence(&RoomName::new("a:1").unwrap()).unwrap();
        for (pattern, fits) in
            [("a:1", true), ("a:*", true), ("*", true), ("a:2", false), ("~presence:*", false)]
        {
            assert_eq!(Pattern::new(pattern).fits(&told), fits, "{pattern}");
        }
    }
}
