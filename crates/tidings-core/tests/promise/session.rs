//! The server's half of a client's connection: the real reader, and the wire with what is in flight.

use crate::{
    broker::{ModelBroker, RangeRead},
    counts::Counts,
    node::Node,
};
use std::{collections::VecDeque, sync::Arc};
use tidings_core::{
    From, GapReason, Kind, Message, Position, Slow,
    broker::{ReadFrom, Slice},
    reader::{Fill, Given, Reader},
    ring::Place,
};

/// A client's connection to a node.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) node: usize,
    kind: Kind,
    /// None: it needs the answer to a range read to begin.
    reader: Option<Reader>,
    read: Option<RangeRead>,
    /// Given by the server, not yet received by the client.
    pub(crate) wire: VecDeque<Frame>,
}

/// What travels.
#[derive(Debug)]
pub(crate) enum Frame {
    Joined { cursor: Position, recovered: bool },
    Message(Arc<Message>),
    Gap { id: Position, reason: GapReason },
    End { id: Position },
}

/// How a session reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Frames in flight at most: the client is slow, and the server must wait.
    pub(crate) wire: usize,
    /// Bytes taken from a ring at once.
    pub(crate) bytes: usize,
    /// Messages of one range read.
    pub(crate) page: usize,
    /// What becomes of it when it is too slow.
    pub(crate) slow: Slow,
}

impl Session {
    /// Begins on a node that knows its room.
    pub(crate) fn open(kind: Kind, from: From, at: usize, node: &Node, counts: &mut Counts) -> Self {
        let mut session = Self { node: at, kind, reader: None, read: None, wire: VecDeque::new() };
        match Reader::begin(kind, from, node.ring()) {
            Ok(reader) => session.begin(reader),
            Err(read) => {
                counts.late_reads += 1;
                session.read = Some(RangeRead::new(read));
            }
        }
        session
    }

    fn begin(&mut self, reader: Reader) {
        let (cursor, recovered) = (reader.cursor(), !reader.is_before_gap());
        self.wire.push_back(Frame::Joined { cursor, recovered });
        self.reader = Some(reader);
    }

    /// Whether it waits for the range read it begins with.
    pub(crate) fn is_joining(&self) -> bool {
        self.reader.is_none()
    }

    /// One step of the server for this client. False: there is nothing to do until something changes.
    pub(crate) fn step(
        &mut self,
        node: &Node,
        broker: &ModelBroker,
        pace: Pace,
        failing: bool,
        counts: &mut Counts,
    ) -> bool {
        if let Some(read) = &mut self.read {
            let from = read.from;
            if let Some(slice) = read.step(broker, pace.page, failing, counts) {
                self.read = None;
                self.take(from, slice, pace.bytes);
            }
            return true;
        }
        let Some(reader) = &mut self.reader else { return false };
        if self.wire.len() >= pace.wire {
            return false;
        }
        if let Some(given) = reader.give() {
            self.wire.push_back(match given {
                Given::Message(message) => Frame::Message(message),
                Given::Gap { id, reason } => Frame::Gap { id, reason },
                Given::End { id } => Frame::End { id },
            });
            return true;
        }
        match reader.fill(node.ring(), pace.bytes, pace.slow) {
            Fill::Some => true,
            Fill::Nothing => {
                counts.ahead += u64::from(node.ring().locate(reader.cursor()) == Place::Newer);
                false
            }
            Fill::Read(from) => {
                self.read = Some(RangeRead::new(from));
                true
            }
            Fill::TooSlow => unreachable!("no policy of the model sends a reader away"),
        }
    }

    fn take(&mut self, from: ReadFrom, slice: Slice, bytes: usize) {
        match &mut self.reader {
            Some(reader) => reader.read(slice, bytes),
            None => self.begin(Reader::begin_with(self.kind, from, slice, bytes)),
        }
    }
}
