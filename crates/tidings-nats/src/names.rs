//! What streams and subjects are called.

use tidings_core::{Kind, RoomName, Rooms};

/// The names of one installation. All its nodes must have the same.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
    /// Streams of each kind that rooms are spread over.
    pub(crate) partitions: u32,
}

/// Which stream a room is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) class: Class,
    pub(crate) partition: u32,
}

/// Rooms that share streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Log,
    /// A stream of its own, or each value would be kept as often as a log keeps events.
    Latest,
}

impl Class {
    /// None: such rooms are in no stream.
    pub(crate) fn of(rooms: Rooms) -> Option<Self> {
        match rooms.kind() {
            Kind::Log => Some(Self::Log),
            Kind::Latest => Some(Self::Latest),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Latest => "latest",
        }
    }
}

impl Names {
    /// `prefix` is of letters, digits, `-` and `_`.
    pub(crate) fn new(prefix: String, partitions: u32) -> Self {
        Self { prefix, partitions }
    }

    pub(crate) fn place(&self, class: Class, room: &RoomName) -> Place {
        let partition = (hash(room.as_bytes()) % u64::from(self.partitions)) as u32;
        Place { class, partition }
    }

    pub(crate) fn stream(&self, place: Place) -> String {
        format!("{}_{}_{}", self.prefix, place.class.name(), place.partition)
    }

    /// A stream that is there if any is, most likely.
    pub(crate) fn any_stream(&self) -> String {
        self.stream(Place { class: Class::Log, partition: 0 })
    }

    /// All subjects of a stream.
    pub(crate) fn subjects(&self, place: Place) -> String {
        format!("{}.{}.{}.>", self.prefix, place.class.name(), place.partition)
    }

    /// Where a stream hands over what it has stored: not one of its own subjects.
    pub(crate) fn live_subjects(&self, place: Place) -> String {
        format!("{}.live.{}.{}.>", self.prefix, place.class.name(), place.partition)
    }

    pub(crate) fn subject(&self, place: Place, room: &RoomName) -> String {
        format!("{}.{}.{}.{}", self.prefix, place.class.name(), place.partition, token(room))
    }

    pub(crate) fn live_subject(&self, place: Place, room: &RoomName) -> String {
        format!("{}.live.{}.{}.{}", self.prefix, place.class.name(), place.partition, token(room))
    }

    /// Where a room that keeps nothing is published.
    pub(crate) fn ephemeral(&self, room: &RoomName) -> String {
        format!("{}.ephemeral.{}", self.prefix, token(room))
    }
}

/// A text as one token of a subject: letters, digits, `-` and `_` are themselves, every other byte is `=` and two hex
/// digits. So no two texts have the same token, and the longest room name has one of 600 bytes, where a server takes
/// 4 096 for a line.
pub(crate) fn token(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            token.push(char::from(byte));
        } else {
            token.push('=');
            token.push(char::from(HEX[usize::from(byte >> 4)]));
            token.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    token
}

/// FNV-1a with a last mix: every node and every version must come to the same.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn untoken(token: &str) -> Vec<u8> {
        let mut bytes = token.bytes();
        let mut text = Vec::new();
        while let Some(byte) = bytes.next() {
            let mut digit = || (bytes.next().unwrap() as char).to_digit(16).unwrap() as u8;
            text.push(if byte == b'=' { digit() << 4 | digit() } else { byte });
        }
        text
    }

    proptest! {
        #[test]
        fn every_text_has_a_token_of_its_own_that_is_one_token(text in "\\PC{1,60}") {
            let token = token(&text);
            prop_assert!(!token.contains(['.', '*', '>', ' ', '\t', '\r', '\n', '$']));
            prop_assert!(token.len() <= 3 * text.len());
            prop_assert_eq!(untoken(&token), text.as_bytes());
        }
    }

    #[test]
    fn places_and_names_are_the_same_for_every_version() {
        let names = Names::new("td".into(), 4);
        let room = RoomName::new("a.b *>").unwrap();
        let place = names.place(Class::Log, &room);
        assert_eq!(names.subject(Place { partition: 3, ..place }, &room), "td.log.3.a=2Eb=20=2A=3E");
        assert_eq!(hash(b""), 0xecba_3df2_c338_3c52);
        let spread: std::collections::HashSet<_> = (0..64)
            .map(|n| names.place(Class::Log, &RoomName::new(&n.to_string()).unwrap()).partition)
            .collect();
        assert_eq!(spread.len(), 4, "rooms are spread over all partitions");
    }
}
