//! Who may connect, join, publish and call.

use crate::{Event, RoomName};
use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc};

/// The head of a request, as a gate sees it.
pub use http::request::Parts as RequestHead;

/// A boxed answer of a gate.
pub type Decision<'a, T = ()> = Pin<Box<dyn Future<Output = Result<T, Denied>> + Send + 'a>>;

/// Who may connect, join, publish and call. Asked at exactly one place each, and again on every poll, join and
/// resume: a cursor grants nothing.
///
/// Only [`connect`](Self::connect) must be written; what is not written is allowed to whoever is connected. The
/// futures are dropped when the client goes away.
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

/// Who a session belongs to: a user name, and whatever the gate wants to remember. Cheap to clone.
#[derive(Clone, Default)]
pub struct Identity {
    /// None: nobody in particular. Behind one pointer, for every session has an identity.
    known: Option<Arc<Known>>,
}

#[derive(Clone, Default)]
struct Known {
    user: Option<Arc<str>>,
    claims: Option<Arc<dyn Any + Send + Sync>>,
}

impl Identity {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// A named user.
    pub fn user(name: &str) -> Self {
        Self { known: Some(Arc::new(Known { user: Some(name.into()), claims: None })) }
    }

    /// Adds what the gate wants to find again when it is asked about a room.
    #[must_use]
    pub fn with_claims<T: Any + Send + Sync>(mut self, claims: T) -> Self {
        Arc::make_mut(self.known.get_or_insert_default()).claims = Some(Arc::new(claims));
        self
    }

    /// The user's name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.known.as_ref()?.user.as_deref()
    }

    /// What [`with_claims`](Self::with_claims) was given, if it has this type.
    pub fn claims<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.known.as_ref()?.claims.as_deref()?.downcast_ref()
    }
}

impl fmt::Debug for Identity {
    /// Shows the name alone: claims may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.name()).finish()
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

    /// The code of the protocol, or the application's own.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::Invalid { code, .. } => code,
        }
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
