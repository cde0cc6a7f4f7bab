//! An event at a position, shared by all its receivers.

use crate::{Encoder, EncodingId, Event, Position, RoomName};
use bytes::{Bytes, BytesMut};
use std::sync::OnceLock;

/// An event at a position in its room. It is shared by all receivers, and keeps each byte form once made.
#[derive(Debug)]
pub struct Message {
    content: Content,
    forms: Forms,
}

/// What a message says: all that an encoder sees of it. An encoder that could ask for another form of the message
/// would wait for itself.
#[derive(Debug)]
pub struct Content {
    room: RoomName,
    position: Position,
    follows: Position,
    stored: bool,
    event: Event,
}

impl Message {
    /// A message of a room with history: `follows` is the position of the message before it.
    pub fn new(room: RoomName, position: Position, follows: Position, event: Event) -> Self {
        let content = Content { room, position, follows, stored: true, event };
        Self { content, forms: Forms::default() }
    }

    /// A message that nobody keeps. Its position is the node's own and never shown.
    pub fn ephemeral(room: RoomName, position: Position, follows: Position, event: Event) -> Self {
        let content = Content { room, position, follows, stored: false, event };
        Self { content, forms: Forms::default() }
    }

    /// The message in the form of `encoder`, made at the first call and shared from then on.
    pub fn form(&self, encoder: &dyn Encoder) -> &Bytes {
        self.forms.get(encoder.id(), || {
            let (event, room) = (self.event(), self.room().as_str());
            let text = room.len() + event.name().as_str().len() + event.data().len();
            // With what most forms have around it.
            let mut out = BytesMut::with_capacity(text + SPARE);
            encoder.encode(&self.content, &mut out);
            // It is kept as long as the message, and not with a place for twice of it, or for what was compressed.
            if out.capacity() - out.len() > SPARE.max(out.len() / 8) {
                return Bytes::copy_from_slice(&out);
            }
            out.freeze()
        })
    }
}

impl std::ops::Deref for Message {
    type Target = Content;
    fn deref(&self) -> &Content {
        &self.content
    }
}

impl Content {
    /// The room.
    pub fn room(&self) -> &RoomName {
        &self.room
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The position of the message directly before it.
    pub fn follows(&self) -> Position {
        self.follows
    }

    /// Its id on the wire: the position, where one can be resumed from.
    pub fn id(&self) -> Option<Position> {
        self.stored.then_some(self.position)
    }

    /// What was published.
    pub fn event(&self) -> &Event {
        &self.event
    }
}

/// The forms made so far: a list that only grows. Few forms are in use at once, so a walk is short, and a message
/// that nobody reads pays for none.
#[derive(Debug, Default)]
struct Forms(OnceLock<Box<Form>>);

#[derive(Debug)]
struct Form {
    id: EncodingId,
    bytes: Bytes,
    rest: Forms,
}

impl Forms {
    fn get(&self, id: EncodingId, make: impl Fn() -> Bytes) -> &Bytes {
        let mut forms = self;
        loop {
            // Whoever comes while the slot is being filled waits, so a form is made once whatever the race.
            let form = forms.0.get_or_init(|| Box::new(Form { id, bytes: make(), rest: Self::default() }));
            if form.id == id {
                return &form.bytes;
            }
            forms = &form.rest;
        }
    }
}

/// Bytes beyond a form that are not worth a copy.
const SPARE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counting(&'static str, AtomicUsize);

    impl Encoder for Counting {
        fn id(&self) -> EncodingId {
            EncodingId::new(self.0)
        }
        fn encode(&self, message: &Content, out: &mut BytesMut) {
            self.1.fetch_add(1, Ordering::Relaxed);
            out.extend_from_slice(self.0.as_bytes());
            out.extend_from_slice(message.event().data());
        }
    }

    /// So much of the event, as a form.
    struct Part(usize);

    impl Encoder for Part {
        fn id(&self) -> EncodingId {
            EncodingId::new("part")
        }
        fn encode(&self, message: &Content, out: &mut BytesMut) {
            let data = message.event().data();
            let rounds = self.0.div_ceil(data.len());
            (0..rounds).for_each(|_| out.extend_from_slice(data));
            out.truncate(self.0);
        }
    }

    #[test]
    fn a_form_holds_no_more_than_its_bytes() {
        let at = |offset| Position { epoch: 1, offset, tag: 0 };
        for len in [10, 1_000, 9_999, 10_002, 10_500, 21_000] {
            let event = Event::json("e", &"x".repeat(10_000)).unwrap();
            let message = Message::new(RoomName::new("r").unwrap(), at(1), at(0), event);
            message.form(&Part(len));
            let form = message.forms.0.into_inner().expect("it was made").bytes;
            assert_eq!(form.len(), len);
            // Nobody else has it, so that it goes back into what it was made of.
            let capacity = form.try_into_mut().expect("the only one").capacity();
            assert!(capacity <= len + SPARE.max(len / 8), "{capacity} bytes for {len}");
        }
    }

    #[test]
    fn a_form_is_made_once_however_many_ask_at_once() {
        let at = |offset| Position { epoch: 1, offset, tag: 0 };
        for _ in 0..50 {
            let message =
                Message::new(RoomName::new("r").unwrap(), at(1), at(0), Event::json("e", &7).unwrap());
            let encoders = [Counting("a", 0.into()), Counting("b", 0.into()), Counting("c", 0.into())];
            std::thread::scope(|scope| {
                for n in 0..6 {
                    let (message, encoders) = (&message, &encoders);
                    scope.spawn(move || {
                        for k in 0..3 {
                            let encoder = &encoders[(n + k) % 3];
                            assert_eq!(message.form(encoder), format!("{}7", encoder.0).as_bytes());
                        }
                    });
                }
            });
            for encoder in &encoders {
                assert_eq!(encoder.1.load(Ordering::Relaxed), 1);
            }
        }
    }
}
