//! What is new in a room for whoever stands at a place in it, made once for all who stand there.

use super::Room;
use crate::{
    Encoder, EncodingId, Position,
    reader::{Fill, Given, Reader},
};
use bytes::{Bytes, BytesMut};

/// What is new after a place, in one form.
#[derive(Debug)]
pub(crate) enum Run {
    /// These bytes, which are so many messages, and then `to` is where one stands.
    Bytes { bytes: Bytes, messages: u32, to: Position },
    /// Nothing.
    Nothing,
    /// More than messages, or what the ring does not have: the session itself must look.
    Session,
}

/// The runs of one room that were asked for last. Most members stand at the same place.
pub(crate) struct Runs<'a> {
    room: &'a Room,
    /// Bytes of a run, passed by one message at most.
    limit: usize,
    known: Vec<(EncodingId, Position, Run)>,
    written: (u64, u64),
}

impl<'a> Runs<'a> {
    pub(crate) fn new(room: &'a Room, limit: usize) -> Self {
        Self { room, limit, known: Vec::new(), written: (0, 0) }
    }

    pub(crate) fn room(&self) -> &Room {
        self.room
    }

    /// A run of so many messages was written.
    pub(crate) fn note_written(&mut self, messages: u32) {
        self.written.0 += u64::from(messages);
        self.written.1 += 1;
    }

    /// How many messages were written, and in how many writes.
    pub(super) fn written(&self) -> (u64, u64) {
        self.written
    }

    /// What is new after `from`.
    pub(crate) fn after(&mut self, from: Position, encoder: &dyn Encoder) -> &Run {
        let id = encoder.id();
        let known = self.known.iter().position(|(form, place, _)| *form == id && *place == from);
        let at = known.unwrap_or_else(|| {
            if self.known.len() == KEPT {
                self.known.remove(0);
            }
            self.known.push((id, from, make(self.room, from, encoder, self.limit)));
            self.known.len() - 1
        });
        &self.known[at].2
    }
}

/// By the same machine that a session reads with, so that both mean the same.
fn make(room: &Room, from: Position, encoder: &dyn Encoder, limit: usize) -> Run {
    let mut reader = Reader::standing(room.rooms.kind(), from);
    let (mut forms, mut len, mut to) = (Vec::new(), 0, from);
    while len < limit {
        match reader.give() {
            // What goes with the last message, the session says; and whether one is for it that is not for all.
            Some(Given::Message(message))
                if !message.event().is_last() && message.event().except().is_none() =>
            {
                let form = message.form(encoder).clone();
                len += form.len();
                forms.push(form);
                to = message.position();
                continue;
            }
            Some(_) if forms.is_empty() => return Run::Session,
            Some(_) => break,
            None => {}
        }
        match room.fill(&mut reader, limit) {
            Fill::Some => {}
            Fill::Nothing if forms.is_empty() => return Run::Nothing,
            Fill::Read(_) | Fill::TooSlow if forms.is_empty() => return Run::Session,
            Fill::Nothing | Fill::Read(_) | Fill::TooSlow => break,
        }
    }
    let messages = forms.len() as u32; // each has a byte at least, and all together not many more than the limit
    let bytes = match &mut forms[..] {
        [form] => std::mem::take(form),
        forms => {
            let mut all = BytesMut::with_capacity(len);
            forms.iter().for_each(|form| all.extend_from_slice(form));
            all.freeze()
        }
    };
    Run::Bytes { bytes, messages, to }
}

/// Runs that are kept: sessions of several forms, and some that were a moment late.
const KEPT: usize = 8;
