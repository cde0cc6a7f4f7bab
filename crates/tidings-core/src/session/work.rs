//! Doing what a client asks for.

use super::{
    Mailbox,
    auth::{Renewed, identify, renewed},
    subscription::PAGE,
    task::Task,
};
use crate::{
    Command, Denied, From, Identity, NameError, Notice, Position, RoomName,
    broker::BrokerError,
    hub::{Membership, Node},
    reader::Reader,
};
use std::{future::Future, pin::Pin, sync::Arc};
use tokio::time::{Instant, timeout};

/// A command under way.
pub(super) type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

pub(super) enum Done {
    Notice(Notice),
    Renewed { reference: Option<u64>, result: Result<Renewed, Denied> },
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
    /// The room is to tell who is in another, of which that is not told.
    #[error("it is not told who is in this room")]
    NoPresence,
    /// The node has as many rooms as it takes; later it may have fewer.
    #[error("the server has as many rooms as it takes")]
    Full,
    /// The sessions of this address are in as many rooms as they may; later they may be in fewer.
    #[error("the sessions of this address are in {max} rooms, and may be in no more")]
    AddressFull {
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
            Self::Name(_) | Self::NoPresence => "bad_room",
            Self::Denied(denied) => denied.code(),
            Self::TooManyRooms { .. } => "too_many_rooms",
            Self::Full | Self::AddressFull { .. } => "busy",
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
    pub(super) reader: Reader,
}

impl Entered {
    pub(super) fn joined(&self) -> Joined {
        Joined {
            room: self.membership.room.name.clone(),
            cursor: self.reader.cursor(),
            recovered: !self.reader.is_before_gap(),
        }
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
    let counts = Arc::clone(&node.counts);
    let entered = try_to_enter(node, who, mailbox, key, room, from).await;
    match (&entered, from) {
        (Err(error), _) => counts.refused.add(error.code()),
        (Ok(_), From::Now) => counts.joins.add("now"),
        (Ok(_), From::Start) => counts.joins.add("start"),
        (Ok(entered), From::After(_)) => {
            counts.joins.add(if entered.joined().recovered { "resumed" } else { "missed" });
        }
    }
    entered
}

/// Asks whether somebody may be in a room. Who may be in a room may see who else is.
pub(super) async fn ask_to_join(node: &Node, who: &Identity, room: &RoomName) -> Result<(), Denied> {
    let told = room.presence_of();
    node.ask("join", |gate| gate.join(who, told.as_ref().unwrap_or(room))).await
}

async fn try_to_enter(
    node: Arc<Node>,
    who: Option<Identity>,
    mailbox: Arc<Mailbox>,
    key: usize,
    room: RoomName,
    from: From,
) -> Result<Entered, JoinError> {
    let mut since = None;
    let told = room.presence_of();
    if told.as_ref().is_some_and(|told| node.presence_of(told).is_none()) {
        return Err(JoinError::NoPresence);
    }
    let asked = told.as_ref().unwrap_or(&room);
    if let Some(who) = &who {
        if asked.user().is_some_and(|user| Some(user) != who.name()) {
            return Err(Denied::forbidden("this room is another user's").into());
        }
        let hearing = timeout(node.limits.join_wait, node.hearing()).await;
        since = hearing.map_err(|_| JoinError::Unavailable)?;
        ask_to_join(&node, who, &room).await?;
    }
    let mut membership = node.enter(&room, mailbox, key)?;
    let begun = async {
        membership.room.known().await;
        let read = match membership.room.begin(from, Instant::now()) {
            Ok(reader) => return Ok::<_, JoinError>(reader),
            Err(read) => read,
        };
        let (reads, name, rooms) = (Arc::clone(&node), room.clone(), membership.room.rooms);
        let slice = Task::spawn(async move {
            let _turn = reads.reads.acquire().await;
            let slice = reads.broker.read(&name, rooms, read, PAGE).await;
            slice.inspect_err(|error| reads.quotas.note_broker("read", error))
        });
        let slice = slice.await.and_then(Result::ok).ok_or(JoinError::Unavailable)?;
        Ok(Reader::begin_with(membership.room.rooms.kind(), read, slice, node.limits.batch))
    };
    let reader = timeout(node.limits.join_wait, begun).await.map_err(|_| JoinError::Unavailable)??;
    if let (Some(who), Some(since)) = (&who, since) {
        // The gate may have looked before.
        node.holds_since(since, who, &room)?;
    }
    membership.sit(&node, who.as_ref());
    Ok(Entered { membership, reader })
}

/// Publishes, calls, or looks at a token, and says what came of it. `session` is the serial number of the one that asks, if
/// one does.
pub(crate) async fn perform(
    node: Arc<Node>,
    who: Option<Identity>,
    session: Option<u32>,
    command: Command,
) -> Notice {
    let notice = answer(&node, who, session, command).await;
    if let Notice::Error { code, .. } = &notice {
        node.counts.refused.add(code);
    }
    notice
}

async fn answer(node: &Node, who: Option<Identity>, session: Option<u32>, command: Command) -> Notice {
    match command {
        Command::Publish { reference, echo: false, .. } if session.is_none() => Notice::Error {
            reference,
            code: "no_stream",
            message: "\"echo\" is for a WebSocket, by which the sender would be given the event".to_owned(),
        },
        Command::Publish { reference, room, event, key, echo } => {
            let event = match session.filter(|_| !echo) {
                Some(session) => event.except_session(&node.session_name(session)),
                None => event,
            };
            match publish(node, who, room, event, key).await {
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
                && let Err(denied) = node.ask("call", |gate| gate.call(who, &method)).await
            {
                return denied.notice(reference);
            }
            let call = node.calls().call(who.unwrap_or_default(), &method, data);
            match node.guard("call", node.limits.call_wait, call).await {
                Ok(data) => Notice::Reply { reference, id: None, data: Some(data) },
                Err(error) => Notice::Error { reference, code: error.code, message: error.message },
            }
        }
        Command::Auth { reference, token } => match identify(node, &who.unwrap_or_default(), &token).await {
            Ok(who) => renewed(node, &who, reference),
            Err(denied) => denied.notice(reference),
        },
        Command::Ping { reference } => Notice::Pong { reference },
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
        if room.user().is_some() {
            return Err(Denied::forbidden("the room of a user is written by the application").into());
        }
        if room.told().is_some() {
            return Err(Denied::forbidden("who is in a room is told by the server").into());
        }
        node.ask("publish", |gate| gate.publish(who, &room, &event)).await?;
    }
    // A key is its sender's own: nobody can use up another's, nor the application's.
    let key = key.map(|key| match who.as_ref().map(Identity::name) {
        None => format!("inside {key}"),
        Some(None) => format!("anonymous {key}"),
        Some(Some(name)) => format!("user {} {name} {key}", name.len()),
    });
    node.publish(room, event, key).await
}
