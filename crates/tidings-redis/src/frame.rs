//! An event as bytes: a byte for version and flags, the length of the name, the name, from whom it is kept with the length
//! of that before it, if from anybody, the data. In front of it the server puts where the event stands and when it came, and that is what it keeps and hands over.

use crate::names::hash;
use bytes::{BufMut, Bytes, BytesMut};
use tidings_core::{Event, Message, Position, RoomName};

/// What a server keeps of an event, and hands over.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) position: Position,
    pub(crate) follows: Position,
    pub(crate) event: Event,
}

impl Stored {
    pub(crate) fn message(self, room: RoomName) -> Message {
        Message::new(room, self.position, self.follows, self.event)
    }
}

/// The tag of an event: chance, or for one with a key what room and key say, so that it is the same at every attempt.
/// A room in which nothing was published yet stands at the tag 0, and no event does.
pub(crate) fn tag(room: &RoomName, key: Option<&str>) -> u16 {
    let tag = match key {
        None => rand::random(),
        Some(key) => hash(format!("{room} {key}").as_bytes()) as u16,
    };
    tag.max(1)
}

pub(crate) fn encode(event: &Event) -> Bytes {
    let name = event.name().as_str();
    let except = event.except().unwrap_or_default();
    let mut frame = BytesMut::with_capacity(2 + name.len() + LENGTH + except.len() + event.data().len());
    let flag = |flag, is: bool| if is { flag } else { 0 };
    frame.put_u8(VERSION | flag(LAST, event.is_last()) | flag(EXCEPT, !except.is_empty()));
    frame.put_u8(name.len() as u8);
    frame.put_slice(name.as_bytes());
    if !except.is_empty() {
        frame.put_u32(except.len() as u32);
        frame.put_slice(except.as_bytes());
    }
    frame.put_slice(event.data());
    frame.freeze()
}

/// An event as it was published. None: somebody else's.
pub(crate) fn decode(frame: &Bytes) -> Option<Event> {
    let (&[flags, len], rest) = frame.split_first_chunk()?;
    if flags & !(LAST | EXCEPT) != VERSION {
        return None;
    }
    let (name, mut rest) = rest.split_at_checked(usize::from(len))?;
    let name = std::str::from_utf8(name).ok()?;
    let mut except = None;
    if flags & EXCEPT != 0 {
        let (len, after) = rest.split_first_chunk::<LENGTH>()?;
        let (text, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        (except, rest) = (Some(std::str::from_utf8(text).ok()?), after);
    }
    let event = Event::from_json(name, frame.slice_ref(rest)).ok()?.with_except(except);
    Some(if flags & LAST == 0 { event } else { event.last() })
}

/// What a server keeps of an event. None: somebody else's.
pub(crate) fn stored(bytes: &Bytes) -> Option<Stored> {
    let head: &[u8; HEAD] = bytes.first_chunk()?;
    let number = |range: std::ops::Range<usize>| {
        head[range].iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
    };
    if head[0] != STORED {
        return None;
    }
    let (epoch, offset) = (number(1..5) as u32, number(5..13));
    let position = Position { epoch, offset, tag: number(13..15) as u16 };
    let follows = Position { epoch, offset: offset.checked_sub(1)?, tag: number(15..17) as u16 };
    Some(Stored { position, follows, event: decode(&bytes.slice(HEAD..))? })
}

/// A position as a server writes it: epoch, offset and tag.
pub(crate) fn position(bytes: &[u8]) -> Option<Position> {
    let (epoch, rest) = bytes.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let tag = rest.first_chunk()?;
    Some(Position {
        epoch: u32::from_be_bytes(*epoch),
        offset: u64::from_be_bytes(*offset),
        tag: u16::from_be_bytes(*tag),
    })
}

const VERSION: u8 = 1;
const LAST: u8 = 0x80;
const EXCEPT: u8 = 0x40;
/// Bytes of the length of from whom it is kept.
const LENGTH: usize = 4;
/// The first byte of what a server keeps; see `scripts/publish.lua`.
const STORED: u8 = 2;
/// That, epoch, offset, tag, the tag of the event before it, and the time in milliseconds.
const HEAD: usize = 1 + 4 + 8 + 2 + 2 + 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidings_core::EventName;

    #[test]
    fn a_name_fits_its_length() {
        const { assert!(EventName::MAX <= u8::MAX as usize) }
    }

    #[test]
    fn an_event_with_a_key_has_one_tag_and_none_has_that_of_an_empty_room() {
        let room = RoomName::new("r").unwrap();
        assert_eq!(tag(&room, Some("k")), tag(&room, Some("k")));
        assert!((0..200_000).all(|_| tag(&room, None) != 0));
    }

    proptest! {
        #[test]
        fn an_event_comes_back(
            name in "[a-z]{1,40}",
            text: String,
            last: bool,
            except in proptest::option::of(".+"),
        ) {
            let mut event = Event::json(&name, &text).unwrap().with_except(except.as_deref());
            if last {
                event = event.last();
            }
            let back = decode(&encode(&event)).unwrap();
            prop_assert_eq!(back.name(), event.name());
            prop_assert_eq!(back.data(), event.data());
            prop_assert_eq!(back.is_last(), last);
            prop_assert_eq!(back.except(), event.except());
        }

        #[test]
        fn what_is_kept_says_where_it_stands(epoch: u32, offset in 1_u64.., tag: u16, before: u16, at: u64) {
            let event = Event::json("e", &offset).unwrap();
            let mut bytes = BytesMut::new();
            bytes.put_u8(STORED);
            bytes.put_u32(epoch);
            bytes.put_u64(offset);
            bytes.put_u16(tag);
            bytes.put_u16(before);
            bytes.put_u64(at);
            bytes.put_slice(&encode(&event));
            let bytes = bytes.freeze();
            let back = stored(&bytes).unwrap();
            prop_assert_eq!(back.position, Position { epoch, offset, tag });
            prop_assert_eq!(back.follows, Position { epoch, offset: offset - 1, tag: before });
            prop_assert_eq!(back.event.data(), event.data());
            prop_assert_eq!(position(&bytes[1..]), Some(back.position));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let _ = (decode(&bytes), stored(&bytes), position(&bytes));
        }
    }
}
