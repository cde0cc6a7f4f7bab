//! Doing what a client asks for.

use super::{
    Mailbox,
    subscription::{PAGE, gap},
};
use crate::{
    Command, Denied, From, GapReason, Identity, Message, NameError, Notice, Position, RoomName,
    broker::{BrokerError, ReadFrom},
    hub::{Begin, Membership, Node},
};
use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc};
use tokio::time::{Instant, timeout_at};

/// A command under way.
pub(super) type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

pub(super) enum Done {
    Notice(Notice),
    Entered { key: usize, reference: Option<u64>, result: Result<Entered, JoinError> },
}

/// A session's place in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// The room.
    pub room: RoomName,
    /// Where the session stands: before the gap, if one comes next.
    pub cursor: Position,
    /// Whether everything after the cursor that was asked for will follow; if not, a gap comes next.
    pub recovered: bool,
}

/// Why a session cannot enter a room.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The name is no room name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The gate said no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The session is in as many rooms as it may.
    #[error("a session may be in {max} rooms at most")]
    TooManyRooms {
        /// The limit.
        max: usize,
    },
    /// The broker did not answer in time; later it may.
    #[error("the room's history cannot be read now")]
    Unavailable,
}

/// Why an event was not published.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The name is no room name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The gate said no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The payload is too large.
    #[error("the payload has {len} bytes, at most {max} are taken")]
    TooLarge {
        /// The payload's bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The broker did not take it.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl Joined {
    pub(super) fn notice(self, reference: Option<u64>) -> Notice {
        let Self { room, cursor, recovered } = self;
        Notice::Joined { reference, room, cursor, recovered }
    }
}

impl JoinError {
    /// The code of the protocol.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "bad_room",
            Self::Denied(denied) => denied.code(),
            Self::TooManyRooms { .. } => "too_many_rooms",
            Self::Unavailable => "unavailable",
        }
    }

    pub(super) fn notice(self, reference: Option<u64>) -> Notice {
        Notice::Error { reference, code: self.code(), message: self.to_string() }
    }
}

impl PublishError {
    /// The code of the protocol.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "bad_room",
            Self::Denied(denied) => denied.code(),
            Self::TooLarge { .. } => "too_large",
            Self::Broker(BrokerError::Unavailable(_)) => "unavailable",
            Self::Broker(BrokerError::Unknown(_)) => "unknown_outcome",
        }
    }

    /// For the client: what the broker said is for the log alone.
    fn public(&self) -> String {
        match self {
            Self::Broker(BrokerError::Unavailable(_)) => "the event was not published; try again".to_owned(),
            Self::Broker(BrokerError::Unknown(_)) => {
                "it is not known whether the event was published; try again with the same key".to_owned()
            }
            error => error.to_string(),
        }
    }
}

/// A session in a room, before it is one of its subscriptions.
pub(super) struct Entered {
    pub(super) membership: Membership,
    pub(super) cursor: Position,
    pub(super) gap: Option<(GapReason, Position)>,
    pub(super) taken: VecDeque<Arc<Message>>,
}

impl Entered {
    pub(super) fn joined(&self) -> Joined {
        Joined { room: self.membership.room.name.clone(), cursor: self.cursor, recovered: self.gap.is_none() }
    }
}

/// Enters a room. If the future is dropped half-way the membership goes with it.
pub(super) async fn enter(
    node: Arc<Node>,
    who: Option<Identity>,
    mailbox: Arc<Mailbox>,
    key: usize,
    room: RoomName,
    from: From,
) -> Result<Entered, JoinError> {
    if let Some(who) = &who {
        node.gate.join(who, &room).await?;
    }
    let deadline = Instant::now() + node.limits.join_wait;
    let membership = node.enter(&room, mailbox, key);
    timeout_at(deadline, membership.room.known()).await.map_err(|_| JoinError::Unavailable)?;
    let begin = membership.room.begin(from, Instant::now());
    let read = match begin {
        Begin::At(cursor) => {
            return Ok(Entered { membership, cursor, gap: None, taken: VecDeque::new() });
        }
        Begin::Read(read) => read,
    };
    let slice = timeout_at(deadline, async {
        let _turn = node.reads.acquire().await;
        node.broker.read(&room, read, PAGE).await
    })
    .await
    .map_err(|_| JoinError::Unavailable)?
    .map_err(|_| JoinError::Unavailable)?;
    let gap = match read {
        ReadFrom::After(cursor) => gap(membership.room.rooms.kind(), cursor, &slice, false),
        ReadFrom::Start | ReadFrom::Tail => None,
    };
    let cursor = match read {
        // Until the gap is told the client stands where it said.
        ReadFrom::After(cursor) if gap.is_some() => cursor,
        _ => slice.start,
    };
    Ok(Entered { membership, cursor, gap, taken: slice.messages.into() })
}

/// Publishes or calls, and says what came of it.
pub(crate) async fn perform(node: Arc<Node>, who: Option<Identity>, command: Command) -> Notice {
    match command {
        Command::Publish { reference, room, event, key } => {
            match publish(&node, who, room, event, key).await {
                Ok(position) => Notice::Reply {
                    reference,
                    id: (position != Position::UNKNOWN).then_some(position),
                    data: None,
                },
                Err(error) => Notice::Error { reference, code: error.code(), message: error.public() },
            }
        }
        Command::Call { reference, method, data } => {
            if let Some(who) = &who
                && let Err(denied) = node.gate.call(who, &method).await
            {
                return Notice::Error { reference, code: denied.code(), message: denied.to_string() };
            }
            match node.calls().call(who.unwrap_or_default(), &method, data).await {
                Ok(data) => Notice::Reply { reference, id: None, data: Some(data) },
                Err(error) => Notice::Error { reference, code: error.code, message: error.message },
            }
        }
        Command::Join { reference, .. } | Command::Leave { reference, .. } => Notice::Error {
            reference,
            code: "no_stream",
            message: "join and leave need a stream; name the rooms in the stream's own request".to_owned(),
        },
    }
}

async fn publish(
    node: &Node,
    who: Option<Identity>,
    room: RoomName,
    event: crate::Event,
    key: Option<String>,
) -> Result<Position, PublishError> {
    if let Some(who) = &who {
        node.gate.publish(who, &room, &event).await?;
    }
    node.publish(room, event, key).await
}
