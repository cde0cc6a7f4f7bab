//! One run: a broker, three nodes and four clients, and what chance does to them.

use crate::{
    broker::ModelBroker,
    client::{Client, Verdict},
    counts::Counts,
    node::{Channel, Node},
    rng::Rng,
    session::{Pace, Session},
};
use std::time::Duration;
use tidings_core::{From, Kind, Retention, Slow};
use tokio::time::Instant;

/// One run.
pub(crate) struct World {
    kind: Kind,
    rng: Rng,
    now: Instant,
    broker: ModelBroker,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    channel: Channel,
    pace: Pace,
    /// Messages of a node's range read.
    limit: usize,
    /// How many range reads of a hundred fail.
    failing: usize,
    /// The broker keeps everything: no trimming, no epoch, no failover.
    calm: bool,
    /// How many steps of a thousand change the broker's history.
    upheaval: usize,
    pub(crate) counts: Counts,
    /// What happened, for whoever looks for the cause of a failure.
    pub(crate) trace: Option<Vec<String>>,
}

const NODES: usize = 3;
const CLIENTS: usize = 4;

/// Writes down what happens, if somebody wants to know.
macro_rules! tell {
    ($world:expr, $($arg:tt)*) => {
        if let Some(trace) = &mut $world.trace {
            trace.push(format!($($arg)*));
        }
    };
}

impl World {
    pub(crate) fn new(kind: Kind, seed: u64, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let calm = rng.percent(25);
        let keep = match kind {
            Kind::Ephemeral => 0,
            Kind::Latest => 1,
            _ if calm => usize::MAX,
            _ => rng.between(3, 40),
        };
        let count = if kind == Kind::Latest { 1 } else { rng.between(1, 16) };
        let bytes = if rng.percent(20) { rng.between(1, 2_000) } else { usize::MAX };
        let age = if kind == Kind::Log && rng.percent(30) { rng.between(5, 60) } else { 1_000_000 };
        let retention = Retention { count, bytes, age: Duration::from_secs(age as u64) };
        let clean = rng.percent(10);
        let mut bad = |of: &[usize]| if clean { 0 } else { rng.pick(of) };
        let channel =
            Channel { loss: bad(&[0, 2, 10, 30]), repeat: bad(&[0, 5, 20]), reorder: bad(&[0, 5, 30]) };
        let broker = ModelBroker::new(kind, keep, rng.percent(30));
        Self {
            kind,
            now: Instant::now(),
            broker,
            nodes: (0..NODES).map(|_| Node::new(retention)).collect(),
            clients: (0..CLIENTS).map(|_| Client::new()).collect(),
            channel,
            pace: Pace {
                wire: rng.between(1, 12),
                bytes: rng.pick(&[1, 300, 1_000, 100_000]),
                page: rng.between(1, 12),
                // Of what is calm nothing may be missing, and only this one reads on.
                slow: match calm {
                    true => Slow::Backfill,
                    false => rng.pick(&[Slow::Backfill, Slow::Gap, Slow::Latest]),
                },
            },
            limit: rng.between(1, 16),
            failing: rng.pick(&[0, 5, 25]),
            calm,
            upheaval: rng.pick(&[5, 15, 40]),
            counts: Counts { seeds: 1, calm: u64::from(calm), ..Counts::default() },
            trace: traced.then(Vec::new),
            rng,
        }
    }

    /// How many steps this run has by itself.
    pub(crate) fn steps(&mut self) -> usize {
        self.rng.between(300, 400)
    }

    /// One step of chance.
    pub(crate) fn step(&mut self) -> Verdict {
        self.counts.steps += 1;
        match self.rng.below(1_000) {
            0..160 => self.publish(),
            160..460 => {
                let at = self.rng.below(NODES);
                self.deliver(at);
            }
            460..560 => {
                let (at, failing) = (self.rng.below(NODES), self.rng.percent(self.failing));
                self.step_read(at, failing);
            }
            560..960 => {
                let at = self.rng.below(CLIENTS);
                return self.step_client(at);
            }
            960..970 => {
                let at = self.rng.below(NODES);
                tell!(self, "node {at} is told of a loss");
                self.nodes[at].lose();
            }
            970..972 => {
                let at = self.rng.below(NODES);
                tell!(self, "node {at} restarts");
                self.nodes[at].restart();
                let of_node = |client: &&mut Client| client.session.as_ref().is_some_and(|s| s.node == at);
                self.clients
                    .iter_mut()
                    .filter(of_node)
                    .for_each(|client| client.disconnect(&mut self.counts));
            }
            972..980 => {
                self.now += Duration::from_secs(self.rng.between(1, 20) as u64);
                let now = self.now;
                self.nodes.iter_mut().for_each(|node| node.replica.trim(now));
            }
            980..984 => self.broker.replicate(),
            _ if !self.calm && self.rng.below(16) < self.upheaval => self.upheave(),
            _ => {}
        }
        Ok(())
    }

    fn publish(&mut self) {
        let message = self.broker.publish(&mut self.rng);
        self.counts.published += 1;
        tell!(self, "published {} after {}", message.position(), message.follows());
        self.nodes.iter_mut().for_each(|node| node.send(&message));
    }

    fn upheave(&mut self) {
        match self.rng.below(8) {
            0 => {
                self.counts.epochs += 1;
                self.broker.begin_epoch();
                tell!(self, "new epoch, from {}", self.broker.head());
            }
            1..3 => {
                self.counts.failovers += 1;
                self.broker.fail_over();
                tell!(self, "failover to {}", self.broker.head());
            }
            3..5 => {
                self.counts.failovers += 1;
                let count = self.rng.between(1, 6);
                self.broker.lose_tail(count);
                tell!(self, "failover back to {}", self.broker.head());
            }
            _ => {
                let count = self.rng.between(1, 10);
                self.broker.trim(count);
                tell!(self, "trimmed by {count}");
            }
        }
    }

    fn deliver(&mut self, at: usize) {
        self.nodes[at].deliver(self.channel, self.now, &mut self.rng, &mut self.counts);
        tell!(self, "channel of node {at}; its head {}", self.nodes[at].ring().head());
    }

    fn step_read(&mut self, at: usize, failing: bool) {
        let node = &mut self.nodes[at];
        if node.is_reading() {
            node.step_read(&self.broker, self.limit, failing, self.now, &mut self.counts);
            tell!(self, "range read of node {at}; its head {}, {}", node.ring().head(), node.is_reading());
        }
    }

    fn step_client(&mut self, at: usize) -> Verdict {
        let client = &mut self.clients[at];
        let Some(session) = &client.session else {
            return if self.rng.percent(50) { self.connect(at) } else { Ok(()) };
        };
        match self.rng.below(1_000) {
            0..3 => {
                tell!(self, "client {at} is another one");
                client.forget(&mut self.counts);
            }
            3..40 => {
                tell!(self, "client {at} is cut off");
                client.disconnect(&mut self.counts);
            }
            40..450 => {
                self.receive(at)?;
            }
            _ => {
                let failing = self.rng.percent(self.failing);
                if failing && session.is_joining() {
                    tell!(self, "client {at} cannot join now");
                    client.disconnect(&mut self.counts);
                } else {
                    self.serve(at, failing);
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self, at: usize) -> Verdict {
        let on = self.rng.below(NODES);
        let node = &mut self.nodes[on];
        if !node.replica.is_known() {
            return Ok(());
        }
        node.replica.trim(self.now);
        let client = &mut self.clients[at];
        let from = client.wish(self.rng.pick(&[From::Now, From::Start]))?;
        self.counts.resumed += u64::from(matches!(from, From::After(_)));
        tell!(self, "client {at} joins node {on} {from:?}");
        let session = Session::open(self.kind, from, on, node, &mut self.counts);
        client.connected(self.kind, from, session);
        Ok(())
    }

    fn serve(&mut self, at: usize, failing: bool) -> bool {
        let Some(session) = &mut self.clients[at].session else { return false };
        let node = &self.nodes[session.node];
        let moved = session.step(node, &self.broker, self.pace, failing, &mut self.counts);
        tell!(self, "server of client {at}: {session:?}");
        moved
    }

    fn receive(&mut self, at: usize) -> Result<bool, String> {
        let client = &mut self.clients[at];
        let next = client.session.as_ref().and_then(|session| session.wire.front());
        tell!(self, "client {at}, at {:?}, receives {next:?}", client.at);
        client
            .receive(self.kind, self.calm, &self.broker, &mut self.counts)
            .map_err(|fault| format!("client {at}: {fault}"))
    }
}

/// The end of a run.
impl World {
    /// Faults stop; then every node and every client must come to the broker's head.
    pub(crate) fn settle(&mut self) -> Verdict {
        tell!(self, "-- faults stop");
        self.channel = Channel { loss: 0, repeat: 0, reorder: 0 };
        for at in 0..NODES {
            // Part of what is on its way comes before the last look at the history, the rest while it is taken: also
            // what was published into a history that is gone.
            for _ in 0..self.rng.below(self.nodes[at].waiting() + 1) {
                self.deliver(at);
            }
        }
        self.lose_all();
        self.settle_nodes(0)?;
        // A message of a lost tail may have come last and fitted; only the next look can tell. Nothing of a lost
        // history is on its way any more.
        self.lose_all();
        if self.rng.percent(50) {
            // One more is lost while the range read is answered without it, and the broker says so.
            (0..NODES).for_each(|at| self.step_read(at, false));
            self.publish();
            self.nodes.iter_mut().for_each(Node::drop_channel);
            self.lose_all();
        }
        let more = self.rng.below(4);
        self.settle_nodes(more)?;
        self.check_nodes()?;
        for at in 0..CLIENTS {
            if self.rng.percent(30) {
                tell!(self, "client {at} is cut off");
                self.clients[at].disconnect(&mut self.counts);
            }
        }
        self.settle_clients()?;
        if !self.calm && self.broker.replace_newest() {
            tell!(self, "failover; the newest offset is given again");
            self.publish();
            self.settle_nodes(0)?;
            self.check_nodes()?;
            self.settle_clients()?;
        }
        if self.kind == Kind::Ephemeral {
            self.publish();
            self.settle_nodes(0)?;
            self.check_nodes()?;
            self.settle_clients()?;
        }
        self.check_clients()
    }

    fn lose_all(&mut self) {
        tell!(self, "all nodes are told of a loss");
        self.nodes.iter_mut().for_each(Node::lose);
    }

    /// No loss is reported from here on, so what is published now must reach the rings by the channel alone,
    /// also what comes while a range read is under way.
    fn settle_nodes(&mut self, mut more: usize) -> Verdict {
        for _ in 0..1_000 {
            for at in 0..NODES {
                self.step_read(at, false);
            }
            if more > 0 && self.rng.percent(50) {
                more -= 1;
                self.publish();
            }
            for at in 0..NODES {
                for _ in 0..self.rng.below(self.nodes[at].waiting() + 1) {
                    self.deliver(at);
                }
            }
            let at_rest = |node: &Node| !node.is_reading() && node.waiting() == 0;
            if more == 0 && self.nodes.iter().all(at_rest) {
                return Ok(());
            }
        }
        Err("a node reads the history again and again, and is never live".into())
    }

    fn check_nodes(&self) -> Verdict {
        for (at, node) in self.nodes.iter().enumerate() {
            let (head, newest) = (node.ring().head(), self.broker.head());
            if !node.replica.is_live() || head != newest {
                return Err(format!("node {at} stays at {head}, the broker is at {newest}"));
            }
        }
        Ok(())
    }

    fn settle_clients(&mut self) -> Verdict {
        for _ in 0..2_000 {
            let mut moved = false;
            for at in 0..CLIENTS {
                if self.clients[at].session.is_none() {
                    self.connect(at)?;
                }
                moved |= self.serve(at, false);
                moved |= self.receive(at)?;
            }
            if !moved {
                return Ok(());
            }
        }
        Err("a client is never at rest".into())
    }

    fn check_clients(&self) -> Verdict {
        let head = Some(self.broker.head());
        let newest = self.broker.newest().map(|message| message.position());
        for (at, client) in self.clients.iter().enumerate() {
            let there = match self.kind {
                Kind::Latest => newest.is_none() || client.last == newest,
                Kind::Ephemeral => client.last == head,
                _ => client.at == head,
            };
            if !there {
                let (stands, last) = (client.at, client.last);
                return Err(format!(
                    "client {at} stays at {stands:?}, its last {last:?}, the broker's {head:?}"
                ));
            }
        }
        Ok(())
    }
}
