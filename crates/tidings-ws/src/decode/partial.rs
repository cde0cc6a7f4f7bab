//! A message that did not come at once: in fragments, or in a frame longer than a read.

use super::{Incoming, ProtocolError, header::Frame};
use crate::{
    deflate::{self, compressed_limit},
    utf8::Tail,
};
use std::borrow::Cow;
use tungstenite::protocol::frame::coding::Data;

#[derive(Debug)]
pub(super) enum Partial {
    Text {
        text: String,
        tail: Tail,
    },
    Binary(Vec<u8>),
    /// The payload of a compressed message as it came, to be inflated when it is whole. To inflate it piece by
    /// piece would save these bytes, of which there are about as many as the limit allows at the most, and cost a
    /// window of 47 KiB for each begun message.
    Compressed {
        data: Data,
        payload: Vec<u8>,
    },
}

impl Partial {
    /// An empty message, of which `data` is the opcode of the first frame.
    pub(super) fn new(data: Data) -> Self {
        match data {
            Data::Text => Self::Text { text: String::new(), tail: Tail::default() },
            _ => Self::Binary(Vec::new()),
        }
    }

    /// A compressed message, of which nothing came yet.
    pub(super) fn compressed(data: Data) -> Self {
        Self::Compressed { data, payload: Vec::new() }
    }

    pub(super) fn is_compressed(&self) -> bool {
        matches!(self, Self::Compressed { .. })
    }

    /// Bytes received.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text { text, tail } => text.len() + tail.len(),
            Self::Binary(bytes) | Self::Compressed { payload: bytes, .. } => bytes.len(),
        }
    }

    /// Bytes of memory taken.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Text { text, .. } => text.capacity(),
            Self::Binary(bytes) | Self::Compressed { payload: bytes, .. } => bytes.capacity(),
        }
    }

    /// Unmasks and appends a piece of `frame`, whose `remaining` bytes do not include it; the message stays within
    /// `limit` bytes since the header was checked.
    pub(super) fn push(
        &mut self,
        piece: &mut [u8],
        frame: &mut Frame,
        limit: usize,
    ) -> Result<(), ProtocolError> {
        let frame_end = self.len() + piece.len() + frame.remaining;
        let limit = if self.is_compressed() { compressed_limit(limit) } else { limit };
        self.reserve(piece.len(), frame_end, if frame.fin { frame_end } else { limit });
        // Unmasked, checked and copied while it is near: one way to the memory behind instead of three.
        for block in piece.chunks_mut(BLOCK) {
            frame.unmask(block);
            self.append(block)?;
        }
        Ok(())
    }

    /// Appends what was inflated, if it stays within `limit`.
    fn push_inflated(&mut self, piece: &[u8], limit: usize) -> Result<(), ProtocolError> {
        let needed = self.len() + piece.len();
        if needed > limit {
            return Err(ProtocolError::MessageTooLarge { limit });
        }
        self.reserve(piece.len(), needed, limit);
        self.append(piece)
    }

    fn reserve(&mut self, more: usize, frame_end: usize, longest: usize) {
        let capacity = room(self.capacity(), self.len() + more, frame_end, longest);
        match self {
            Self::Text { text, .. } => text.reserve_exact(capacity.saturating_sub(text.len())),
            Self::Binary(bytes) | Self::Compressed { payload: bytes, .. } => {
                bytes.reserve_exact(capacity.saturating_sub(bytes.len()));
            }
        }
    }

    fn append(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        match self {
            Self::Text { text, tail } => tail.push(piece, text).map_err(|_| ProtocolError::InvalidUtf8),
            Self::Binary(bytes) | Self::Compressed { payload: bytes, .. } => {
                bytes.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// The whole message, of at most `limit` bytes.
    pub(super) fn finish(self, limit: usize) -> Result<Incoming<'static>, ProtocolError> {
        match self {
            Self::Compressed { data, payload } => inflate(data, &payload, limit),
            Self::Text { tail, .. } if !tail.is_empty() => Err(ProtocolError::InvalidUtf8),
            Self::Text { text, .. } => Ok(Incoming::Text(Cow::Owned(text))),
            Self::Binary(bytes) => Ok(Incoming::Binary(Cow::Owned(bytes))),
        }
    }
}

/// The message which a compressed payload holds. Text is checked as it comes out.
pub(super) fn inflate(data: Data, payload: &[u8], limit: usize) -> Result<Incoming<'static>, ProtocolError> {
    let mut message = Partial::new(data);
    deflate::inflate(payload, |piece| message.push_inflated(piece, limit))?;
    message.finish(limit)
}

/// The capacity to have for a message that has `needed` bytes, will have `frame_end` at the end of its
/// current frame, and `longest` at most.
///
/// A short frame gets its place at once, and so does one of which half is there. A long one must earn it: memory
/// follows what came, not what a header announced, at most doubling, and never goes past what the message may become.
fn room(capacity: usize, needed: usize, frame_end: usize, longest: usize) -> usize {
    if needed <= capacity {
        return capacity;
    }
    let grown = capacity.saturating_mul(2).min(longest);
    needed.max(frame_end.min(ON_TRUST.max(needed.saturating_mul(2)))).max(grown)
}

/// What is unmasked, checked and copied at a time: a part of the first cache of any processor.
const BLOCK: usize = 8 * 1024;

/// How much memory an announced length is given before its bytes come.
const ON_TRUST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_follows_what_came_and_not_what_was_announced() {
        const MIB: usize = 1 << 20;
        assert_eq!(room(0, 1, 300, 300), 300, "a short frame gets its place at once");
        assert_eq!(room(0, 1, MIB, MIB), ON_TRUST, "a long one does not");
        assert_eq!(room(ON_TRUST, ON_TRUST + 1, MIB, MIB), 2 * (ON_TRUST + 1));
        assert_eq!(room(2 * ON_TRUST, ON_TRUST, MIB, MIB), 2 * ON_TRUST, "nothing to grow for");
        assert_eq!(room(MIB / 2 + 1, MIB / 2 + 2, MIB, MIB), MIB, "never past what the message may become");
        assert_eq!(room(0, MIB / 2, MIB, MIB), MIB, "half of it came");
        assert_eq!(room(0, 100, 100, MIB), 100, "a fragment takes its own length");
    }
}
