//! The node: rooms, sessions, broker.

mod ask;
mod builder;
mod call;
mod control;
mod deliver;
mod directory;
mod drain;
mod expiry;
mod guard;
mod presence;
mod quotas;
mod room;
mod run;
mod sessions;
mod stats;
mod tickets;

pub use builder::HubBuilder;
pub use call::CallError;
pub(crate) use control::revoked;
pub use drain::NotReady;
pub use presence::Members;
pub(crate) use room::{Membership, Room, jitter};
pub(crate) use run::{Run, Runs};
pub use sessions::Crowded;
pub use stats::{ClassStats, Deliveries, Lag, Stats};

use crate::{
    Address, Command, Denied, Event, From, Gate, Identity, JoinError, Kind, Limits, NameError, Notice,
    Position, PublishError, RoomName, Session, Subscription, Transport, Wheel,
    broker::{Broker, Publish},
    policy::Rules,
    sync::Mutex,
    trace,
};
use directory::Directory;
use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    task::JoinHandle,
    time::Instant,
};
use tracing::Instrument;

/// The node: its rooms, its sessions and its broker. A handle; cloning it is cheap.
///
/// It works in the background on the tokio runtime of whoever first uses it, with as many flushers as that has threads;
/// sessions may be on others, as long as this one lasts.
#[derive(Clone)]
pub struct Hub {
    node: Arc<Node>,
}

/// What a [`Hub`] holds. Locks are taken in the order rooms, loan, room, mailbox, none across an await. A loan alone is
/// held while its socket is written to, which does not wait.
pub(crate) struct Node {
    /// Chance: no two nodes have the same.
    id: u64,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) broker: Arc<dyn Broker>,
    /// The same without the rooms that the node makes itself, if it makes any.
    words: Option<Arc<dyn Broker>>,
    pub(crate) limits: Limits,
    wheel: Wheel,
    /// The clock of the wall, which identities expire by.
    wall: fn() -> SystemTime,
    /// Range reads for sessions that are behind their room's ring: they share the node fairly and cannot flood
    /// the broker.
    pub(crate) reads: Arc<Semaphore>,
    rules: Arc<Rules>,
    /// None if no class of rooms tells who is in a room.
    presences: Option<Arc<presence::Presences>>,
    offline: Option<presence::Offline>,
    rooms: Mutex<Directory>,
    sessions: Mutex<sessions::Sessions>,
    pub(crate) quotas: quotas::Quotas,
    tickets: Mutex<tickets::Tickets>,
    pub(crate) counts: Arc<stats::Counts>,
    /// Told when the last session has gone.
    vacant: Notify,
    calls: call::Calls,
    control: control::Control,
    dirty: Arc<deliver::Dirty>,
    /// Rooms that need a range read; a broker's hand-over must not do it itself.
    resyncs: Mutex<Vec<Arc<Room>>>,
    /// When rooms were last evicted for want of place.
    evicted: Mutex<Option<Instant>>,
    /// The background task, and the runtime that it is on.
    background: Mutex<Option<(Handle, JoinHandle<()>)>>,
}

impl Hub {
    /// Begins to build a hub.
    pub fn builder() -> HubBuilder {
        HubBuilder::new()
    }

    /// Publishes an event, as the application: no gate is asked. Answers when the broker has stored it.
    ///
    /// Dropping the future leaves open whether the event was published.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish<R>(&self, room: R, event: Event) -> Result<Position, PublishError>
    where
        R: TryInto<RoomName, Error = NameError>,
    {
        self.node.start_if_possible();
        self.node.publish(room.try_into()?, event, None).await
    }

    /// Publishes an event once: a repeat with the same key within five minutes publishes nothing and answers the
    /// position of the first.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish_once<R>(&self, room: R, event: Event, key: &str) -> Result<Position, PublishError>
    where
        R: TryInto<RoomName, Error = NameError>,
    {
        self.node.start_if_possible();
        self.node.publish(room.try_into()?, event, Some(format!("inside {key}"))).await
    }

    /// Publishes an event into the [room of a user](RoomName::of_user): it reaches all of the user's sessions that are in it,
    /// on all nodes, and is kept as its class of rooms, such as `~user:*`, says.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish_to_user(&self, user: &str, event: Event) -> Result<Position, PublishError> {
        self.publish(&RoomName::of_user(user)?, event).await
    }

    /// Subscribes from within the process. No gate is asked.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn subscribe<R>(&self, room: R, from: From) -> Result<Subscription, JoinError>
    where
        R: TryInto<RoomName, Error = NameError>,
    {
        Subscription::new(self, room.try_into()?, from).await
    }

    /// Answers calls of clients to `method`. A later handler for the same method replaces the earlier one.
    ///
    /// One that panics is answered with the error `internal`, one that takes longer than [`Limits::call_wait`] is dropped and
    /// answered with `unavailable`.
    ///
    /// The hub keeps the handler: one that holds a handle of the same hub keeps the hub, for as long as the process
    /// runs.
    pub fn on_call<A, T, F>(&self, method: &str, handler: impl Fn(Identity, A) -> F + Send + Sync + 'static)
    where
        A: serde::de::DeserializeOwned + Send,
        T: serde::Serialize,
        F: Future<Output = Result<T, CallError>> + Send + 'static,
    {
        self.node.calls.set(method, handler);
    }

    /// Begins a session for a client that the gate has let in, at an address, where it has one that counts. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// If there are as many sessions as there may be.
    pub fn attach(
        &self,
        transport: Arc<dyn Transport>,
        identity: Identity,
        address: Option<Address>,
    ) -> Result<Session, Crowded> {
        self.node.start(&Handle::current());
        Session::new(Arc::clone(&self.node), transport, Some(identity), address)
    }

    /// A session that is asked at no gate: the application's own.
    pub(crate) fn attach_inside(&self, transport: Arc<dyn Transport>) -> Result<Session, Crowded> {
        self.node.start(&Handle::current());
        Session::new(Arc::clone(&self.node), transport, None, None)
    }

    /// Does a command of a client that has no stream, unless its user or its address has asked too often, and answers it.
    pub fn perform(
        &self,
        who: Identity,
        address: Option<Address>,
        command: Command,
    ) -> impl Future<Output = Notice> + Send + use<> {
        self.node.start_if_possible();
        let node = Arc::clone(&self.node);
        let span = trace::command(command.name(), None);
        let work = async move {
            if let Err(over) = node.quotas.ask(None, &who, address) {
                node.counts.refused.add("rate");
                return over.notice(command.reference());
            }
            // Those before it in one request may have taken their time.
            match node.still(who) {
                Ok(who) => crate::session::perform(node, Some(who), None, command).await,
                Err(denied) => {
                    node.counts.refused.add(denied.code());
                    denied.notice(command.reference())
                }
            }
        };
        work.instrument(span)
    }

    /// Counts a request of an address, and answers whether it has not made too many ([`Limits::address_requests`]).
    pub fn takes_request(&self, address: Option<Address>) -> bool {
        address.is_none_or(|address| self.node.quotas.request(address))
    }

    /// Resolves when no client has a session. Subscriptions from within the process do not count.
    pub async fn vacant(&self) {
        loop {
            let mut told = std::pin::pin!(self.node.vacant.notified());
            told.as_mut().enable();
            if self.node.sessions.lock().outside == 0 {
                return;
            }
            told.await;
        }
    }

    /// Asks the gate who it is.
    ///
    /// # Errors
    /// If the gate says no, or has not answered after [`Limits::gate_wait`], or has panicked; and if the identity that it
    /// gives has expired.
    pub async fn connect(&self, head: &http::request::Parts) -> Result<Identity, Denied> {
        self.node.start_if_possible();
        let who = self.node.admit(|| self.node.ask("connect", |gate| gate.connect(head))).await;
        let who = who.and_then(|who| self.node.still(who));
        who.inspect_err(|denied| self.note_refused(denied.code()))
    }

    /// For how long a [`ticket`](Self::ticket) is good.
    pub const TICKET_AGE: Duration = tickets::AGE;

    /// A ticket for somebody whom the gate has let in, who asks from an address: a secret that stands for the same identity,
    /// once, on this node, and for [`TICKET_AGE`](Self::TICKET_AGE).
    ///
    /// # Errors
    /// If as many were issued lately as there may be sessions.
    pub fn ticket(&self, who: Identity, address: Option<Address>) -> Result<String, Crowded> {
        self.node.start_if_possible();
        self.node.ticket(who, address)
    }

    /// Whom a ticket stands for. It is used up by that.
    ///
    /// # Errors
    /// If it is none, or was used, or is too old; and if the identity has expired meanwhile.
    pub fn redeem(&self, ticket: &str) -> Result<Identity, Denied> {
        self.node.redeem(ticket).inspect_err(|denied| self.note_refused(denied.code()))
    }

    /// Counts what was refused of a client's without asking the hub, by the code of the protocol: see [`Stats::refused`].
    pub fn note_refused(&self, code: &str) {
        self.node.counts.refused.add(code);
    }

    /// Somebody who says who it is by its first command, which is [`Command::Auth`], within [`Limits::auth_wait`]. Until then
    /// it may do nothing else.
    pub fn stranger(&self) -> Identity {
        Identity::stranger((self.node.wall)().checked_add(self.node.limits.auth_wait))
    }

    /// How long an identity still holds; none if for ever.
    pub fn time_left(&self, who: &Identity) -> Option<Duration> {
        self.node.time_left(who)
    }

    /// The timer that the node's connections share, for heartbeats and time-outs.
    pub fn wheel(&self) -> &Wheel {
        &self.node.wheel
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.node.limits
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(presences) = &self.presences {
            presences.end();
        }
        self.unwatch_all();
        self.control.end();
        self.dirty.end();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Node {
    pub(crate) async fn publish(
        &self,
        room: RoomName,
        event: Event,
        key: Option<String>,
    ) -> Result<Position, PublishError> {
        if room.told().is_some() {
            return Err(Denied::forbidden("who is in a room is told by the nodes alone").into());
        }
        let (len, max) = (event.data().len(), self.limits.message);
        if len > max {
            return Err(PublishError::TooLarge { len, max });
        }
        let class = self.rules.of(&room);
        let rooms = class.rooms;
        let published = self.broker.publish(Publish { room, event, key, rooms }).await;
        class.note_published(published.is_ok());
        let published = published.inspect_err(|error| self.quotas.note_broker("publish", error));
        let position = published?;
        // Nobody can resume from a place in a room that keeps nothing.
        Ok(if rooms.kind() == Kind::Ephemeral { Position::UNKNOWN } else { position })
    }

    /// Also a hub that only publishes has a history to keep in order.
    fn start_if_possible(self: &Arc<Self>) {
        if let Ok(runtime) = Handle::try_current() {
            self.start(&runtime);
        }
    }

    pub(crate) fn calls(&self) -> &call::Calls {
        &self.calls
    }

    /// Runs `task` to its end: at once if it does not have to wait, else in the background, because whoever
    /// began it may go away while others wait for its result.
    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut task = Box::pin(task);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        if task.as_mut().poll(&mut cx).is_pending() {
            let background = self.background.lock().as_ref().map(|(runtime, _)| runtime.clone());
            match Handle::try_current().ok().or(background) {
                Some(runtime) => drop(runtime.spawn(task)),
                None => {
                    unreachable!("rooms come to be by sessions, and a session starts the hub on a runtime")
                }
            }
        }
    }
}
