//! Where a subscriber stands, and where it wants to begin.

use crate::{Position, RoomName};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use std::fmt;

/// Where a subscriber wants to begin in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums, reason = "the three places a reader can begin at")]
pub enum From {
    /// With the next event; in a latest-value room with the current value, for that is its now.
    #[default]
    Now,
    /// With the oldest event that is kept.
    Start,
    /// With the event after this position, or a gap.
    After(Position),
}

/// Where a subscriber stands in one or more rooms. It says where and grants nothing.
///
/// For one room its text is that of the [`Position`]. For several it is `v` and then, in base64url, a digest of
/// the sorted room names and a position for each, so that a browser can hold it as its last event id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Vec<Position>);

/// Why a text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// The text is none of the forms of a cursor.
    #[error("not a cursor: neither p<epoch>.<offset>.<tag> nor v<base64url>")]
    Malformed,
    /// A cursor of one room came with several rooms.
    #[error("this cursor is of one room, but {rooms} rooms were named")]
    OneRoom {
        /// How many rooms were named.
        rooms: usize,
    },
}

impl Cursor {
    /// A cursor from the positions in rooms that are sorted by name and all different.
    pub fn new(positions: Vec<Position>) -> Self {
        Self(positions)
    }

    /// The positions, in the order of the sorted room names.
    pub fn positions(&self) -> &[Position] {
        &self.0
    }

    /// Reads a cursor for `rooms`, which are sorted by name and all different.
    ///
    /// A well-formed cursor that was given for other rooms stands at [`Position::UNKNOWN`] in each: its holder
    /// is told of a gap.
    ///
    /// # Errors
    /// See [`CursorError`].
    pub fn parse(text: &str, rooms: &[RoomName]) -> Result<Self, CursorError> {
        if text.starts_with('p') {
            let position = text.parse().map_err(|_| CursorError::Malformed)?;
            return match rooms.len() {
                1 => Ok(Self(vec![position])),
                rooms => Err(CursorError::OneRoom { rooms }),
            };
        }
        let (digest, positions) = text.strip_prefix('v').and_then(unpack).ok_or(CursorError::Malformed)?;
        if positions.len() == rooms.len() && digest == digest_of(rooms) {
            Ok(Self(positions))
        } else {
            Ok(Self(vec![Position::UNKNOWN; rooms.len()]))
        }
    }

    /// The text for `rooms`, which are sorted by name, all different, and as many as there are positions.
    pub fn display<'a>(&'a self, rooms: &'a [RoomName]) -> impl fmt::Display + 'a {
        struct Text<'a>(&'a [Position], &'a [RoomName]);
        impl fmt::Display for Text<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    [one] => one.fmt(f),
                    many => write!(f, "v{}", BASE64_URL_SAFE_NO_PAD.encode(pack(many, self.1))),
                }
            }
        }
        Text(&self.0, rooms)
    }
}

/// FNV-1a over the names with their lengths: not a secret, only a check that the rooms are the same.
fn digest_of(rooms: &[RoomName]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut eat = |byte: u8| hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    for room in rooms {
        // A name has at most 200 bytes, so its length is a byte.
        eat(room.as_str().len() as u8);
        room.as_str().bytes().for_each(&mut eat);
    }
    hash
}

fn pack(positions: &[Position], rooms: &[RoomName]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + positions.len() * 9);
    out.extend_from_slice(&digest_of(rooms).to_be_bytes());
    for position in positions {
        out.extend_from_slice(&position.epoch.to_be_bytes());
        out.extend_from_slice(&position.tag.to_be_bytes());
        let mut offset = position.offset;
        while offset >= 0x80 {
            out.push(offset as u8 | 0x80);
            offset >>= 7;
        }
        out.push(offset as u8);
    }
    out
}

fn unpack(text: &str) -> Option<(u32, Vec<Position>)> {
    if text.len() > MAX_VECTOR_TEXT {
        return None;
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let (digest, mut rest) = bytes.split_first_chunk::<4>()?;
    let mut positions = Vec::new();
    while !rest.is_empty() {
        let (epoch, after) = rest.split_first_chunk::<4>()?;
        let (tag, after) = after.split_first_chunk::<2>()?;
        let (offset, after) = read_varint(after)?;
        positions.push(Position { epoch: u32::from_be_bytes(*epoch), offset, tag: u16::from_be_bytes(*tag) });
        rest = after;
    }
    Some((u32::from_be_bytes(*digest), positions))
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut n = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        if at == 9 && part > 1 {
            return None;
        }
        n |= part << (7 * at);
        if byte & 0x80 == 0 {
            return Some((n, &bytes[at + 1..]));
        }
    }
    None
}

/// 256 rooms of the largest positions: nothing that we have given is longer.
const MAX_VECTOR_TEXT: usize = (4 + 256 * 16) * 4 / 3 + 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rooms(names: &[&str]) -> Vec<RoomName> {
        names.iter().map(|name| RoomName::new(name).unwrap()).collect()
    }

    #[test]
    fn a_cursor_of_other_rooms_is_known_to_be_one() {
        let cursor = Cursor::new(vec![Position { epoch: 1, offset: 2, tag: 3 }; 2]);
        let text = cursor.display(&rooms(&["a", "b"])).to_string();
        assert_eq!(Cursor::parse(&text, &rooms(&["a", "b"])), Ok(cursor));
        for others in [&["a", "c"][..], &["a"], &["a", "b", "c"], &["ab", "b"]] {
            let parsed = Cursor::parse(&text, &rooms(others)).unwrap();
            assert_eq!(parsed.positions(), vec![Position::UNKNOWN; others.len()], "{others:?}");
        }
        assert_eq!(Cursor::parse("p1.2.3", &rooms(&["a", "b"])), Err(CursorError::OneRoom { rooms: 2 }));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let one = rooms(&["a"]);
        let long = format!("v{}", "A".repeat(1_000_000));
        for bad in
            ["", "0", "-1", "9223372036854775808", "v", "v!", "vAAA", "vAAAAAAA", "{}", "w1", "\0", &long]
        {
            assert_eq!(Cursor::parse(bad, &one), Err(CursorError::Malformed), "{:.20}", bad);
        }
    }

    #[test]
    fn ten_rooms_fit_a_header_easily() {
        let names: Vec<_> = (0..10).map(|n| RoomName::new(&format!("room-{n}")).unwrap()).collect();
        let cursor = Cursor::new(vec![Position { epoch: u32::MAX, offset: 1_000_000, tag: 9 }; 10]);
        assert!(cursor.display(&names).to_string().len() <= 140);
    }

    proptest! {
        #[test]
        fn vector_texts_come_back(parts in prop::collection::vec(any::<(u32, u64, u16)>(), 2..40)) {
            let names: Vec<_> = (0..parts.len()).map(|n| RoomName::new(&format!("{n:02}")).unwrap()).collect();
            let cursor = Cursor::new(
                parts.iter().map(|&(epoch, offset, tag)| Position { epoch, offset, tag }).collect(),
            );
            prop_assert_eq!(Cursor::parse(&cursor.display(&names).to_string(), &names), Ok(cursor));
        }

        #[test]
        fn no_text_panics(text in "[pv][0-9A-Za-z_.-]{0,80}|.{0,80}") {
            let _ = Cursor::parse(&text, &rooms(&["a"]));
            let _ = Cursor::parse(&text, &rooms(&["a", "b"]));
        }
    }
}
