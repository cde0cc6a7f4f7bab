//! Writing the answers.

use bytes::{BufMut, Bytes, BytesMut};
use std::{collections::VecDeque, fmt::Display};
use tidings_core::{Encoder, Json, Notice, Standing, Transport, Turn};

/// The transport of long-polling: messages and notices are the items of an array.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Poll {
    /// Whether the client asked to be told of its rooms.
    pub(crate) hello: bool,
}

impl Transport for Poll {
    fn name(&self) -> &'static str {
        "poll"
    }

    fn turn(&self) -> Turn {
        Turn::First
    }

    fn encoder(&self) -> &dyn Encoder {
        &Json
    }

    fn notice(&self, notice: &Notice, _: Standing<'_>, out: &mut BytesMut) {
        match notice {
            Notice::Gap { .. } | Notice::End { .. } | Notice::Refused { .. } | Notice::Close { .. } => {
                out.put_slice(notice.to_json().as_bytes())
            }
            Notice::Hello { .. } | Notice::Joined { .. } if self.hello => {
                out.put_slice(notice.to_json().as_bytes())
            }
            // What the client joined it has said itself, and the answer's cursor says the rest.
            _ => {}
        }
    }
}

/// An answer: `{"type":…,"cursor":…,"events":[…]}`.
pub(crate) fn answer(kind: &str, cursor: &dyn Display, items: &mut VecDeque<Bytes>) -> Bytes {
    // Neither holds anything that JSON would escape.
    let head = format!("{{\"type\":\"{kind}\",\"cursor\":\"{cursor}\",\"events\":[");
    // Each with its comma, the last one with the brackets.
    let len = items.iter().map(|item| item.len() + 1).sum::<usize>();
    let mut out = BytesMut::with_capacity(head.len() + len + 2);
    out.put_slice(head.as_bytes());
    for (at, item) in items.drain(..).enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        out.put_slice(&item);
    }
    out.put_slice(b"]}");
    out.freeze()
}
