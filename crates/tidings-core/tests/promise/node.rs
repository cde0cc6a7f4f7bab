//! A node: the real replica, at the end of a line that loses, repeats and reorders.

use crate::{broker::Broker, world::Chance};
use std::{collections::VecDeque, sync::Arc};
use tidings_core::{
    Message, Retention,
    broker::{ReadFrom, Slice},
    ingest::{Ingest, Replica, Synced},
};
use tokio::time::Instant;

pub(crate) struct Node {
    pub(crate) replica: Replica,
    line: VecDeque<Arc<Message>>,
    read: Option<Read>,
    now: Instant,
}

/// A range read under way: asked for, then answered by the broker as it was at some moment, then received.
enum Read {
    Asked,
    Answered(Slice),
}

impl Node {
    pub(crate) fn new(ring: usize, now: Instant) -> Self {
        let retention = Retention { count: ring, bytes: usize::MAX, age: std::time::Duration::from_secs(60) };
        Self { replica: Replica::new(retention), line: VecDeque::new(), read: Some(Read::Asked), now }
    }

    /// The broker hands a message over.
    pub(crate) fn hand_over(&mut self, message: &Arc<Message>, chance: &mut Chance) {
        match chance.below(12) {
            0 => {}
            1 => self.line.extend([Arc::clone(message), Arc::clone(message)]),
            2 => {
                let at = chance.below(self.line.len() as u64 + 1) as usize;
                self.line.insert(at, Arc::clone(message));
            }
            _ => self.line.push_back(Arc::clone(message)),
        }
    }

    /// Takes the next message off the line. Answers whether that led to a range read.
    pub(crate) fn take(&mut self) -> bool {
        let Some(message) = self.line.pop_front() else { return false };
        let resync = self.replica.ingest(message, self.now) == Ingest::Resync;
        if resync {
            self.read = Some(Read::Asked);
        }
        resync
    }

    /// The line breaks, and what was on it is lost.
    pub(crate) fn disconnect(&mut self) {
        self.line.clear();
        self.check();
    }

    /// The node compares itself with the history.
    pub(crate) fn check(&mut self) {
        if self.replica.lost() {
            self.read = Some(Read::Asked);
        }
    }

    /// A range read goes one step on.
    pub(crate) fn step_read(&mut self, broker: &Broker, limit: usize) {
        self.read = match self.read.take() {
            None => None,
            Some(Read::Asked) => {
                let from = self.replica.read_from().map_or(ReadFrom::Tail, ReadFrom::After);
                Some(Read::Answered(broker.read(from, limit)))
            }
            Some(Read::Answered(slice)) => match self.replica.synced(&slice, self.now) {
                Synced::Live => None,
                Synced::Again => Some(Read::Asked),
            },
        };
    }

    /// No fault any more: what is on the line arrives, and the node is brought up to date.
    pub(crate) fn settle(&mut self, broker: &Broker, limit: usize) {
        while !self.line.is_empty() {
            self.take();
        }
        self.check();
        for _ in 0..4 * (broker.len() + 10) {
            if self.read.is_none() {
                break;
            }
            self.step_read(broker, limit);
        }
        assert!(self.replica.is_live(), "a node that is not disturbed comes up to date");
        assert_eq!(self.replica.ring().head(), broker.head());
    }
}
