//! Whether all that works: the connection, and each stream.

use crate::{
    broker::Inner,
    store::{away, is_missing},
};
use async_nats::{Event, connection::State};
use rand::RngExt;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tidings_core::broker::BrokerError;
use tokio::sync::{Notify, watch};

/// Whether all that works, and why not.
#[derive(Debug)]
pub(crate) struct Health {
    /// None: it works.
    fault: watch::Sender<Option<String>>,
    /// Whether a server was ever reached.
    reached: AtomicBool,
    events: Events,
}

/// What the client tells of its connection, in its own task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Events(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    changed: Notify,
    /// How often the connection has broken.
    breaks: watch::Sender<u64>,
    refusal: Mutex<Option<String>>,
}

impl Events {
    pub(crate) fn take(&self, event: &Event) {
        match event {
            Event::Connected => self.refused(None),
            Event::ServerError(error) => self.refused(Some(error.to_string())),
            Event::ClientError(error) => self.refused(Some(error.to_string())),
            Event::Disconnected => self.0.breaks.send_modify(|breaks| *breaks += 1),
            _ => {}
        }
        self.0.changed.notify_one();
    }

    fn refused(&self, why: Option<String>) {
        *self.0.refusal.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// A connection as it was at some time.
pub(crate) struct Connection(watch::Receiver<u64>);

impl Connection {
    /// What is answered over it. None if it breaks before: nobody answers over another one.
    pub(crate) async fn answer<T>(&mut self, asked: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            answer = asked => Some(answer),
            // The sender is gone when nobody can ask any more.
            _ = self.0.changed() => None,
        }
    }
}

impl Health {
    pub(crate) fn new(events: Events) -> Self {
        Self {
            fault: watch::Sender::new(Some(UNREACHED.to_owned())),
            reached: AtomicBool::new(false),
            events,
        }
    }

    /// The connection as it is now.
    pub(crate) fn connection(&self) -> Connection {
        Connection(self.events.0.breaks.subscribe())
    }

    /// What is wrong, if anything is.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.borrow().clone()
    }

    /// Resolves when all works.
    pub(crate) async fn ready(&self) {
        let mut fault = self.fault.subscribe();
        // It fails when the sender is gone, which is here.
        let _ = fault.wait_for(Option::is_none).await;
    }

    /// Whether to try at all. Nobody waits for what does not work, except at the start, when it is not known.
    pub(crate) async fn usable(&self, timeout: Duration) -> Result<(), BrokerError> {
        if !self.reached.load(SeqCst) {
            let _ = tokio::time::timeout(timeout, self.ready()).await;
        }
        match &*self.fault.borrow() {
            Some(fault) => Err(BrokerError::Unavailable(fault.clone())),
            None => Ok(()),
        }
    }

    fn set(&self, fault: Option<String>) {
        if fault.is_none() {
            self.reached.store(true, SeqCst);
        }
        self.fault.send_if_modified(|known| {
            let changed = *known != fault;
            *known = fault;
            changed
        });
    }
}

/// Looks after the connection and the streams for as long as the broker lives.
pub(crate) async fn run(inner: Arc<Inner>) {
    let connects = AtomicU64::new(0);
    loop {
        let before = connects.load(SeqCst);
        let mut connection = inner.health.connection();
        let fault = connection.answer(check(&inner, &connects)).await.unwrap_or_else(|| {
            // Whoever waits for the next look must not take the next connection for this one.
            connects.store(before, SeqCst);
            Some(UNREACHED.to_owned())
        });
        inner.health.set(fault.clone());
        // More often while something is wrong, for then nobody can do anything; never all nodes at once.
        let pause = if fault.is_some() { CHECK / 4 } else { CHECK };
        let pause = rand::rng().random_range(pause / 2..pause);
        let _ = tokio::time::timeout(pause, inner.health.events.0.changed.notified()).await;
    }
}

async fn check(inner: &Inner, connects: &AtomicU64) -> Option<String> {
    if inner.client.connection_state() != State::Connected {
        let refusal = inner.health.events.0.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        return Some(refusal.map_or_else(|| UNREACHED.to_owned(), |why| format!("{UNREACHED}: {why}")));
    }
    let now = inner.client.statistics().connects.load(SeqCst);
    let before = connects.swap(now, SeqCst);
    let stores = inner.stores();
    if stores.is_empty() {
        // Nobody has needed a stream yet. Whether JetStream is on at all, asking for any will tell.
        if let Err(error) = probe(inner).await {
            return Some(fault(error));
        }
    }
    for store in stores {
        if let Err(error) = store.look().await {
            // Whoever waits for the next look must not take this connection for an old one.
            connects.store(before, SeqCst);
            return Some(fault(error));
        }
    }
    if now != before && before > 0 {
        // The client has told the new server what it wants before it was asked anything, so nothing is lost from
        // here on; but from before.
        inner.watches.lost();
    }
    None
}

async fn probe(inner: &Inner) -> Result<(), BrokerError> {
    match inner.context.get_stream(inner.names.any_stream()).await {
        Err(error) if !is_missing(error.kind()) => Err(away("JetStream", error)),
        _ => Ok(()),
    }
}

/// What a broker's error says, without that it is one.
fn fault(error: BrokerError) -> String {
    match error {
        BrokerError::Unavailable(fault) | BrokerError::Unknown(fault) => fault,
        error => error.to_string(),
    }
}

const UNREACHED: &str = "no NATS server is reached";
/// How long a stream may be another one before all nodes know.
const CHECK: Duration = Duration::from_secs(2);
