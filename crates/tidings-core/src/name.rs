//! Names of rooms and events, checked once on the way in.

use std::{fmt, sync::Arc};

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty.
    #[error("{what} must not be empty")]
    Empty {
        /// `a room name` or `an event name`.
        what: &'static str,
    },
    /// The text is longer than the limit, in bytes of UTF-8.
    #[error("{what} has at most {max} bytes, this one has {len}")]
    TooLong {
        /// `a room name` or `an event name`.
        what: &'static str,
        /// The limit, in bytes.
        max: usize,
        /// What was given, in bytes.
        len: usize,
    },
    /// The text holds a control character; CR, LF and NUL would break out of a field of an event stream
    /// (WHATWG HTML §9.2.6).
    #[error("{what} must not hold control characters")]
    Control {
        /// `a room name` or `an event name`.
        what: &'static str,
    },
    /// The text begins with a prefix that Tidings keeps for itself.
    #[error("{what} must not begin with {prefix:?}, which is kept for Tidings itself")]
    Reserved {
        /// `a room name` or `an event name`.
        what: &'static str,
        /// The prefix.
        prefix: &'static str,
    },
}

impl RoomName {
    /// The room of a user: `~user:` and the name. The application publishes there what is for all of the user's sessions;
    /// no other user can enter it.
    ///
    /// # Errors
    /// See [`NameError`]; a user's name is no longer than the room's allows.
    pub fn of_user(user: &str) -> Result<Self, NameError> {
        Self::new(&format!("{USER}{user}"))
    }

    /// Whose room it is, if it is a user's.
    pub fn user(&self) -> Option<&str> {
        self.0.strip_prefix(USER)
    }

    /// The room that tells who is in a room: `~presence:` and the room's name. Whoever may join the one may join the other,
    /// where the class of the room has a [`Presence`](crate::Presence); nobody can publish there.
    ///
    /// # Errors
    /// See [`NameError`]: the room's name has at most 190 bytes, and is not of this kind itself.
    pub fn of_presence(room: &Self) -> Result<Self, NameError> {
        Self::new(&format!("{PRESENCE}{room}"))
    }

    /// The room whose members it tells, if it tells any.
    pub fn presence_of(&self) -> Option<Self> {
        self.told().map(|room| Self(room.into()))
    }

    /// The name of the room whose members it tells, if it tells any.
    pub(crate) fn told(&self) -> Option<&str> {
        self.0.strip_prefix(PRESENCE)
    }

    /// The room of the words to all nodes.
    pub(crate) fn control() -> Self {
        Self("~control".into())
    }

    /// The room of the nodes' words about who is in this one.
    pub(crate) fn members(&self) -> Self {
        Self(format!("{MEMBERS}{}", self.0).into())
    }

    /// The room whose members the nodes tell one another here, if they do.
    pub(crate) fn members_of(&self) -> Option<Self> {
        self.0.strip_prefix(MEMBERS).map(|room| Self(room.into()))
    }

    /// The room of the nodes' signs of life.
    pub(crate) fn nodes() -> Self {
        Self("~nodes".into())
    }

    /// The room of one of the lists of rooms in which a node tells members.
    pub(crate) fn journal(node: u64, shard: u8) -> Self {
        Self(format!("{JOURNAL}{node:x}:{shard}").into())
    }

    /// Whether it is one that only nodes use: no client can name it.
    pub(crate) fn kept(&self) -> Option<Reserved> {
        match &*self.0 {
            name if !name.starts_with('~') || name.starts_with(USER) => None,
            name if name.starts_with(PRESENCE) => Some(Reserved::Presence),
            name if name.starts_with(MEMBERS) => Some(Reserved::Members),
            name if name.starts_with(JOURNAL) => Some(Reserved::Journal),
            _ => Some(Reserved::Words),
        }
    }
}

/// The kinds of rooms that Tidings keeps for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// Who is in a room, for clients.
    Presence,
    /// The same, among nodes.
    Members,
    /// In which rooms a node tells members.
    Journal,
    /// Words to all nodes.
    Words,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:literal, $reserved:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The longest name, in bytes of UTF-8.
            pub const MAX: usize = $max;

            /// Checks and takes a name.
            ///
            /// # Errors
            /// See [`NameError`].
            pub fn new(name: &str) -> Result<Self, NameError> {
                check(name, $what, Self::MAX, $reserved)?;
                Ok(Self(name.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $type {
            type Error = NameError;
            fn try_from(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }

        impl TryFrom<&Self> for $type {
            type Error = NameError;
            fn try_from(name: &Self) -> Result<Self, NameError> {
                Ok(name.clone())
            }
        }

        impl std::ops::Deref for $type {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

name! {
    /// The name of a room: 1 to 200 bytes of UTF-8 with no control character, not beginning with `~`, unless it is the room
    /// of a user ([`of_user`](Self::of_user)) or tells who is in a room ([`of_presence`](Self::of_presence)).
    RoomName, "a room name", 200, "~"
}

name! {
    /// The name of an event: 1 to 100 bytes of UTF-8 with no control character, not beginning with `tidings.`,
    /// the names of our own notices on an event stream.
    EventName, "an event name", 100, "tidings."
}

fn check(name: &str, what: &'static str, max: usize, reserved: &'static str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > max {
        return Err(NameError::TooLong { what, max, len: name.len() });
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::Control { what });
    }
    let is_user_room = |name: &str| name.len() > USER.len() && name.starts_with(USER);
    let is_open = |name: &str| match name.strip_prefix(PRESENCE) {
        Some(room) => !room.is_empty() && (!room.starts_with('~') || is_user_room(room)),
        None => is_user_room(name),
    };
    if name.starts_with(reserved) && !(reserved == "~" && is_open(name)) {
        return Err(NameError::Reserved { what, prefix: reserved });
    }
    Ok(())
}

/// What the rooms of users begin with.
const USER: &str = "~user:";
/// What the rooms begin with that tell who is in a room, and those of the nodes about it.
const PRESENCE: &str = "~presence:";
const MEMBERS: &str = "~members:";
const JOURNAL: &str = "~node:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_on_the_way_in() {
        assert!(RoomName::new("général: 1/2").is_ok());
        assert!(RoomName::new(&"r".repeat(200)).is_ok());
        assert_eq!(RoomName::new(""), Err(NameError::Empty { what: "a room name" }));
        assert_eq!(
            RoomName::new(&"r".repeat(201)),
            Err(NameError::TooLong { what: "a room name", max: 200, len: 201 })
        );
        for bad in ["a\rb", "a\nb", "a\0b", "\u{85}", "\u{7f}"] {
            assert_eq!(RoomName::new(bad), Err(NameError::Control { what: "a room name" }), "{bad:?}");
            assert_eq!(EventName::new(bad), Err(NameError::Control { what: "an event name" }), "{bad:?}");
        }
        let nested = "~presence:~presence:a";
        for reserved in
            ["~", "~u:7", "~user", "~user:", "~control", "~presence:", "~presence:~control", nested]
        {
            assert!(matches!(RoomName::new(reserved), Err(NameError::Reserved { .. })), "{reserved}");
        }
        assert!(matches!(EventName::new("tidings.gap"), Err(NameError::Reserved { .. })));
    }

    #[test]
    fn a_user_has_a_room() {
        let room = RoomName::of_user("ann").unwrap();
        assert_eq!((room.as_str(), room.user()), ("~user:ann", Some("ann")));
        assert_eq!(RoomName::new("~user:ann"), Ok(room));
        assert_eq!(RoomName::new("user:ann").unwrap().user(), None);
        assert!(matches!(RoomName::of_user(""), Err(NameError::Reserved { .. })));
        assert!(matches!(RoomName::of_user(&"u".repeat(200)), Err(NameError::TooLong { .. })));
    }

    #[test]
    fn a_room_has_another_that_tells_who_is_in_it() {
        let room = RoomName::new("a").unwrap();
        let told = RoomName::of_presence(&room).unwrap();
        assert_eq!((told.as_str(), told.presence_of()), ("~presence:a", Some(room.clone())));
        assert_eq!((told.user(), room.presence_of()), (None, None));
        let of_user = RoomName::of_presence(&RoomName::of_user("ann").unwrap()).unwrap();
        assert_eq!(of_user.presence_of().unwrap().user(), Some("ann"));
        assert!(matches!(RoomName::of_presence(&told), Err(NameError::Reserved { .. })));
        let long = RoomName::new(&"r".repeat(191)).unwrap();
        assert!(matches!(RoomName::of_presence(&long), Err(NameError::TooLong { .. })));
    }
}
