//! Who may connect, join, publish and call.

use crate::{Event, Notice, RoomName};
use http::header::AUTHORIZATION;
use std::{future::Future, pin::Pin};

pub use crate::identity::Identity;

/// The head of a request, as a gate sees it.
pub use http::request::Parts as RequestHead;

/// A boxed answer of a gate.
pub type Decision<'a, T = ()> = Pin<Box<dyn Future<Output = Result<T, Denied>> + Send + 'a>>;

/// Who may connect, join, publish and call. Asked at exactly one place each, and again on every poll, join and
/// resume: a cursor grants nothing.
///
/// Where clients show tokens, only [`token`](Self::token) must be written; where they show something else, such as a cookie, only
/// [`connect`](Self::connect). Without either nobody comes in. The rest is allowed, unless written, to whoever is connected. The
/// futures are dropped when the client goes away, and when they have taken as long as
/// [`Limits::gate_wait`](crate::Limits::gate_wait): then the answer is no. So it is if they panic.
pub trait Gate: Send + Sync + 'static {
    /// Who is it, by the head of the request; by its [`bearer`] token, unless written.
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        match bearer(head) {
            Some(token) => self.token(token),
            None => Box::pin(std::future::ready(Err(Denied::unauthorized("a token is needed")))),
        }
    }

    /// Who is it, by a token: one that came with a request, or by the command `auth`, with which a session goes on when it would
    /// expire. Nobody, unless written.
    ///
    /// The token is a secret: do not log it.
    fn token<'a>(&'a self, token: &'a str) -> Decision<'a, Identity> {
        let _ = token;
        Box::pin(std::future::ready(Err(Denied::unauthorized("no tokens are taken here"))))
    }

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

/// The bearer token of a request (RFC 6750 §2.1), if it has one. That which a page has put into the subprotocols of its
/// WebSocket, for it cannot set header fields, is where all the others are.
pub fn bearer(head: &RequestHead) -> Option<&str> {
    let mut lines = head.headers.get_all(AUTHORIZATION).into_iter();
    let line = lines.next()?.to_str().ok()?;
    // Of several, others on the way may have looked at another one.
    if lines.next().is_some() {
        return None;
    }
    let (scheme, token) = line.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' ')).filter(|token| !token.is_empty())
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

    #[test]
    fn a_bearer_token_is_read_as_it_is_written() {
        let token = |lines: &[&'static str]| {
            let lines = lines.iter().map(|line| (AUTHORIZATION, http::HeaderValue::from_static(line)));
            let (mut head, ()) = http::Request::new(()).into_parts();
            head.headers.extend(lines);
            bearer(&head).map(str::to_owned)
        };
        for good in ["Bearer a.b-c", "bearer a.b-c", "BEARER  a.b-c "] {
            assert_eq!(token(&[good]).as_deref(), Some("a.b-c"), "{good:?}");
        }
        for bad in [&[][..], &[""], &["Bearer"], &["Bearer "], &["Basic a.b-c"], &["Bearer a", "Bearer b"]] {
            assert_eq!(token(bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn without_a_word_of_the_application_nobody_comes_in() {
        struct Silent;
        impl Gate for Silent {}
        let (mut head, ()) = http::Request::new(()).into_parts();
        assert!(matches!(Silent.connect(&head).await, Err(Denied::Unauthorized(_))));
        head.headers.insert(AUTHORIZATION, http::HeaderValue::from_static("Bearer a"));
        assert!(matches!(Silent.connect(&head).await, Err(Denied::Unauthorized(_))));
    }

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
