//! Range reads.
//!
//! The stream's leader says what is newest; what lies before that is read by a consumer that lives as long as the read.
//! A replica that serves it may be behind, and is found out by the newest message missing.
//!
//! A message that is read says no more than its sequence, so what it follows is known by the one read before it. What
//! the first one of a page follows is written as a position *between* events: `(epoch, sequence - 1, BETWEEN)`, which
//! says that there is nothing of the room from there to the message. A room without messages stands at such a position
//! too. Whether something was trimmed after such a position cannot be seen in the room itself; it is ruled out by what
//! the stream still has, or by what this node has seen lately.

use crate::{
    broker::Inner,
    frame::{self, BETWEEN},
    names::Class,
    store::{Found, Identity, Look, Store, away},
};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull::Config};
use futures_util::StreamExt;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidings_core::{
    Message, Position, Retention, RoomName, Rooms,
    broker::{BrokerError, ReadFrom, Slice},
};
use tokio::time::Instant;

/// One range read.
struct Read<'a> {
    inner: &'a Inner,
    store: &'a Store,
    room: &'a RoomName,
    subject: String,
    keeps: Retention,
    limit: usize,
    identity: Identity,
    newest: Option<Found>,
}

/// Messages of a room in their order.
struct Page {
    messages: Vec<Found>,
    /// How many there were from the start of the page to the end of the room.
    pending: u64,
}

/// Reads a piece of the history of a room that is in a stream.
pub(crate) async fn read(
    inner: &Inner,
    store: &Store,
    room: &RoomName,
    rooms: Rooms,
    from: ReadFrom,
    limit: usize,
) -> Result<Slice, BrokerError> {
    let subject = inner.names.subject(store.place, room);
    store.identity(rooms.retention()).await?;
    let mut patience = PATIENCE;
    loop {
        let at = Instant::now();
        let (mut newest, look) = tokio::try_join!(store.newest(&subject), store.look())?;
        if newest.as_ref().is_none_or(|newest| newest.is_older_than(rooms.retention().age)) {
            // The answer may then be the end of the stream, as it was when that was looked at. What has come to the room until
            // then must be seen here: where both are asked at once, it need not be.
            newest = store.newest(&subject).await?;
        }
        if let ReadFrom::After(cursor) = from
            && cursor.epoch == look.identity.epoch
            && cursor.offset > look.last
            && patience > 0
        {
            // The server that answers may not have heard of it yet. If it stays so, the end of the stream is lost.
            patience -= 1;
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let (keeps, limit, identity) = (rooms.retention(), limit.max(1), look.identity);
        let read = Read { inner, store, room, subject, keeps, limit, identity, newest };
        return read.answer(store.place.class, from, look, at).await;
    }
}

impl Read<'_> {
    async fn answer(
        self,
        class: Class,
        from: ReadFrom,
        look: Look,
        at: Instant,
    ) -> Result<Slice, BrokerError> {
        let slice = match class {
            Class::Latest => self.latest(from, look),
            Class::Log => self.log(from, look).await?,
        };
        let end = slice.messages.last().map_or(slice.start, |message| message.position());
        if end == slice.head {
            self.inner.watches.read(self.room, slice.head, at);
        }
        Ok(slice)
    }

    /// A room of which only the newest event counts.
    fn latest(&self, from: ReadFrom, look: Look) -> Slice {
        let epoch = self.identity.epoch;
        match &self.newest {
            Some(newest) if from == ReadFrom::After(newest.position(epoch)) => {
                nothing_after(newest.position(epoch))
            }
            Some(newest) if !newest.is_older_than(self.keeps.age) => {
                self.slice(self.between(newest.sequence - 1), vec![newest.clone()])
            }
            _ => match from {
                ReadFrom::After(cursor) if self.stood_at(cursor) => nothing_after(cursor),
                _ => nothing_after(self.between(look.last)),
            },
        }
    }

    async fn log(&self, from: ReadFrom, look: Look) -> Result<Slice, BrokerError> {
        let after = match from {
            ReadFrom::After(cursor) if cursor.epoch == self.identity.epoch => self.after(cursor).await?,
            _ => None,
        };
        match after {
            Some(slice) => Ok(slice),
            None => self.window(from == ReadFrom::Tail, look).await,
        }
    }

    /// What comes after a cursor; none if something may be missing there.
    async fn after(&self, cursor: Position) -> Result<Option<Slice>, BrokerError> {
        let newest = self.newest.as_ref().filter(|newest| newest.sequence >= cursor.offset);
        let Some(newest) = newest else {
            // Nothing there is newer than the cursor. Was there?
            return Ok(self.is_whole_after(cursor).await?.then(|| nothing_after(cursor)));
        };
        if newest.sequence == cursor.offset {
            let same = newest.tag == cursor.tag;
            // A position between events is none of an event's.
            return Ok(same.then(|| nothing_after(cursor)));
        }
        if cursor.offset == 0 && cursor.tag != BETWEEN {
            // Sequences begin with 1: no event ever stood there, and a stream refuses to begin there.
            return Ok(None);
        }
        let own = u64::from(cursor.tag != BETWEEN);
        let start_sequence = cursor.offset + 1 - own;
        let consumer = self.consumer(DeliverPolicy::ByStartSequence { start_sequence }).await?;
        let mut page = self.page(&consumer, 0, self.limit + own as usize).await?;
        let oldest = page.messages.first().map(|oldest| (oldest.sequence, oldest.tag));
        let whole = if own == 1 && oldest == Some((cursor.offset, cursor.tag)) {
            // Messages go from the oldest on: if this one is there, so are all after it.
            page.messages.remove(0);
            page.pending -= 1;
            true
        } else if own == 1 && oldest.is_some_and(|(sequence, _)| sequence == cursor.offset) {
            false
        } else {
            // None of the room's messages after it was one too many, and none was too old.
            page.pending < self.identity.per_room && self.is_whole_after(cursor).await?
        };
        let too_old = page.messages.first().is_some_and(|oldest| oldest.is_older_than(self.keeps.age));
        if !whole || too_old || page.pending > self.keeps.count as u64 {
            return Ok(None);
        }
        let slice = self.slice(cursor, page.messages);
        Ok((self.fits(&slice) == 0).then_some(slice))
    }

    /// Whether the stream has lost nothing to age after a position between events, or after one that was the newest
    /// lately.
    async fn is_whole_after(&self, cursor: Position) -> Result<bool, BrokerError> {
        if self.stood_at(cursor) {
            return Ok(true);
        }
        if cursor.tag != BETWEEN {
            return Ok(false);
        }
        // Asked anew: what has become too old since the messages were read does not matter, what had before does.
        let look = self.store.look().await?;
        let same = look.identity.epoch == cursor.epoch && cursor.offset <= look.last;
        Ok(same && look.first <= cursor.offset + 1)
    }

    /// Whether this node knows that nothing came after a position until lately: what came since cannot be too old.
    fn stood_at(&self, position: Position) -> bool {
        position.epoch == self.identity.epoch
            && self.inner.watches.stood_at(self.room, position, self.identity.age / 2)
    }

    /// The oldest messages that the room keeps, or the newest.
    async fn window(&self, tail: bool, look: Look) -> Result<Slice, BrokerError> {
        let Some(newest) = &self.newest else { return Ok(nothing_after(self.between(look.last))) };
        let keeps = self.keeps.count as u64;
        let wanted = if tail { keeps.min(self.limit as u64) } else { keeps };
        let policy = match SystemTime::now().checked_sub(self.keeps.age) {
            Some(time) if self.keeps.age < self.identity.age => {
                DeliverPolicy::ByStartTime { start_time: time.into() }
            }
            _ => DeliverPolicy::All,
        };
        let mut consumer = self.consumer(policy).await?;
        let mut pending = consumer.cached_info().num_pending;
        if pending == 0 && newest.is_older_than(self.keeps.age) {
            return Ok(nothing_after(newest.position(self.identity.epoch)));
        }
        if pending > wanted {
            (consumer, pending) = self.seek(pending, wanted, look).await?;
        }
        let skip = pending.saturating_sub(wanted) as usize;
        let page = self.page(&consumer, skip, self.limit).await?;
        let Some(oldest) = page.messages.first() else { return Err(self.behind()) };
        let mut slice = self.slice(self.between(oldest.sequence - 1), page.messages);
        let over = self.fits(&slice);
        if let Some(last) = over.checked_sub(1) {
            slice.start = slice.messages[last].position();
            slice.messages.drain(..over);
        }
        Ok(slice)
    }

    /// A consumer that begins at least `wanted` messages before the room's end, and few more. The stream can be asked
    /// how many there are from a sequence on, not the other way round.
    async fn seek(&self, all: u64, wanted: u64, look: Look) -> Result<(PullConsumer, u64), BrokerError> {
        let newest = self.newest.as_ref().map_or(look.last, |newest| newest.sequence);
        // From the first on there are too many, from the second on too few.
        let (mut many, mut few) = ((look.first.max(1), all), (newest + 1, 0));
        let mut halve = false;
        loop {
            let span = few.0.saturating_sub(many.0);
            let start_sequence = if span <= 1 {
                many.0
            } else if halve {
                many.0 + span / 2
            } else {
                // As if the room's messages were spread evenly.
                let part = (wanted + SLACK / 2).saturating_sub(few.1) as f64 / (many.1 - few.1).max(1) as f64;
                few.0 - ((span as f64 * part) as u64).clamp(1, span - 1)
            };
            halve = !halve;
            let consumer = self.consumer(DeliverPolicy::ByStartSequence { start_sequence }).await?;
            let pending = consumer.cached_info().num_pending;
            if span <= 1 || (wanted..=wanted + SLACK).contains(&pending) {
                return Ok((consumer, pending));
            }
            if pending < wanted {
                few = (start_sequence, pending);
            } else {
                many = (start_sequence, pending);
            }
        }
    }

    async fn consumer(&self, deliver_policy: DeliverPolicy) -> Result<PullConsumer, BrokerError> {
        let config = Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject: self.subject.clone(),
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: LEFT_OVER,
            ..Config::default()
        };
        self.inner
            .context
            .create_consumer_on_stream(config, &self.store.name)
            .await
            .map_err(|error| away(&self.store.name, error))
    }

    /// Reads at most `limit` messages after `skip` of them, and ends the consumer.
    async fn page(&self, consumer: &PullConsumer, skip: usize, limit: usize) -> Result<Page, BrokerError> {
        let pending = consumer.cached_info().num_pending;
        let page = self.pull(consumer, skip, limit, pending).await;
        let (context, stream) = (self.inner.context.clone(), self.store.name.clone());
        let name = consumer.cached_info().name.clone();
        // The answer is of no use; if it fails the server ends the consumer by itself.
        tokio::spawn(async move { context.delete_consumer_from_stream(&name, &stream).await.is_ok() });
        let messages = page?;
        let whole = skip + messages.len() >= pending as usize;
        let end = messages.last().map_or(0, |last| last.sequence);
        if whole && self.newest.as_ref().is_some_and(|newest| newest.sequence > end) {
            return Err(self.behind());
        }
        Ok(Page { messages, pending: pending.saturating_sub(skip as u64) })
    }

    async fn pull(
        &self,
        consumer: &PullConsumer,
        skip: usize,
        limit: usize,
        pending: u64,
    ) -> Result<Vec<Found>, BrokerError> {
        let mut left = pending.min((skip + limit) as u64) as usize;
        let (mut skipped, mut bytes, mut batch) = (0, 0_usize, FIRST_BATCH);
        let mut messages = Vec::with_capacity(left.saturating_sub(skip));
        while left > 0 && (bytes < PAGE_BYTES || messages.is_empty()) {
            let asked = batch.min(left);
            let mut taken = consumer
                .batch()
                .max_messages(asked)
                .expires(self.inner.timeout)
                .messages()
                .await
                .map_err(|error| away(&self.store.name, error))?;
            let mut came = 0;
            while let Some(message) = taken.next().await {
                let message = message.map_err(|error| away(&self.store.name, &*error))?;
                let (sequence, at) = {
                    let info = message.info().map_err(|error| away(&self.store.name, &*error))?;
                    (info.stream_sequence, info.published.into())
                };
                came += 1;
                bytes += message.payload.len();
                if skipped < skip {
                    skipped += 1;
                    continue;
                }
                let (event, tag) = frame::decode(&message.payload);
                messages.push(Found { sequence, tag, event, at });
            }
            if came == 0 {
                return Err(self.behind());
            }
            left = left.saturating_sub(came);
            // As many as will fit, going by those that came.
            batch = (PAGE_BYTES / (bytes / (skipped + messages.len())).max(1)).clamp(1, LAST_BATCH);
        }
        Ok(messages)
    }

    fn behind(&self) -> BrokerError {
        BrokerError::Unavailable(format!("{}: the server that was asked is behind", self.store.name))
    }

    fn between(&self, sequence: u64) -> Position {
        Position { epoch: self.identity.epoch, offset: sequence, tag: BETWEEN }
    }

    fn slice(&self, start: Position, found: Vec<Found>) -> Slice {
        let mut end = start;
        let messages = found.into_iter().map(|found| {
            let position = found.position(self.identity.epoch);
            let follows = std::mem::replace(&mut end, position);
            Arc::new(Message::new(self.room.clone(), position, follows, found.event))
        });
        let messages: Vec<_> = messages.collect();
        let newest = self.newest.as_ref().map(|newest| newest.position(self.identity.epoch));
        let head = newest.filter(|newest| newest.offset > end.offset).unwrap_or(end);
        Slice::new(start, messages, head)
    }

    /// How many of the oldest messages are beyond the room's bound of bytes. It can only be said of a slice that goes to
    /// the room's end.
    fn fits(&self, slice: &Slice) -> usize {
        let end = slice.messages.last().map(|last| last.position());
        if end != Some(slice.head) {
            return 0;
        }
        let mut bytes = 0_usize;
        let over = slice.messages.iter().rposition(|message| {
            bytes = bytes.saturating_add(message.event().weight());
            bytes > self.keeps.bytes
        });
        // One may be larger than all that the room may keep.
        over.map_or(0, |last| (last + 1).min(slice.messages.len() - 1))
    }
}

fn nothing_after(position: Position) -> Slice {
    Slice::new(position, Vec::new(), position)
}

/// Times that a server is asked again that has not heard of a cursor: a new leader may come first.
const PATIENCE: usize = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// After that long the server ends a consumer that nobody reads from.
const LEFT_OVER: Duration = Duration::from_secs(10);
/// Messages that may be read for nothing, so that fewer places are tried.
const SLACK: u64 = 64;
/// Bytes of a page, passed by at most one batch.
const PAGE_BYTES: usize = 4 << 20;
/// Messages that are asked for before their size is known, and at most at once.
const FIRST_BATCH: usize = 64;
const LAST_BATCH: usize = 512;
