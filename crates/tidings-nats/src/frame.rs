//! An event as the payload of a message: a byte for version and flags, the tag, the length of the name, the name, from
//! whom it is kept with the length of that before it, if from anybody, the data. So a live message says all of its position but the epoch, with no header of ours to be taken apart.

use crate::names::hash;
use bytes::{BufMut, Bytes, BytesMut};
use tidings_core::{Event, RoomName};

/// A position that is no event's has this tag: it stands between events.
pub(crate) const BETWEEN: u16 = 0;

/// The tag of an event: chance, or for one with a key what room and key say, so that it is the same at every attempt.
pub(crate) fn tag(room: &RoomName, key: Option<&str>) -> u16 {
    let tag = match key {
        None => rand::random(),
        Some(key) => hash(format!("{room} {key}").as_bytes()) as u16,
    };
    tag.max(BETWEEN + 1)
}

pub(crate) fn encode(event: &Event, tag: u16) -> Bytes {
    let name = event.name().as_str();
    let except = event.except().unwrap_or_default();
    let mut frame = BytesMut::with_capacity(HEAD + name.len() + LENGTH + except.len() + event.data().len());
    let flag = |flag, is: bool| if is { flag } else { 0 };
    frame.put_u8(VERSION | flag(LAST, event.is_last()) | flag(EXCEPT, !except.is_empty()));
    frame.put_u16(tag);
    frame.put_u8(name.len() as u8);
    frame.put_slice(name.as_bytes());
    if !except.is_empty() {
        frame.put_u32(except.len() as u32);
        frame.put_slice(except.as_bytes());
    }
    frame.put_slice(event.data());
    frame.freeze()
}

/// The event and its tag. What somebody else has published there is an event too, of the name `unreadable`, or it would
/// be a hole that no read could close.
pub(crate) fn decode(frame: &Bytes) -> (Event, u16) {
    read(frame).unwrap_or_else(|| {
        let event = Event::json("unreadable", &()).expect("a name, and null is JSON");
        (event, (hash(frame) as u16).max(BETWEEN + 1))
    })
}

fn read(frame: &Bytes) -> Option<(Event, u16)> {
    let (head, rest) = frame.split_first_chunk::<HEAD>()?;
    let [flags, high, low, len] = *head;
    let tag = u16::from_be_bytes([high, low]);
    if flags & !(LAST | EXCEPT) != VERSION || tag == BETWEEN {
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
    let data = frame.slice_ref(rest);
    // A small one would keep the whole buffer that was read from the socket.
    let data = if data.len() < SHARED { Bytes::copy_from_slice(&data) } else { data };
    let event = Event::from_json(name, data).ok()?.with_except(except);
    Some((if flags & LAST == 0 { event } else { event.last() }, tag))
}

const VERSION: u8 = 1;
const LAST: u8 = 0x80;
const EXCEPT: u8 = 0x40;
/// Bytes of the length of from whom it is kept.
const LENGTH: usize = 4;
const HEAD: usize = 4;
/// Data of so many bytes is not copied.
const SHARED: usize = 8 << 10;

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
    fn an_event_with_a_key_has_one_tag_and_none_is_between_events() {
        let room = RoomName::new("r").unwrap();
        assert_eq!(tag(&room, Some("k")), tag(&room, Some("k")));
        assert!((0..200_000).all(|_| tag(&room, None) != BETWEEN));
    }

    proptest! {
        #[test]
        fn an_event_comes_back(
            name in "[a-z]{1,40}",
            text: String,
            last: bool,
            except in proptest::option::of(".+"),
            tag in 1_u16..,
        ) {
            let mut event = Event::json(&name, &text).unwrap().with_except(except.as_deref());
            if last {
                event = event.last();
            }
            let (back, same) = decode(&encode(&event, tag));
            prop_assert_eq!(back.name(), event.name());
            prop_assert_eq!(back.data(), event.data());
            prop_assert_eq!(back.except(), event.except());
            prop_assert_eq!((back.is_last(), same), (last, tag));
        }

        #[test]
        fn anything_is_an_event_with_a_tag(bytes: Vec<u8>) {
            let (_, tag) = decode(&Bytes::from(bytes));
            prop_assert_ne!(tag, BETWEEN);
        }
    }
}
