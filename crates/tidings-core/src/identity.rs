//! Who a session belongs to.

use crate::Position;
use std::{any::Any, fmt, sync::Arc, time::SystemTime};

/// Who a session belongs to: a user name, until when that is so, and whatever the gate wants to remember. Cheap to clone.
#[derive(Clone, Default)]
pub struct Identity {
    /// None: nobody in particular. Behind one pointer, for every session has an identity.
    known: Option<Arc<Known>>,
}

#[derive(Clone, Default)]
struct Known {
    user: Option<Arc<str>>,
    claims: Option<Arc<dyn Any + Send + Sync>>,
    expiry: Option<SystemTime>,
    stranger: bool,
    /// Where in the words to all nodes its node stood when the gate was asked.
    since: Option<Position>,
}

impl Identity {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Somebody who says who it is by its first command, until a time if there is one. Before that it may do nothing else.
    pub(crate) fn stranger(until: Option<SystemTime>) -> Self {
        let known = Known { expiry: until, stranger: true, ..Known::default() };
        Self { known: Some(Arc::new(known)) }
    }

    pub(crate) fn is_stranger(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.stranger)
    }

    /// A named user.
    pub fn user(name: &str) -> Self {
        Self { known: Some(Arc::new(Known { user: Some(name.into()), ..Known::default() })) }
    }

    /// Adds what the gate wants to find again when it is asked about a room.
    #[must_use]
    pub fn with_claims<T: Any + Send + Sync>(mut self, claims: T) -> Self {
        self.known_mut().claims = Some(Arc::new(claims));
        self
    }

    /// Says until when it holds; for ever unless said. From then on nobody comes in with it, and a session that has it is
    /// ended, within a second, with the reason [`Expired`](crate::CloseReason::Expired).
    ///
    /// How long a session has is found out when it begins; the server's clock may be set to another time after that, and
    /// moves no session's end.
    #[must_use]
    pub fn with_expiry(mut self, at: SystemTime) -> Self {
        self.known_mut().expiry = Some(at);
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

    /// Until when it holds, if not for ever.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.known.as_ref()?.expiry
    }

    /// Says where in the words to all nodes its node stood before the gate was asked: what is said to end its user's sessions after
    /// that holds for this one, wherever it has got to.
    #[must_use]
    pub(crate) fn with_since(mut self, since: Position) -> Self {
        self.known_mut().since = Some(since);
        self
    }

    pub(crate) fn since(&self) -> Option<Position> {
        self.known.as_ref()?.since
    }

    fn known_mut(&mut self) -> &mut Known {
        Arc::make_mut(self.known.get_or_insert_default())
    }
}

impl fmt::Debug for Identity {
    /// Shows the name alone: claims may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.name()).finish()
    }
}
