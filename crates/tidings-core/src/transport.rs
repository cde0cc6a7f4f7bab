//! How a session's messages reach one kind of client.

use crate::{Cursor, Encoder, Notice, RoomName};
use bytes::BytesMut;

/// How a session's messages reach one kind of client: the byte form of messages, which all receivers share, and
/// that of the session's own notices.
///
/// No I/O: whoever owns the connection pulls the bytes from its [`Session`](crate::Session) and writes them.
pub trait Transport: Send + Sync + 'static {
    /// A short name for metrics and logs: `ws`, `sse`, `poll`.
    fn name(&self) -> &'static str;

    /// When its sessions are ended as the node [drains](crate::Hub::drain).
    fn turn(&self) -> Turn {
        Turn::Next
    }

    /// The form of messages.
    fn encoder(&self) -> &dyn Encoder;

    /// Appends a notice in this transport's form; nothing, where the transport does not tell it.
    fn notice(&self, notice: &Notice, standing: Standing<'_>, out: &mut BytesMut);

    /// Appends what must stand before a shared message for this session alone: the id line of an event stream
    /// over several rooms. Nothing, for most.
    fn mark(&self, standing: Standing<'_>, out: &mut BytesMut) {
        let _ = (standing, out);
    }

    /// Whether [`mark`](Self::mark) has anything to say, so that nobody works for nothing.
    fn marks(&self) -> bool {
        false
    }
}

/// When sessions are ended as their node [drains](crate::Hub::drain).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Turn {
    /// At once: they are answered and over in any case, and their clients come back by themselves.
    First,
    /// One after the other, for each of their clients then connects elsewhere.
    Next,
    /// When no client has a session any more.
    Last,
}

/// Where a session stands in all its rooms, at the moment a message or a notice is written.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    pub(crate) session: &'a crate::session::Subscriptions,
}

impl Standing<'_> {
    /// The rooms, sorted by name, and the cursor over them.
    pub fn cursor(&self) -> (Vec<RoomName>, Cursor) {
        self.session.cursor()
    }
}
