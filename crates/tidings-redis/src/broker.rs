//! The broker itself.

use crate::{
    builder::Builder,
    frame, history,
    names::{Names, Partition},
    script::{Arg, HAND_OVER, PUBLISH, READ, Request, Run},
    server::{Common, Failure, Server},
    topology::{Source, Topology},
    watch::Watches,
};
use redis::Value;
use std::{sync::Arc, time::Duration};
use tidings_core::{
    Kind, Position, Retention, RoomName, Rooms,
    broker::{Answer, Broker, BrokerError, Publish, ReadFrom, Sink, Slice},
};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout_at},
};

/// The broker on Redis, from version 6.2 on; a cluster from 7.0 on.
///
/// A script stores an event in the stream of its room, which keeps what the room keeps and twice of that at most, and
/// hands it over to the nodes that watch the room, in one step. A [`Position`] is the epoch of the room, the number of the
/// event in it and the event's tag. A room of which nothing is known, because it was idle for longer than it keeps
/// anything or because the server has lost it, begins a new epoch. All that belongs to a room ends by itself when nobody
/// has published in it or watched it for that long.
///
/// Replicas of Redis may be behind their master. Where one takes its place, what it had not heard of is lost, also
/// what was acknowledged; subscribers that had received it are told of a gap, for their positions have tags of other
/// events.
///
/// While a server cannot be reached, publishing in its rooms fails at once with
/// [`BrokerError::Unavailable`]; what was under way then ends with [`BrokerError::Unknown`], after
/// [`timeout`](Builder::timeout) at the latest. It reconnects by itself.
pub struct RedisBroker {
    inner: Inner,
    look: JoinHandle<()>,
}

struct Inner {
    common: Arc<Common>,
    topology: Arc<Topology>,
    /// Bytes that may be published and not yet acknowledged.
    flight: Semaphore,
    /// Range reads under way: after an outage all rooms are read anew, and each answer may be some megabytes.
    reads: Semaphore,
}

impl RedisBroker {
    /// Begins to build a broker. `url` is `redis://user:password@host:6379/database`, or `rediss://…` with TLS, or
    /// `unix:///path`; with commas between, several of a [cluster](Builder::cluster) or of
    /// [Sentinels](Builder::sentinels_of).
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    pub(crate) fn start(names: Names, timeout: Duration, cluster: bool, source: Source) -> Self {
        let common = Arc::new(Common {
            names,
            timeout,
            watches: Watches::default(),
            cluster,
            told: watch::Sender::new(()),
            look: Notify::new(),
        });
        let topology = Arc::new(Topology::new(Arc::clone(&common), source));
        let look = tokio::spawn(Arc::clone(&topology).run());
        Self {
            inner: Inner {
                common,
                topology,
                flight: Semaphore::new(IN_FLIGHT),
                reads: Semaphore::new(READS),
            },
            look,
        }
    }

    /// Resolves when all servers are reached. How long that may take is the caller's to say; [`fault`](Self::fault)
    /// says what it waits for.
    pub async fn ready(&self) {
        let mut told = self.inner.common.told.subscribe();
        while self.fault().is_some() {
            // It fails when the sender is gone, which is here.
            let _ = told.changed().await;
        }
    }

    /// What is wrong, if anything is: a server is not reached, refuses, is no master, or none has some of the rooms.
    /// It is at most some seconds old.
    pub fn fault(&self) -> Option<String> {
        self.inner.topology.fault()
    }

    /// How many rooms are watched.
    pub fn watched(&self) -> usize {
        self.inner.common.watches.len()
    }
}

impl Drop for RedisBroker {
    fn drop(&mut self) {
        // With the topology the servers end, and the connections to them.
        self.look.abort();
    }
}

impl std::fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBroker")
            .field("fault", &self.fault())
            .field("watched", &self.watched())
            .finish_non_exhaustive()
    }
}

impl Broker for RedisBroker {
    fn attach(&self, sink: std::sync::Weak<dyn Sink>) {
        self.inner.common.watches.attach(sink);
    }

    fn publish(&self, publish: Publish) -> Answer<'_, Position> {
        Box::pin(self.inner.publish(publish))
    }

    fn watch<'a>(&'a self, room: &'a RoomName, rooms: Rooms) -> Answer<'a, ()> {
        Box::pin(self.inner.watch(room, rooms))
    }

    fn unwatch(&self, room: &RoomName) {
        self.inner.unwatch(room);
    }

    fn read<'a>(
        &'a self,
        room: &'a RoomName,
        rooms: Rooms,
        from: ReadFrom,
        limit: usize,
    ) -> Answer<'a, Slice> {
        Box::pin(self.inner.read(room, rooms, from, limit))
    }
}

impl Inner {
    async fn publish(&self, publish: Publish) -> Result<Position, BrokerError> {
        let Publish { room, event, key, rooms } = publish;
        let Common { names, cluster, .. } = &*self.common;
        let event = frame::encode(&event);
        let deadline = Instant::now() + self.common.timeout;
        let weight = (event.len() + OVERHEAD).min(IN_FLIGHT) as u32;
        let _place = match self.flight.try_acquire_many(weight) {
            Ok(place) => place,
            Err(_) => timeout_at(deadline, self.flight.acquire_many(weight))
                .await
                .map_err(|_| BrokerError::Unavailable(format!("{IN_FLIGHT} bytes wait to be acknowledged")))?
                .map_err(|error| BrokerError::Unavailable(error.to_string()))?,
        };
        let channel = names.channel(&room);
        let hand_over = if *cluster { "SPUBLISH" } else { "PUBLISH" };
        let tag = frame::tag(&room, key.as_deref());
        let noted = key.map(|key| names.key(&room, &key));
        if rooms.kind() == Kind::Ephemeral {
            let keys: Vec<_> = noted.into_iter().collect();
            let args = [
                Arg::Bytes(&event),
                Arg::Bytes(channel.as_bytes()),
                Arg::Bytes(hand_over.as_bytes()),
                Arg::Number(milliseconds(KEYS)),
            ];
            let request = if keys.is_empty() {
                let mut command = redis::cmd(hand_over);
                command.arg(channel).arg(&event[..]);
                Request::Command(command)
            } else {
                Request::Run(Run { script: &HAND_OVER, keys: &keys, args: &args })
            };
            self.request(&room, &request, deadline).await?;
            return Ok(self.common.watches.nowhere());
        }
        let keeps = rooms.retention();
        let mut keys = vec![names.meta(&room), names.stream(&room)];
        keys.extend(noted);
        let args = [
            Arg::Bytes(&event),
            Arg::Number(tag.into()),
            Arg::Number(rand::random::<u32>().max(1).into()),
            Arg::Number((keeps.count as u64).min(i64::MAX as u64)),
            Arg::Number(keeps.bytes as u64),
            Arg::Number(milliseconds(keeps.age)),
            Arg::Number(remembered(keeps)),
            Arg::Bytes(channel.as_bytes()),
            Arg::Bytes(hand_over.as_bytes()),
            Arg::Number(milliseconds(KEYS)),
        ];
        let request = Request::Run(Run { script: &PUBLISH, keys: &keys, args: &args });
        match self.request(&room, &request, deadline).await? {
            Value::BulkString(position) => frame::position(&position),
            _ => None,
        }
        .ok_or_else(|| BrokerError::Unknown(NO_ANSWER.to_owned()))
    }

    async fn watch(&self, room: &RoomName, rooms: Rooms) -> Result<(), BrokerError> {
        let deadline = Instant::now() + self.common.timeout;
        let server = self.server(room, deadline).await?;
        // Nobody waits for what does not work, except at the start.
        server.connection(deadline).await.map_err(BrokerError::Unavailable)?;
        let watch = self.common.watches.add(room, rooms.kind() != Kind::Ephemeral);
        // Should the future be dropped half-way.
        let undo = Undo { inner: self, room };
        let mut started = watch.started.subscribe();
        if !*started.borrow() {
            server.live.change(room);
        }
        let begun = timeout_at(deadline, started.wait_for(|started| *started)).await;
        if !matches!(begun, Ok(Ok(_))) {
            let fault = server.fault().unwrap_or_else(|| format!("{} does not answer", server.name()));
            return Err(BrokerError::Unavailable(fault));
        }
        std::mem::forget(undo);
        Ok(())
    }

    fn unwatch(&self, room: &RoomName) {
        if self.common.watches.remove(room)
            && let Some(server) = self.topology.known(Partition::of(room))
        {
            server.live.change(room);
        }
    }

    async fn read(
        &self,
        room: &RoomName,
        rooms: Rooms,
        from: ReadFrom,
        limit: usize,
    ) -> Result<Slice, BrokerError> {
        if rooms.kind() == Kind::Ephemeral {
            let head = self.common.watches.ephemeral_head(room);
            return Ok(Slice::new(head, Vec::new(), head));
        }
        let keeps = rooms.retention();
        let keys = [self.common.names.meta(room), self.common.names.stream(room)];
        let args = history::args(from, limit, keeps, remembered(keeps));
        // Nobody waits here for long: each of those before is answered in time or not at all.
        let turn = self.reads.acquire().await;
        let _turn = turn.map_err(|error| BrokerError::Unavailable(error.to_string()))?;
        let deadline = Instant::now() + self.common.timeout;
        let request = Request::Run(Run { script: &READ, keys: &keys, args: &args });
        let answer = self.request(room, &request, deadline).await?;
        history::slice(answer, room, keeps).ok_or_else(|| BrokerError::Unavailable(NO_ANSWER.to_owned()))
    }

    async fn server(&self, room: &RoomName, deadline: Instant) -> Result<Arc<Server>, BrokerError> {
        self.topology.server(Partition::of(room), deadline).await
    }

    /// Asks the server that has the room, whichever that is by now.
    async fn request(
        &self,
        room: &RoomName,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Value, BrokerError> {
        loop {
            let mut told = self.common.told.subscribe();
            match self.server(room, deadline).await?.request(request, deadline).await {
                Ok(value) => return Ok(value),
                Err(Failure::Elsewhere(why)) => {
                    let again = Instant::now() + PAUSE;
                    if again >= deadline {
                        return Err(BrokerError::Unavailable(why));
                    }
                    sleep_until(again).await;
                    // It may have been told already what has changed.
                    let _ = timeout_at(again + PAUSE, told.changed()).await;
                }
                Err(failure) => return Err(failure.error()),
            }
        }
    }
}

/// Ends a watch that came to nothing.
struct Undo<'a> {
    inner: &'a Inner,
    room: &'a RoomName,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.inner.unwatch(self.room);
    }
}

/// For how long a room is remembered, in milliseconds: longer than it keeps anything by so much that a node that watches
/// it and compares it with its history from time to time does not miss it.
fn remembered(keeps: Retention) -> u64 {
    milliseconds(keeps.age + Duration::from_secs(120))
}

/// At least one, for a server takes no other.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

const NO_ANSWER: &str = "the server's answer is none of the script's";
/// How long a key is remembered: longer than any client keeps retrying one request.
const KEYS: Duration = Duration::from_secs(300);
/// Between attempts to find where a room is that goes from one server to another.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes under way to the servers: at some hundred of megabytes a second that a connection makes, about as much as fits
/// the time-out of a slow one, and all that a node may have to keep meanwhile.
const IN_FLIGHT: usize = 64 << 20;
/// As many as keep the servers busy.
const READS: usize = 64;
/// What one event under way takes beside its payload: futures, keys, the place in the client's queues.
const OVERHEAD: usize = 1 << 10;
