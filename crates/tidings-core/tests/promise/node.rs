//! A model node: the real replica behind a live channel that loses, repeats and reorders.

use crate::{
    broker::{ModelBroker, RangeRead},
    counts::Counts,
    rng::Rng,
};
use std::{collections::VecDeque, sync::Arc};
use tidings_core::{
    Message, Retention,
    broker::ReadFrom,
    ingest::{Ingest, Replica, Synced},
    ring::Ring,
};
use tokio::time::Instant;

/// A node with the real [`Replica`].
pub(crate) struct Node {
    pub(crate) replica: Replica,
    /// The live channel.
    channel: VecDeque<Arc<Message>>,
    read: Option<RangeRead>,
    retention: Retention,
}

/// How bad a live channel is, in percent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channel {
    pub(crate) loss: usize,
    pub(crate) repeat: usize,
    pub(crate) reorder: usize,
}

impl Node {
    pub(crate) fn new(retention: Retention) -> Self {
        let mut replica = Replica::new(retention);
        let read = Some(RangeRead::new(from(&mut replica)));
        Self { replica, channel: VecDeque::new(), read, retention }
    }

    /// The process begins anew. What is on its way to it still is.
    pub(crate) fn restart(&mut self) {
        let channel = std::mem::take(&mut self.channel);
        *self = Self { channel, ..Self::new(self.retention) };
    }

    pub(crate) fn ring(&self) -> &Ring {
        self.replica.ring()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.channel.len()
    }

    pub(crate) fn send(&mut self, message: &Arc<Message>) {
        self.channel.push_back(Arc::clone(message));
    }

    /// The channel hands over one message, or loses it, or keeps it for another time as well.
    pub(crate) fn deliver(&mut self, channel: Channel, now: Instant, rng: &mut Rng, counts: &mut Counts) {
        let mut at = 0;
        if self.channel.len() > 1 && rng.percent(channel.reorder) {
            at = rng.below(self.channel.len());
            counts.reordered += u64::from(at > 0);
        }
        if rng.percent(channel.loss) {
            counts.lost += u64::from(self.channel.remove(at).is_some());
        } else if rng.percent(channel.repeat) {
            if let Some(message) = self.channel.get(at).cloned() {
                counts.repeated += 1;
                self.ingest(message, now, counts);
            }
        } else if let Some(message) = self.channel.remove(at) {
            self.ingest(message, now, counts);
        }
    }

    fn ingest(&mut self, message: Arc<Message>, now: Instant, counts: &mut Counts) {
        match self.replica.ingest(message, now) {
            Ingest::Appended => {}
            Ingest::Duplicate => counts.duplicates += 1,
            Ingest::Held => counts.held += 1,
            Ingest::Resync => {
                counts.resyncs += 1;
                self.begin_read();
            }
        }
    }

    /// All that is on its way is lost.
    pub(crate) fn drop_channel(&mut self) {
        self.channel.clear();
    }

    /// The broker says that something may have been lost.
    pub(crate) fn lose(&mut self) {
        if self.replica.lost() {
            self.begin_read();
        }
    }

    fn begin_read(&mut self) {
        self.read = Some(RangeRead::new(from(&mut self.replica)));
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.read.is_some()
    }

    /// One step of the range read that is under way, if one is.
    pub(crate) fn step_read(
        &mut self,
        broker: &ModelBroker,
        limit: usize,
        failing: bool,
        now: Instant,
        counts: &mut Counts,
    ) {
        let Some(read) = &mut self.read else { return };
        let Some(slice) = read.step(broker, limit, failing, counts) else { return };
        self.read = None;
        if self.replica.synced(&slice, now) == Synced::Again {
            counts.again += 1;
            self.begin_read();
        }
    }
}

fn from(replica: &mut Replica) -> ReadFrom {
    replica.read_from().map_or(ReadFrom::Tail, ReadFrom::After)
}
