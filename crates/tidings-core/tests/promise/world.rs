//! Chance moves a broker, three nodes and four clients, one step at a time.

use crate::{broker::Broker, client::Client, node::Node};
use tidings_core::From;
use tokio::time::Instant;

/// A small random number generator (SplitMix64).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Events accepted by clients.
    pub(crate) events: u64,
    /// Returns with a cursor.
    pub(crate) resumes: u64,
    pub(crate) trimmed: u64,
    pub(crate) epoch: u64,
    pub(crate) slow: u64,
    /// Holes and branches seen by nodes.
    pub(crate) resyncs: u64,
    /// Range reads by readers.
    pub(crate) deep: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { events, resumes, trimmed, epoch, slow, resyncs, deep } = other;
        self.events += events;
        self.resumes += resumes;
        self.trimmed += trimmed;
        self.epoch += epoch;
        self.slow += slow;
        self.resyncs += resyncs;
        self.deep += deep;
    }
}

pub(crate) struct World {
    chance: Chance,
    broker: Broker,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    tally: Tally,
    /// Whether history may be lost at all; if not, nobody may be told of a gap.
    losses: bool,
    /// Events of one range read.
    limit: usize,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let now = Instant::now();
        let nodes = (0..3).map(|_| Node::new(1 + chance.below(12) as usize, now)).collect();
        let clients = (0..4).map(|_| Client::default()).collect();
        let losses = chance.below(4) != 0;
        let limit = 1 + chance.below(8) as usize;
        Self { broker: Broker::new(), nodes, clients, tally: Tally::default(), losses, limit, chance }
    }

    pub(crate) fn run(mut self, steps: usize) -> Tally {
        for _ in 0..steps {
            self.step();
        }
        self.settle();
        self.tally
    }

    fn step(&mut self) {
        let Self { chance, broker, nodes, clients, tally, .. } = self;
        let node = chance.below(3) as usize;
        let client = &mut clients[chance.below(4) as usize];
        match chance.below(100) {
            0..20 => {
                let message = broker.publish();
                nodes.iter_mut().for_each(|node| node.hand_over(&message, chance));
            }
            20..40 => tally.resyncs += u64::from(nodes[node].take()),
            40..50 => nodes[node].step_read(broker, self.limit),
            50 => nodes[node].disconnect(),
            51 => nodes[node].check(),
            52 if self.losses => broker.trim(chance.below(12) as usize),
            53 if self.losses && chance.below(4) == 0 => broker.begin_epoch(),
            54 if self.losses => broker.fail_over(1 + chance.below(4) as usize),
            55..58 => client.disconnect(),
            58..66 => {
                if client.node().is_none() {
                    // Where everything is kept, whoever is there from the start must have it all.
                    let fresh = if self.losses && chance.below(2) == 0 { From::Now } else { From::Start };
                    client.connect(node, &nodes[node], fresh, tally);
                }
            }
            66..84 => {
                if let Some(at) = client.node() {
                    client.step(&nodes[at], broker, self.limit, tally);
                }
            }
            _ => {
                client.receive(broker, tally);
            }
        }
    }

    /// Faults stop; then everybody must come to have everything.
    fn settle(&mut self) {
        let Self { chance, broker, nodes, clients, tally, .. } = self;
        nodes.iter_mut().for_each(|node| node.settle(broker, self.limit));
        for client in clients {
            if client.node().is_none() {
                let at = chance.below(3) as usize;
                client.connect(at, &nodes[at], From::Start, tally);
            }
            let at = client.node().expect("every node knows its room by now");
            for _ in 0..10 * (broker.len() + 20) {
                client.step(&nodes[at], broker, self.limit, tally);
                while client.receive(broker, tally) {}
            }
            assert!(client.has_caught_up(broker), "a client that is not disturbed catches up");
            if !self.losses {
                assert_eq!(client.accepted, broker.len() as u64, "everything, once");
            }
        }
        if !self.losses {
            assert_eq!((tally.trimmed, tally.epoch, tally.slow), (0, 0, 0), "nothing was lost, so no gap");
        }
    }
}
