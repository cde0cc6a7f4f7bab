//! Bytes gathered for one write.

use crate::CloseReason;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Bytes gathered for one write: each part is a whole frame, or what stands before one.
#[derive(Debug)]
pub struct Batch {
    parts: VecDeque<Bytes>,
    bytes: usize,
    messages: usize,
    limit: usize,
}

/// What a session had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "the owner must handle both")]
pub enum Step {
    /// The batch holds something.
    Some,
    /// The session is over; its last notice has been given.
    End(CloseReason),
}

impl Batch {
    /// An empty batch that is full at `limit` bytes; it is passed by at most one message and its mark.
    pub fn new(limit: usize) -> Self {
        Self { parts: VecDeque::new(), bytes: 0, messages: 0, limit: limit.max(1) }
    }

    /// Its parts, oldest first, for taking.
    pub fn parts(&mut self) -> &mut VecDeque<Bytes> {
        self.messages = 0;
        self.bytes = 0;
        &mut self.parts
    }

    /// How many messages it holds, notices not counted.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= self.limit
    }

    pub(crate) fn put_message(&mut self, form: Bytes) {
        self.messages += 1;
        self.put(form);
    }

    pub(crate) fn put_with(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        write(&mut out);
        if !out.is_empty() {
            self.put(out.freeze());
        }
    }

    fn put(&mut self, part: Bytes) {
        self.bytes += part.len();
        self.parts.push_back(part);
    }
}
