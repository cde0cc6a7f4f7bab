//! Who may connect, join, publish and call.

use crate::{Event, Notice, RoomName};
use std::{future::Future, pin::Pin};

pub use crate::identity::Identity;

/// The head of a request, as a gate sees it.
pub use http::request::Parts as RequestHead;

/// A boxed answer of a gate.
pub type Decision<'a, T = ()> = Pin<Box<dyn Future<Output = Result<T, Denied>> + Send + 'a>>;

/// Who may connect, join, publish and call. Asked at exactly one place each, and again on every poll, join and
/// resume: a cursor grants nothing.
///
/// Only [`connect`](Self::connect) must be written; what is not written is allowed to whoever is connected. The
/// futures are dropped when the client goes away, and when they have taken as long as
/// [`Limits::gate_wait`](crate::Limits::gate_wait): then the answer is no. So it is if they panic.
pub trait Gate: Send + Sync + 'static {
    /// Who is it, by the head of the request.
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity>;

    /// May it read this room?
    fn join<'a>(&'a self, who: &'a Identity, room: &'a RoomName) -> Decision<'a> {
        let _ = (who, room);
        Box::pin(std::future::ready(Ok(())))
    }

    /// May it publish this event into this room?
    fn publish<'a>(&'a self, who: &'a Identity, room: &'a RoomName, event: &'a Event) -> Decision<'a> {
        let _ = (who, room, event);
        Box::pin(std::future::ready(Ok(())))
    }

    /// May it call this method?
    fn call<'a>(&'a self, who: &'a Identity, method: &'a str) -> Decision<'a> {
        let _ = (who, method);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A gate's no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// Nobody knows who it is (HTTP 401).
    #[error("{0}")]
    Unauthorized(String),
    /// It is known who it is, and that is the reason (HTTP 403).
    #[error("{0}")]
    Forbidden(String),
    /// It is not the client, it is what was asked for (HTTP 400).
    #[error("{message}")]
    Invalid {
        /// For programs.
        code: &'static str,
        /// For people; goes to the client.
        message: String,
    },
    /// It cannot be said now (HTTP 503).
    #[error("{0}")]
    Unavailable(String),
    /// The gate has panicked (HTTP 500).
    #[error("the server has failed at this")]
    Internal,
}

impl Denied {
    /// The credentials are missing or wrong. The message goes to the client.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::Unauthorized(message.into())
    }

    /// The credentials are right and not enough. The message goes to the client.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::Forbidden(message.into())
    }

    /// Whoever asks might, but not for this: an event that the application does not take, say. Code and message go to
    /// the client.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { code, message: message.into() }
    }

    /// It cannot be said now: what would be asked is out of reach, say. The message goes to the client, which comes back.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable(message.into())
    }

    /// The code of the protocol, or the application's own.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::Invalid { code, .. } => code,
            Self::Unavailable(_) => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The answer to a command.
    pub(crate) fn notice(&self, reference: Option<u64>) -> Notice {
        Notice::Error { reference, code: self.code(), message: self.to_string() }
    }
}

/// A gate that lets anybody do anything: for public data and for trying things out.
pub fn open() -> impl Gate {
    struct Open;
    impl Gate for Open {
        fn connect<'a>(&'a self, _: &'a RequestHead) -> Decision<'a, Identity> {
            Box::pin(std::future::ready(Ok(Identity::anonymous())))
        }
    }
    Open
}

/// A gate that lets anybody read any room and nobody publish: for public data that the application alone writes.
/// Calls are let through, for their methods are the application's own.
pub fn read_only() -> impl Gate {
    struct ReadOnly;
    impl Gate for ReadOnly {
        fn connect<'a>(&'a self, _: &'a RequestHead) -> Decision<'a, Identity> {
            Box::pin(std::future::ready(Ok(Identity::anonymous())))
        }

        fn publish<'a>(&'a self, _: &'a Identity, _: &'a RoomName, _: &'a Event) -> Decision<'a> {
            Box::pin(std::future::ready(Err(Denied::forbidden("clients do not publish here"))))
        }
    }
    ReadOnly
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_may_only_read_does_everything_but_publish() {
        let gate = read_only();
        let (head, ()) = http::Request::new(()).into_parts();
        let who = gate.connect(&head).await.unwrap();
        assert_eq!(who.name(), None);
        let room = RoomName::new("news").unwrap();
        assert_eq!(gate.join(&who, &room).await, Ok(()));
        assert_eq!(gate.call(&who, "ask").await, Ok(()));
        let event = Event::json("headline", &1).unwrap();
        assert!(matches!(gate.publish(&who, &room, &event).await, Err(Denied::Forbidden(_))));
    }
}
