//! Subscribing from within the process.

use crate::{
    Encoder, From, GapReason, Hub, JoinError, Json, Message, Notice, Position, RoomName, Session, Transport,
    session::Item,
    transport::{Standing, Turn},
};
use bytes::BytesMut;
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// A stream of a room's messages within the process: for bots, tests and bridges. Dropping it leaves the room.
#[derive(Debug)]
pub struct Subscription {
    session: Session,
    cursor: Position,
}

/// What a [`Subscription`] brings.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_enums, reason = "a reader must handle both or lose the promise")]
pub enum Received {
    /// The next message.
    Message(Arc<Message>),
    /// Something is missing before the next message.
    Gap {
        /// The next message follows this position.
        id: Position,
        /// Why.
        reason: GapReason,
    },
}

impl Subscription {
    pub(crate) async fn new(hub: &Hub, room: RoomName, from: From) -> Result<Self, JoinError> {
        let mut session = hub.attach_inside(Arc::new(Inside)).map_err(|_| JoinError::Full)?;
        let joined = session.join(room, from).await?;
        Ok(Self { session, cursor: joined.cursor })
    }

    /// Where the subscription stands: after the last message or gap it gave.
    pub fn cursor(&self) -> Position {
        self.cursor
    }

    /// The next message or gap; none after the room's last event, or when the hub has ended all sessions. Cancel-safe: nothing is lost if the
    /// future is dropped.
    pub async fn next(&mut self) -> Option<Received> {
        poll_fn(|cx| self.poll_received(cx)).await
    }

    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        // One that always has something to read must hear it too.
        if self.session.is_closing() {
            return Poll::Ready(None);
        }
        loop {
            let received = match std::task::ready!(self.session.poll_item(cx)) {
                Err(_) => return Poll::Ready(None),
                Ok(Item::Message(message)) => Received::Message(message),
                Ok(Item::Notice(Notice::Gap { id, reason, .. })) => Received::Gap { id, reason },
                Ok(Item::Notice(Notice::End { .. })) => return Poll::Ready(None),
                Ok(Item::Notice(_)) => continue,
            };
            self.cursor = match &received {
                Received::Message(message) => message.position(),
                Received::Gap { id, .. } => *id,
            };
            return Poll::Ready(Some(received));
        }
    }
}

impl futures_core::Stream for Subscription {
    type Item = Received;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        self.poll_received(cx)
    }
}

impl Received {
    /// The message, if it is one.
    pub fn into_message(self) -> Option<Arc<Message>> {
        match self {
            Self::Message(message) => Some(message),
            Self::Gap { .. } => None,
        }
    }
}

/// The transport of sessions that give messages as they are.
pub(crate) struct Inside;

impl Transport for Inside {
    fn name(&self) -> &'static str {
        "inside"
    }

    fn turn(&self) -> Turn {
        Turn::Last
    }

    fn encoder(&self) -> &dyn Encoder {
        &Json
    }

    fn notice(&self, _: &Notice, _: Standing<'_>, _: &mut BytesMut) {}
}
