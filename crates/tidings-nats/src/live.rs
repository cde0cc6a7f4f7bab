//! What the servers hand over, and how it becomes messages of a room.

use crate::{
    frame,
    store::Store,
    watch::{Watch, Watches},
};
use async_nats::{HeaderMap, Subscriber, header};
use futures_util::{FutureExt, StreamExt};
use std::sync::{Arc, atomic::Ordering::Relaxed};
use tidings_core::{Message, Position};
use tokio::time::Instant;

/// One room's part of what is handed over.
pub(crate) struct Live {
    pub(crate) watches: Arc<Watches>,
    pub(crate) watch: Arc<Watch>,
    /// None: the room keeps nothing.
    pub(crate) store: Option<Arc<Store>>,
    /// The epoch of rooms that keep nothing.
    pub(crate) epoch: u32,
}

impl Live {
    /// Takes what comes, until the task is aborted.
    pub(crate) async fn run(self, mut subscriber: Subscriber) {
        let mut taken = 0;
        loop {
            let message = match subscriber.next().now_or_never() {
                Some(message) => message,
                None => {
                    if taken >= CAPACITY {
                        // The queue may have been full, and the client drops what does not fit. What is in the middle
                        // would be missed by the next message, but not what was the last.
                        self.watches.each_sink(|sink| sink.lost(Some(&self.watch.room)));
                    }
                    taken = 0;
                    subscriber.next().await
                }
            };
            let Some(message) = message else { return };
            taken += 1;
            self.take(&message);
            if taken % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn take(&self, message: &async_nats::Message) {
        let (event, tag) = frame::decode(&message.payload);
        let room = self.watch.room.clone();
        let message = match &self.store {
            None => {
                let offset = self.watches.ephemeral.fetch_add(1, Relaxed) + 1;
                let position = Position { epoch: self.epoch, offset, tag };
                let mut heads = self.watch.heads();
                let follows = heads.live.map_or_else(|| nowhere(self.epoch), |(head, _)| head);
                heads.live = Some((position, Instant::now()));
                Message::ephemeral(room, position, follows, event)
            }
            Some(store) => {
                // Somebody else's message, or an answer that has gone astray: no stream has stored it.
                let Some((sequence, last)) = sequences(message.headers.as_ref()) else { return };
                let Some((position, follows)) = self.place(store, sequence, last, tag) else {
                    self.watches.each_sink(|sink| sink.lost(Some(&self.watch.room)));
                    return;
                };
                Message::new(room, position, follows, event)
            }
        };
        let message = Arc::new(message);
        self.watches.each_sink(|sink| sink.live(Arc::clone(&message)));
    }

    /// Where a message stands and what it follows. None if that cannot be said without asking the stream.
    fn place(&self, store: &Store, sequence: u64, last: u64, tag: u16) -> Option<(Position, Position)> {
        let epoch = store.known()?.epoch;
        let position = Position { epoch, offset: sequence, tag };
        let mut heads = self.watch.heads();
        let newest = heads.live.map(|(head, _)| head);
        if newest.is_some_and(|head| head.offset >= sequence && head.epoch == epoch && head != position) {
            // Sequences of a stream only rise: it is another stream.
            store.forget();
            *heads = Default::default();
            return None;
        }
        let follows = heads.at(last).or_else(|| {
            // No message of the room was there when this one came. If the room was known to be empty, that is what
            // it follows.
            let read = heads.read.filter(|(head, _)| last == 0 && head.tag == frame::BETWEEN);
            read.map(|(head, _)| head).filter(|head| head.epoch == epoch && head.offset < sequence)
        });
        heads.live = Some((position, Instant::now()));
        drop(heads);
        store.saw(sequence);
        // What follows nothing known is refused by every ring, and so asks for a range read.
        Some((position, follows.filter(|follows| follows.epoch == epoch).unwrap_or(Position::UNKNOWN)))
    }
}

/// Where a room that keeps nothing begins on this node.
pub(crate) fn nowhere(epoch: u32) -> Position {
    Position { epoch, offset: 0, tag: frame::BETWEEN }
}

/// The message's sequence in its stream, and that of the one before it of the same subject.
fn sequences(headers: Option<&HeaderMap>) -> Option<(u64, u64)> {
    let headers = headers?;
    let number = |name| headers.get(name)?.as_str().parse().ok();
    Some((number(header::NATS_SEQUENCE)?, number(header::NATS_LAST_SEQUENCE)?))
}

/// Messages of a room that may wait to be taken: as many as wait for a range read in its turn. To take one is a few
/// microseconds, so that more wait only when the whole process stands still.
pub(crate) const CAPACITY: usize = 1_024;
/// Messages that are taken before others have their turn.
const TURN: usize = 64;
