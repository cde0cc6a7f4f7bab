//! What goes through a [`Socket`](crate::Socket).

use crate::{close::CloseFrame, decode::Incoming};
use bytes::Bytes;
use std::{borrow::Cow, fmt, ops::Deref, str::Utf8Error};
use tungstenite::Utf8Bytes;

/// One message or control frame, in either direction. A clone shares the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// A text message.
    Text(Text),
    /// A binary message.
    Binary(Bytes),
    /// A ping. One that is received has been answered already; of one that is sent, the first 125 bytes count.
    Ping(Bytes),
    /// A pong: the answer to a ping, or a sign of life of its own (RFC 6455 §5.5.3).
    Pong(Bytes),
    /// The close frame, the last message of its direction.
    Close(CloseFrame),
}

impl Message {
    /// A text message.
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    /// A binary message.
    pub fn binary(payload: impl Into<Bytes>) -> Self {
        Self::Binary(payload.into())
    }
}

impl From<Incoming<'_>> for Message {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(Cow::Borrowed(text)) => Self::text(text),
            Incoming::Text(Cow::Owned(text)) => Self::text(text),
            Incoming::Binary(payload) => Self::Binary(shared(payload)),
            Incoming::Ping(payload) => Self::Ping(shared(payload)),
            Incoming::Pong(payload) => Self::Pong(shared(payload)),
            Incoming::Close(frame) => Self::Close(frame),
        }
    }
}

fn shared(payload: Cow<'_, [u8]>) -> Bytes {
    match payload {
        Cow::Borrowed(payload) => Bytes::copy_from_slice(payload),
        Cow::Owned(payload) => payload.into(),
    }
}

/// Text of a message: [`Bytes`] that are known to be UTF-8. A clone shares them.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Utf8Bytes);

impl Text {
    /// The text as a slice, without looking at it again.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl TryFrom<Bytes> for Text {
    type Error = Utf8Error;

    fn try_from(bytes: Bytes) -> Result<Self, Utf8Error> {
        Utf8Bytes::try_from(bytes).map(Self)
    }
}

impl From<Text> for Bytes {
    fn from(text: Text) -> Self {
        text.0.into()
    }
}
