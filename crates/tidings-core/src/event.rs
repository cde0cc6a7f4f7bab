//! What an application publishes.

use crate::{EventName, NameError};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;

/// What an application publishes: a name and a payload of JSON text, valid by construction.
///
/// Cloning is cheap: the payload is shared.
#[derive(Debug, Clone)]
pub struct Event {
    name: EventName,
    data: Bytes,
    last: bool,
    except: Option<Arc<str>>,
}

/// Why something cannot be an event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The name is no event name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The payload is not JSON, or cannot be written as JSON.
    #[error("the payload is not JSON: {0}")]
    Payload(#[from] serde_json::Error),
}

impl Event {
    /// An event whose payload is `data` written as JSON.
    ///
    /// # Errors
    /// If the name is no [`EventName`], or `data` cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(name: &str, data: &T) -> Result<Self, EventError> {
        Ok(Self {
            name: EventName::new(name)?,
            // Of its length: what it grew by while it was written, up to as much again, would stay for as long as the history.
            data: serde_json::to_vec(data)?.into_boxed_slice().into(),
            last: false,
            except: None,
        })
    }

    /// An event whose payload is JSON text already; it travels byte for byte. A part of a larger buffer keeps the whole of it for as
    /// long as the event is in a history.
    ///
    /// # Errors
    /// If the name is no [`EventName`], or the text is not one JSON value in UTF-8.
    pub fn from_json(name: &str, text: impl Into<Bytes>) -> Result<Self, EventError> {
        let data = text.into();
        serde_json::from_slice::<&RawValue>(&data)?;
        Ok(Self { name: EventName::new(name)?, data, last: false, except: None })
    }

    /// An event around a JSON value that a parser has just cut out of a larger text.
    pub(crate) fn from_raw(name: EventName, data: Box<RawValue>) -> Self {
        Self { name, data: Bytes::from(<Box<str>>::from(data).into_boxed_bytes()), last: false, except: None }
    }

    /// Marks the event as the last of its room: whoever has received it is told that nothing will follow, and a
    /// browser's event stream ends for good instead of coming back. It is the application's word; the room takes
    /// further events all the same.
    #[must_use]
    pub fn last(mut self) -> Self {
        self.last = true;
        self
    }

    /// Whether it is the last of its room.
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// Keeps the event from the sessions of a user: from whoever has caused it, and knows. It has its place in the room all
    /// the same, and their cursors pass it.
    #[must_use]
    pub fn except_user(self, user: &str) -> Self {
        self.with_except(Some(&format!("user {user}")))
    }

    /// Keeps the event from one session, by what its node calls it. A client that comes back is another session.
    pub(crate) fn except_session(self, session: &str) -> Self {
        self.with_except(Some(&format!("session {session}")))
    }

    /// From whom the event is kept, as a text for brokers, which carry it to all nodes.
    pub fn except(&self) -> Option<&str> {
        self.except.as_deref()
    }

    /// Sets what [`except`](Self::except) has answered elsewhere.
    #[must_use]
    pub fn with_except(mut self, except: Option<&str>) -> Self {
        self.except = except.map(Arc::from);
        self
    }

    /// Whether it is kept from a session of this user, which `is_session` knows by name.
    pub(crate) fn is_kept_from(&self, user: Option<&str>, is_session: impl FnOnce(&str) -> bool) -> bool {
        match self.except().and_then(|except| except.split_once(' ')) {
            Some(("user", name)) => user == Some(name),
            Some(("session", name)) => is_session(name),
            _ => false,
        }
    }

    /// The event's name.
    pub fn name(&self) -> &EventName {
        &self.name
    }

    /// The payload: JSON text in UTF-8.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The payload, parsed.
    ///
    /// # Errors
    /// If the payload has another shape than `T`.
    pub fn parse<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.data)
    }

    /// What the event counts for in a bound on bytes: name, payload and a fixed share for its bookkeeping.
    pub fn weight(&self) -> usize {
        self.name.as_str().len() + self.data.len() + self.except().map_or(0, str::len) + OVERHEAD
    }
}

/// The bookkeeping of one stored message: position, shared pointer, the slot of its first cached form.
const OVERHEAD: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_one_json_value_and_keeps_its_bytes() {
        let text = "{\"a\" :\r\n 1.0}";
        assert_eq!(Event::from_json("e", text).unwrap().data(), text.as_bytes());
        for bad in ["", "{", "1 2", "\"\\x\"", "NaN"] {
            assert!(Event::from_json("e", bad).is_err(), "{bad:?}");
        }
        assert!(Event::from_json("e", &b"\"\xff\""[..]).is_err());
    }

    #[test]
    fn a_name_that_would_break_a_stream_is_an_error_not_a_panic() {
        for bad in ["", "a\rb", "a\nb", "a\0b"] {
            assert!(matches!(Event::json(bad, &1), Err(EventError::Name(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_payload_holds_no_more_than_its_bytes() {
        for data in ["x".to_owned(), "x".repeat(100_000)] {
            let event = Event::json("e", &data).unwrap();
            let len = event.data.len();
            assert_eq!(event.data.try_into_mut().unwrap().capacity(), len);
        }
    }
}
