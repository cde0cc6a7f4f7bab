//! What the server tells one session beside messages.

use crate::{CommandError, Limits, Position, RoomName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{fmt, time::Duration};

/// What the server tells one session beside messages. Serialized, it is the JSON object of the wire.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Notice {
    /// What the client may ask for; comes first, where it asked to be told.
    Hello {
        /// The version of the protocol.
        version: u32,
        /// Milliseconds of silence after which a sign of life comes, where the transport has one.
        heartbeat: u64,
        /// Bounds on what it may ask for.
        limits: HelloLimits,
        /// In how many seconds the session expires, if it does.
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_in: Option<u64>,
    },
    /// The session is in a room; comes before any of the room's messages.
    Joined {
        /// The command's reference, where it had one.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
        /// The room.
        room: RoomName,
        /// Where the session stands in it.
        cursor: Position,
        /// Whether everything after the cursor that the client came with will follow; if not, a gap comes next.
        recovered: bool,
    },
    /// The session is out of a room.
    Left {
        /// The command's reference, where it had one.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
        /// The room.
        room: RoomName,
    },
    /// Something is missing; comes before anything newer.
    Gap {
        /// The room.
        room: RoomName,
        /// From where things go on: the next message follows this position.
        id: Position,
        /// Why.
        reason: GapReason,
    },
    /// The message before was the room's last; nothing will follow.
    End {
        /// The room.
        room: RoomName,
        /// The position of the last message.
        id: Position,
    },
    /// A room that the request of a session named is not open to it. The session goes on without it.
    #[serde(rename = "error")]
    Refused {
        /// The room.
        room: RoomName,
        /// For programs: one of the codes of the protocol.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// The answer to a ping.
    Pong {
        /// The command's reference.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
    },
    /// A command was done.
    Reply {
        /// The command's reference.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
        /// The position of what was published.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Position>,
        /// What was answered to a call.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<Box<RawValue>>,
    },
    /// A command was not done.
    Error {
        /// The command's reference, where it had one.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
        /// For programs: one of the codes of the protocol.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// The server ends the session.
    Close {
        /// Why.
        code: CloseReason,
        /// After how many milliseconds to come back: a random number between the two.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry: Option<[u32; 2]>,
    },
}

/// The bounds that a client is told of.
#[derive(Debug, Clone, Copy, Serialize)]
#[non_exhaustive]
pub struct HelloLimits {
    /// Rooms of one session.
    pub rooms: usize,
    /// Bytes of one command, as a WebSocket message or a request body.
    pub message: usize,
    /// Commands in one request body.
    pub commands: usize,
}

/// Why something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum GapReason {
    /// The history no longer reaches back to the cursor.
    Trimmed,
    /// The cursor stands in another history: the server or the broker has begun a new one.
    Epoch,
    /// A session read too slowly and the history has passed it.
    Slow,
}

/// Why the server ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CloseReason {
    /// The server shuts down; another one, or the next one, goes on.
    Drain,
    /// The right to be here has ended.
    Expired,
    /// The right to be here was taken away.
    Revoked,
    /// Too slow.
    Slow,
    /// It went on asking for more than it may.
    Rate,
    /// The hub is gone.
    Gone,
}

impl CloseReason {
    /// The window in which to come back, in milliseconds: wide enough that a fleet does not return at once. None:
    /// not at all.
    pub fn retry(self) -> Option<[u32; 2]> {
        match self {
            Self::Drain => Some([500, 5_000]),
            Self::Slow => Some([5_000, 15_000]),
            Self::Rate => Some([10_000, 30_000]),
            Self::Expired | Self::Revoked | Self::Gone => None,
        }
    }

    /// The notice that says so.
    pub fn notice(self) -> Notice {
        Notice::Close { code: self, retry: self.retry() }
    }
}

impl Notice {
    /// The first word to a client that asked for it. It knows what it may ask for, and how long its session has, if not for ever.
    pub fn hello(limits: &Limits, left: Option<Duration>) -> Self {
        let Limits { rooms, message, commands, heartbeat, .. } = *limits;
        Self::Hello {
            version: 1,
            heartbeat: u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX),
            limits: HelloLimits { rooms, message, commands },
            expires_in: left.map(|left| left.as_secs()),
        }
    }

    /// The notice as JSON text.
    pub fn to_json(&self) -> String {
        // Strings, numbers and JSON values: nothing that could fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<CommandError> for Notice {
    fn from(error: CommandError) -> Self {
        let CommandError { reference, code, message } = error;
        Self::Error { reference, code, message }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl GapReason {
    pub(crate) const ALL: [Self; 3] = [Self::Trimmed, Self::Epoch, Self::Slow];

    /// Its word in the protocol.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Epoch => "epoch",
            Self::Slow => "slow",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl CloseReason {
    pub(crate) const ALL: [Self; 6] =
        [Self::Drain, Self::Expired, Self::Revoked, Self::Slow, Self::Rate, Self::Gone];

    /// Its word in the protocol.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Slow => "slow",
            Self::Rate => "rate",
            Self::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_have_the_shape_of_the_wire() {
        let room = RoomName::new("a\"b").unwrap();
        let id = Position { epoch: 36, offset: 37, tag: 1 };
        let check = |notice: Notice, json: &str| assert_eq!(notice.to_json(), json);
        check(
            Notice::Joined { reference: Some(1), room: room.clone(), cursor: id, recovered: true },
            r#"{"type":"joined","ref":1,"room":"a\"b","cursor":"p10.11.1","recovered":true}"#,
        );
        check(
            Notice::Refused { room: room.clone(), code: "forbidden", message: "no".into() },
            r#"{"type":"error","room":"a\"b","code":"forbidden","message":"no"}"#,
        );
        check(
            Notice::hello(&Limits::default(), None),
            r#"{"type":"hello","version":1,"heartbeat":20000,"limits":{"rooms":256,"message":1048576,"commands":64}}"#,
        );
        check(
            Notice::Gap { room, id, reason: GapReason::Trimmed },
            r#"{"type":"gap","room":"a\"b","id":"p10.11.1","reason":"trimmed"}"#,
        );
        check(
            Notice::Reply { reference: Some(2), id: Some(id), data: None },
            r#"{"type":"reply","ref":2,"id":"p10.11.1"}"#,
        );
        check(
            Notice::Error { reference: None, code: "forbidden", message: "no".into() },
            r#"{"type":"error","code":"forbidden","message":"no"}"#,
        );
        check(CloseReason::Drain.notice(), r#"{"type":"close","code":"drain","retry":[500,5000]}"#);
    }
}
