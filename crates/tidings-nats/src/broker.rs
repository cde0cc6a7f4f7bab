//! The broker itself.

use crate::{
    builder::{BuildError, Builder},
    frame,
    health::{self, Events, Health},
    history,
    live::{CAPACITY, Live, nowhere},
    names::{Class, Names, Place, token},
    store::{Setup, Store, away},
    watch::{Watch, Watches},
};
use async_nats::{
    Client, ConnectOptions, ServerAddr,
    connection::State,
    jetstream::{
        Context,
        context::{ContextBuilder, PublishErrorKind},
        message::PublishMessage,
    },
};
use rand::RngExt;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tidings_core::{
    Position, RoomName, Rooms,
    broker::{Answer, Broker, BrokerError, Publish, ReadFrom, Sink, Slice},
};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

/// The broker on NATS JetStream.
///
/// Rooms with a history are subjects of a few streams, which it makes itself and which keep as much as the room that
/// keeps most; a range read gives no more than its own room keeps. What a stream has stored it hands over at once to the
/// nodes that watch the room. A [`Position`] is the epoch of the stream, the message's sequence in it and the event's
/// tag; a stream that was lost and made anew is another epoch.
///
/// While no server can be reached, or a stream has no leader, publishing fails at once with
/// [`BrokerError::Unavailable`]; what was under way then ends with [`BrokerError::Unknown`], at once if the connection breaks
/// and else after [`timeout`](Builder::timeout). It reconnects by itself.
pub struct NatsBroker {
    inner: Arc<Inner>,
    health: JoinHandle<()>,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) context: Context,
    pub(crate) names: Names,
    pub(crate) timeout: Duration,
    pub(crate) watches: Arc<Watches>,
    pub(crate) health: Health,
    setup: Setup,
    stores: Mutex<HashMap<Place, Arc<Store>>>,
    /// Bytes that may be published and not yet acknowledged.
    flight: Semaphore,
    /// The epoch of rooms that keep nothing: this broker's own.
    epoch: u32,
}

impl NatsBroker {
    /// Begins to build a broker. `url` is `nats://user:password@host:4222`, or `nats://token@host`, or `tls://…`,
    /// or several with commas between.
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    pub(crate) fn start(
        builder: Builder,
        names: Names,
        servers: Vec<ServerAddr>,
        options: ConnectOptions,
    ) -> Result<Self, BuildError> {
        let Builder { url: _, replicas, storage, timeout, domain, .. } = builder;
        let events = Events::default();
        let heard = events.clone();
        let options = options
            .name("tidings")
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(timeout)
            .request_timeout(Some(timeout))
            .ping_interval(PING)
            .subscription_capacity(CAPACITY)
            .reconnect_delay_callback(delay)
            .event_callback(move |event| {
                heard.take(&event);
                std::future::ready(())
            });
        let client = connect(servers, options)?;
        let context = ContextBuilder::new()
            .timeout(timeout)
            .ack_timeout(timeout)
            .max_ack_inflight(IN_FLIGHT / OVERHEAD)
            .backpressure_on_inflight(true);
        let context = match domain {
            Some(domain) => context.domain(domain).build(client.clone()),
            None => context.build(client.clone()),
        };
        let watches = Arc::<Watches>::default();
        let inner = Arc::new(Inner {
            client,
            context,
            setup: Setup { names: names.clone(), replicas, storage },
            names,
            timeout,
            watches,
            health: Health::new(events),
            stores: Mutex::default(),
            flight: Semaphore::new(IN_FLIGHT),
            epoch: rand::random::<u32>().max(1),
        });
        let health = tokio::spawn(health::run(Arc::clone(&inner)));
        Ok(Self { inner, health })
    }

    /// Resolves when a server is reached and the streams that were needed so far are there. How long that may take is
    /// the caller's to say; [`fault`](Self::fault) says what it waits for.
    pub async fn ready(&self) {
        self.inner.health.ready().await;
    }

    /// What is wrong, if anything is: no server is reached, it refuses, JetStream is off, a stream is not as it must be
    /// or has no leader. It is at most some seconds old.
    pub fn fault(&self) -> Option<String> {
        self.inner.health.fault()
    }

    /// How many rooms are watched.
    pub fn watched(&self) -> usize {
        self.inner.watches.len()
    }
}

impl Drop for NatsBroker {
    fn drop(&mut self) {
        self.health.abort();
        // Each holds what all share, and that the connection.
        self.inner.watches.clear();
    }
}

impl std::fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBroker")
            .field("fault", &self.fault())
            .field("watched", &self.watched())
            .finish_non_exhaustive()
    }
}

impl Broker for NatsBroker {
    fn attach(&self, sink: Weak<dyn Sink>) {
        self.inner.watches.attach(sink);
    }

    fn publish(&self, publish: Publish) -> Answer<'_, Position> {
        Box::pin(self.inner.publish(publish))
    }

    fn watch<'a>(&'a self, room: &'a RoomName, rooms: Rooms) -> Answer<'a, ()> {
        Box::pin(self.inner.watch(room, rooms))
    }

    fn unwatch(&self, room: &RoomName) {
        self.inner.watches.remove(room);
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
    /// The streams that were needed so far.
    pub(crate) fn stores(&self) -> Vec<Arc<Store>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn store(&self, class: Class, room: &RoomName) -> Arc<Store> {
        let place = self.names.place(class, room);
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(stores.entry(place).or_insert_with(|| {
            let watches = Arc::clone(&self.watches);
            Arc::new(Store::new(place, self.setup.clone(), self.context.clone(), watches))
        }))
    }

    async fn publish(&self, publish: Publish) -> Result<Position, BrokerError> {
        self.health.usable(self.timeout).await?;
        let Publish { room, event, key, rooms } = publish;
        let tag = frame::tag(&room, key.as_deref());
        let payload = frame::encode(&event, tag);
        let deadline = Instant::now() + self.timeout;
        let weight = (payload.len() + OVERHEAD).min(IN_FLIGHT) as u32;
        let _place = timeout_at(deadline, self.flight.acquire_many(weight))
            .await
            .map_err(|_| BrokerError::Unavailable(format!("{IN_FLIGHT} bytes wait to be acknowledged")))?;
        let Some(class) = Class::of(rooms) else {
            let sent = self.client.publish(self.names.ephemeral(&room), payload);
            return match timeout_at(deadline, sent).await {
                Ok(Ok(())) => Ok(nowhere(self.epoch)),
                Ok(Err(error)) => Err(away("not published", error)),
                Err(_) => Err(BrokerError::Unavailable("the connection takes nothing".to_owned())),
            };
        };
        let store = self.store(class, &room);
        let subject = self.names.subject(store.place, &room);
        let mut message = PublishMessage::build().payload(payload);
        if let Some(key) = &key {
            message = message.message_id(format!("{} {}", token(&room), token(key)));
        }
        let mut anew = false;
        loop {
            let identity = timeout_at(deadline, store.identity(rooms.retention()))
                .await
                .map_err(|_| BrokerError::Unavailable(format!("{} does not answer", store.name)))??;
            let before = store.highest();
            let mut connection = self.health.connection();
            if self.client.connection_state() != State::Connected {
                return Err(BrokerError::Unavailable(LOST.to_owned()));
            }
            let sent =
                timeout_at(deadline, self.context.send_publish(subject.clone(), message.clone())).await;
            let ack = match sent {
                Ok(Ok(ack)) => match connection.answer(ack.into_future()).await {
                    Some(ack) => ack,
                    None => return Err(BrokerError::Unknown(LOST.to_owned())),
                },
                // What was not taken by the client was not sent.
                Ok(Err(error)) => return Err(away("not published", error)),
                Err(_) => return Err(BrokerError::Unavailable("the connection takes nothing".to_owned())),
            };
            let ack = match ack {
                Ok(ack) => ack,
                Err(error) => match error.kind() {
                    // Nobody was there to take it: the stream is gone, or has no leader.
                    PublishErrorKind::StreamNotFound if !anew => {
                        store.forget();
                        anew = true;
                        continue;
                    }
                    PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
                        return Err(BrokerError::Unknown(error.to_string()));
                    }
                    _ => return Err(away("refused", error)),
                },
            };
            let mut epoch = identity.epoch;
            if !ack.duplicate && ack.sequence <= before {
                // It went back: it is another stream than a moment ago, and everybody here must know.
                epoch = store.look().await.map_err(unknown)?.identity.epoch;
            }
            store.saw(ack.sequence);
            return Ok(Position { epoch, offset: ack.sequence, tag });
        }
    }

    async fn watch(&self, room: &RoomName, rooms: Rooms) -> Result<(), BrokerError> {
        self.health.usable(self.timeout).await?;
        let store = Class::of(rooms).map(|class| self.store(class, room));
        let watch = self.watches.add(room, store.as_ref().map(|store| store.place));
        // Should the future be dropped half-way.
        let undo = Undo { watches: &self.watches, room };
        let started = watch.started.get_or_try_init(|| self.subscribe(&watch, store));
        timeout(self.timeout, started)
            .await
            .map_err(|_| BrokerError::Unavailable("the connection takes nothing".to_owned()))??;
        std::mem::forget(undo);
        Ok(())
    }

    /// The server is told before it is asked anything more, over the same connection, so that a read that begins from
    /// here on is answered after.
    async fn subscribe(&self, watch: &Arc<Watch>, store: Option<Arc<Store>>) -> Result<(), BrokerError> {
        let subject = match &store {
            Some(store) => self.names.live_subject(store.place, &watch.room),
            None => self.names.ephemeral(&watch.room),
        };
        let subscriber = self.client.subscribe(subject).await.map_err(|error| away("not watched", error))?;
        let live =
            Live { watches: Arc::clone(&self.watches), watch: Arc::clone(watch), store, epoch: self.epoch };
        // The task counts what it takes until there is nothing, which must not look so because its turn is over.
        let task = tokio::spawn(tokio::task::unconstrained(live.run(subscriber)));
        *watch.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(())
    }

    async fn read(
        &self,
        room: &RoomName,
        rooms: Rooms,
        from: ReadFrom,
        limit: usize,
    ) -> Result<Slice, BrokerError> {
        self.health.usable(self.timeout).await?;
        let Some(class) = Class::of(rooms) else {
            let watch = self.watches.get(room);
            let head = watch.and_then(|watch| watch.heads().live).map(|(head, _)| head);
            let head = head.unwrap_or_else(|| nowhere(self.epoch));
            return Ok(Slice::new(head, Vec::new(), head));
        };
        let store = self.store(class, room);
        let read = history::read(self, &store, room, rooms, from, limit);
        let lost = || Err(BrokerError::Unavailable(LOST.to_owned()));
        self.health.connection().answer(read).await.unwrap_or_else(lost)
    }
}

/// Ends a watch that came to nothing.
struct Undo<'a> {
    watches: &'a Watches,
    room: &'a RoomName,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.watches.remove(self.room);
    }
}

fn unknown(error: BrokerError) -> BrokerError {
    BrokerError::Unknown(error.to_string())
}

/// The client connects in the background, so that this does not wait.
fn connect(servers: Vec<ServerAddr>, options: ConnectOptions) -> Result<Client, BuildError> {
    use futures_util::FutureExt;
    let fault = |reason: String| BuildError::Address { url: "the address".to_owned(), reason };
    match options.connect(servers).now_or_never() {
        Some(client) => client.map_err(|error| fault(error.to_string())),
        None => Err(fault("the client did not begin in the background".to_owned())),
    }
}

/// Full jitter: what lost its server together does not come back together.
fn delay(attempts: usize) -> Duration {
    let most = FIRST_DELAY.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(LAST_DELAY);
    rand::rng().random_range(FIRST_DELAY / 5..most)
}

const LOST: &str = "the connection was lost";
/// A server that does not answer is given up after three of these.
const PING: Duration = Duration::from_secs(2);
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest that nobody tries to reach a server that is back.
const LAST_DELAY: Duration = Duration::from_secs(3);
/// Bytes under way to the servers: at some hundred of megabytes a second that a connection makes, about as much as fits
/// the time-out of a slow one, and all that a node may have to keep meanwhile.
const IN_FLIGHT: usize = 64 << 20;
/// What one event under way takes beside its payload: futures, subjects, the place in the client's tables.
const OVERHEAD: usize = 1 << 10;
