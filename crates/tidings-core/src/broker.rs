//! How nodes share rooms and keep their history.

mod keys;
mod memory;

pub use memory::MemoryBroker;

use crate::{Event, Message, Position, RoomName, Rooms};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::Instant;

/// A boxed answer of a broker: one per publish or range read, none per delivery.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BrokerError>> + Send + 'a>>;

/// How nodes share rooms and keep their history.
///
/// A broker gives each event of a room a [`Position`], keeps the room's history within the room's
/// [`Retention`](crate::Retention), and hands every message of a watched room to the attached [`Sink`]s. It may
/// lose, repeat and reorder what it hands over, as long as [`read`](Self::read) tells the truth: what was handed over
/// before a read began is in its answer, unless it is in no history any more.
pub trait Broker: Send + Sync + 'static {
    /// Begins to hand messages to a node.
    fn attach(&self, sink: Weak<dyn Sink>);

    /// Stores an event and hands it to the nodes. The answer comes when it is stored; dropping the future leaves
    /// open whether it was.
    fn publish(&self, publish: Publish) -> Answer<'_, Position>;

    /// Begins to hand over the messages of a room that keeps what `rooms` says. The answer comes when no message
    /// published later can be missed by both the hand-over and a [`read`](Self::read) that begins from here on.
    fn watch<'a>(&'a self, room: &'a RoomName, rooms: Rooms) -> Answer<'a, ()>;

    /// Ends one [`watch`](Self::watch).
    fn unwatch(&self, room: &RoomName);

    /// Reads at most `limit` messages of the room's history, in one step. `rooms` is what the room keeps: a broker
    /// may find its history by that, and need not keep more than that.
    fn read<'a>(
        &'a self,
        room: &'a RoomName,
        rooms: Rooms,
        from: ReadFrom,
        limit: usize,
    ) -> Answer<'a, Slice>;

    /// How often a node compares each of its rooms with the history, to find a loss at the tail that no later
    /// message shows. None: what is handed over is never lost.
    fn check_every(&self) -> Option<Duration> {
        Some(Duration::from_secs(30))
    }

    /// Called every second or so, for what has outlived its age.
    fn housekeep(&self, now: Instant) {
        let _ = now;
    }
}

/// A node, as a broker sees it. Neither call blocks.
pub trait Sink: Send + Sync + 'static {
    /// A message of some room.
    fn live(&self, message: Arc<Message>);

    /// Messages of this room, or of all rooms, may have been lost.
    fn lost(&self, room: Option<&RoomName>);
}

/// What is to be published.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs, reason = "made by the hub, read by brokers, which must know every part")]
pub struct Publish {
    /// The room.
    pub room: RoomName,
    /// The event.
    pub event: Event,
    /// The idempotency key: the same key within the broker's window publishes nothing and answers the position
    /// of the first time.
    pub key: Option<String>,
    /// What the room keeps.
    pub rooms: Rooms,
}

/// From where to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "brokers must know every one")]
pub enum ReadFrom {
    /// The oldest message kept.
    Start,
    /// So that the newest messages fit the limit.
    Tail,
    /// The message after this position.
    After(Position),
}

/// A contiguous piece of a room's history.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Slice {
    /// The position that the first message follows. For [`ReadFrom::After`] it is the position asked for exactly
    /// if the history from there on is complete; else the position before the oldest message kept.
    pub start: Position,
    /// The messages, oldest first.
    pub messages: Vec<Arc<Message>>,
    /// The position of the room's newest message at the time of reading.
    pub head: Position,
}

impl Slice {
    /// A slice.
    pub fn new(start: Position, messages: Vec<Arc<Message>>, head: Position) -> Self {
        Self { start, messages, head }
    }
}

/// Why a broker did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// It cannot be reached; nothing was done.
    #[error("the broker cannot be reached: {0}")]
    Unavailable(String),
    /// It did not answer in time; an event may have been published. Again with the same key is safe.
    #[error("the broker did not answer in time: {0}")]
    Unknown(String),
}
