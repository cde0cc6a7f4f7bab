//! Building a hub, with the one decision that cannot be skipped.

use super::{
    Hub, Node,
    call::Calls,
    control::Control,
    deliver::Dirty,
    presence::{Offline, PresenceBroker, Presences},
    quotas::Quotas,
};
use crate::{Broker, Gate, Limits, MemoryBroker, RoomName, Rooms, Wheel, policy::Rules};
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Weak},
    time::SystemTime,
};
use tokio::sync::Semaphore;

/// Builds a [`Hub`]. Without a gate there is no `build`: who may come in is a decision nobody can skip.
///
/// ```compile_fail
/// let hub = tidings_core::Hub::builder().build(); // no gate
/// ```
/// ```
/// use tidings_core::{Hub, Rooms, gate};
/// use std::time::Duration;
/// let hub = Hub::builder()
///     .gate(gate::open())
///     .rooms("news", Rooms::log(1_000, Duration::from_secs(86_400)))
///     .rooms("price:*", Rooms::latest())
///     .build();
/// ```
pub struct HubBuilder<G = NoGate> {
    gate: G,
    broker: Arc<dyn Broker>,
    rules: Rules,
    limits: Limits,
    offline: Option<Offline>,
    pub(crate) wall: fn() -> SystemTime,
}

/// The builder has no gate yet.
#[derive(Debug)]
#[non_exhaustive]
pub struct NoGate;

impl HubBuilder {
    pub(super) fn new() -> Self {
        Self {
            gate: NoGate,
            broker: Arc::new(MemoryBroker::new()),
            rules: Rules::default(),
            limits: Limits::default(),
            offline: None,
            wall: SystemTime::now,
        }
    }

    /// Sets who may connect, join, publish and call. [`gate::open`](crate::gate::open) lets everybody.
    pub fn gate(self, gate: impl Gate) -> HubBuilder<Arc<dyn Gate>> {
        let Self { broker, rules, limits, offline, wall, .. } = self;
        HubBuilder { gate: Arc::new(gate), broker, rules, limits, offline, wall }
    }
}

impl<G> HubBuilder<G> {
    /// Sets how nodes share rooms; a [`MemoryBroker`] of its own unless set.
    #[must_use]
    pub fn broker(mut self, broker: Arc<dyn Broker>) -> Self {
        self.broker = broker;
        self
    }

    /// Says what rooms keep: the room of that name, or with a `*` at the end all that begin so. The exact name
    /// counts first, then the longest beginning; rooms that no rule names have [`Rooms::default`].
    #[must_use]
    pub fn rooms(mut self, pattern: &str, rooms: Rooms) -> Self {
        self.rules.add(pattern, rooms);
        self
    }

    /// Sets what is called when a user has gone from a room whose class has a [`Presence`](crate::Presence): by one node of
    /// all, when nobody knows of a session of the user in that room any more and the grace time is over. Of a room of the user
    /// ([`RoomName::of_user`]) it says that the user is offline. Give it to every node: each calls its own.
    ///
    /// It is called once, unless the node that is to call it is killed in that moment: then never. A user who is one of so
    /// many that not all are [listed](crate::Presence::listed) is not told of. One that panics, or takes longer than
    /// [`Limits::call_wait`], is given up. Of those that wait for their turn, 64 at once, there are 10 000 at most.
    #[must_use]
    pub fn on_offline<F>(mut self, handler: impl Fn(String, RoomName) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.offline = Some(Offline::new(handler));
        self
    }

    /// Sets what one client may ask for.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

impl HubBuilder<Arc<dyn Gate>> {
    /// Builds the hub.
    pub fn build(self) -> Hub {
        let Self { gate, broker, rules, limits, offline, wall } = self;
        let (id, rules) = (RandomState::new().hash_one(0_u8), Arc::new(rules));
        let presences = rules.have_presence().then(|| Arc::new(Presences::new(id)));
        let words = presences.is_some().then(|| Arc::clone(&broker));
        let broker = match &presences {
            None => broker,
            Some(presences) => Arc::new(PresenceBroker {
                broker,
                presences: Arc::clone(presences),
                rules: Arc::clone(&rules),
            }),
        };
        let node = Arc::new(Node {
            id,
            gate,
            broker,
            words,
            limits,
            wall,
            rules,
            presences,
            offline,
            reads: Arc::new(Semaphore::new(READS)),
            rooms: Default::default(),
            sessions: Default::default(),
            quotas: Quotas::new(&limits),
            tickets: Default::default(),
            counts: Default::default(),
            vacant: Default::default(),
            calls: Calls::default(),
            control: Control::new(),
            dirty: Arc::new(Dirty::default()),
            resyncs: Default::default(),
            background: Default::default(),
            evicted: Default::default(),
            wheel: Wheel::new(self.limits.heartbeat.min(self.limits.idle)),
        });
        let sink: Weak<Node> = Arc::downgrade(&node);
        node.broker.attach(sink);
        Hub { node }
    }
}

impl<G> fmt::Debug for HubBuilder<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubBuilder")
            .field("rules", &self.rules)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Range reads under way at once for sessions that are behind.
const READS: usize = 32;
