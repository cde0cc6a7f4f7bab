//! Which nodes are alive, from the signs of life that they give.

use crate::policy::MAX_GRACE;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// A word of a node about itself, or about one that has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(super) enum Sign {
    /// It is alive.
    Alive { node: u64 },
    /// It ends, and gives no more signs. Its clients have so many milliseconds to come back elsewhere.
    Bye { node: u64, grace: u64 },
    /// Whatever it left behind was seen to.
    Swept { node: u64 },
    /// Its lists were emptied, but it is there: it is to write them again.
    Emptied { node: u64 },
}

/// Which nodes are alive. A machine without a clock.
#[derive(Debug)]
pub(super) struct Nodes {
    me: u64,
    others: BTreeMap<u64, Lease>,
    /// When this one has heard itself, or had reason to think that it would.
    heard: Instant,
}

/// What is known of another node.
#[derive(Debug, Clone, Copy)]
struct Lease {
    /// It is taken to be alive.
    until: Instant,
    /// What it left behind was seen to.
    swept: bool,
}

impl Nodes {
    pub(super) fn new(me: u64, now: Instant) -> Self {
        Self { me, others: BTreeMap::new(), heard: now }
    }

    /// Takes a sign.
    pub(super) fn take(&mut self, sign: Sign, now: Instant) {
        match sign {
            Sign::Alive { node } if node == self.me => {
                // Cut off, it has heard nobody else either.
                if self.is_deaf(now) {
                    self.spare(now);
                }
                self.heard = now;
            }
            Sign::Alive { node } => self.set(node, now + LEASE),
            Sign::Bye { node, grace } => {
                // Also if that is longer than its lease: its users have this time.
                if let Some(lease) = self.others.get_mut(&node) {
                    lease.until = now + Duration::from_millis(grace).min(MAX_GRACE);
                }
            }
            // It has gone, whatever its lease: rooms that it did not write down have yet to be told.
            Sign::Swept { node } if node != self.me => {
                self.set(node, now);
                self.others.entry(node).and_modify(|lease| lease.swept = true);
            }
            Sign::Swept { .. } | Sign::Emptied { .. } => {}
        }
    }

    /// A node has told something. If it did just now, or there has been no sign of it, one will follow soon, or it has gone.
    pub(super) fn meet(&mut self, node: u64, just_now: bool, now: Instant) {
        let (lease, until) = (self.others.get(&node).map(|lease| lease.until), now + 2 * BEAT);
        if node != self.me && lease.is_none_or(|lease| just_now && lease < until) {
            self.set(node, until);
        }
    }

    /// Signs may have been missed.
    pub(super) fn spare(&mut self, now: Instant) {
        let until = now + LEASE;
        let others = self.others.values_mut().filter(|lease| !lease.swept);
        others.for_each(|lease| lease.until = until.max(lease.until));
    }

    /// Whether a node has given no sign for so long that it has gone. One that does not hear itself can say that of nobody.
    pub(super) fn is_dead(&self, node: u64, now: Instant) -> bool {
        !self.is_deaf(now) && self.others.get(&node).is_some_and(|lease| lease.until <= now)
    }

    /// Forgets those of whom nothing is left. Should one come back, it is met like any other.
    pub(super) fn forget_swept(&mut self, is_left: impl Fn(u64) -> bool) {
        self.others.retain(|node, lease| !lease.swept || is_left(*node));
    }

    /// Whether what a node left behind was seen to.
    pub(super) fn is_swept(&self, node: u64) -> bool {
        self.others.get(&node).is_some_and(|lease| lease.swept)
    }

    /// Those who have gone.
    pub(super) fn dead(&self, now: Instant) -> Vec<u64> {
        let is_dead = |node: &u64| self.is_dead(*node, now);
        self.others.keys().copied().filter(is_dead).collect()
    }

    /// How many living nodes come before this one, by whose order things are done that one alone should do.
    pub(super) fn rank(&self, now: Instant) -> usize {
        self.others.iter().filter(|(node, lease)| **node < self.me && lease.until > now).count()
    }

    /// Whether this one is cut off, and cannot say who has gone.
    pub(super) fn is_deaf(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= DEAF
    }

    fn set(&mut self, node: u64, until: Instant) {
        self.others.insert(node, Lease { until, swept: false });
        if self.others.len() > MOST {
            // Those that have been silent for longest; should one have left something behind, it is met again.
            let longest = self.others.iter().min_by_key(|(_, lease)| lease.until).map(|(node, _)| *node);
            longest.map(|node| self.others.remove(&node));
        }
    }
}

/// So often a node gives a sign of life.
pub(super) const BEAT: Duration = Duration::from_secs(5);
/// For so long a node is taken to be alive after its last sign: two may be lost or late.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// A node that has not heard itself for so long is cut off: sooner than it could take another to have gone.
const DEAF: Duration = Duration::from_secs(8);
/// Nodes that are remembered.
const MOST: usize = 1_024;

#[cfg(all(test, not(tidings_loom)))]
mod tests {
    use super::*;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_node_that_gives_no_sign_is_dead_after_its_lease() {
        let now = Instant::now();
        let mut nodes = Nodes::new(1, now);
        for n in 0..4 {
            nodes.take(Sign::Alive { node: 1 }, now + second(5 * n));
        }
        nodes.take(Sign::Alive { node: 2 }, now);
        assert!(!nodes.is_dead(2, now + second(14)));
        assert_eq!(nodes.dead(now + second(15)), [2]);
        assert!(!nodes.is_dead(3, now + second(15)), "nothing is known of it");
        nodes.meet(3, false, now + second(15));
        nodes.take(Sign::Alive { node: 1 }, now + second(20));
        assert!(!nodes.is_dead(3, now + second(24)) && nodes.is_dead(3, now + second(25)));
        nodes.meet(2, false, now + second(20));
        assert!(nodes.is_dead(2, now + second(20)), "what it has said long ago is no sign");
        nodes.meet(2, true, now + second(20));
        assert!(!nodes.is_dead(2, now + second(24)), "it speaks before it gives a sign");
        nodes.take(Sign::Swept { node: 2 }, now + second(24));
        assert!(nodes.is_dead(2, now + second(24)) && nodes.is_swept(2), "others may have to say so yet");
        nodes.forget_swept(|_| true);
        assert!(nodes.is_swept(2));
        nodes.take(Sign::Alive { node: 2 }, now + second(25));
        assert!(!nodes.is_dead(2, now + second(27)) && !nodes.is_swept(2), "it is there again");
        nodes.take(Sign::Swept { node: 2 }, now + second(27));
        nodes.forget_swept(|_| false);
        nodes.meet(2, false, now + second(28));
        assert!(!nodes.is_dead(2, now + second(28)), "what it has said may be new");
    }

    #[test]
    fn a_node_that_is_cut_off_takes_nobody_to_have_gone() {
        let now = Instant::now();
        let mut nodes = Nodes::new(1, now);
        nodes.take(Sign::Alive { node: 2 }, now);
        assert!(!nodes.is_dead(2, now + second(60)));
        nodes.take(Sign::Alive { node: 1 }, now + second(60));
        assert!(!nodes.is_dead(2, now + second(67)), "it has its time again");
        for n in 61..76 {
            nodes.take(Sign::Alive { node: 1 }, now + second(n));
        }
        assert!(nodes.is_dead(2, now + second(76)));
    }

    #[test]
    fn a_node_that_says_so_has_gone_when_its_clients_had_their_time() {
        let now = Instant::now();
        let mut nodes = Nodes::new(1, now);
        nodes.take(Sign::Alive { node: 2 }, now);
        nodes.take(Sign::Bye { node: 2, grace: 5_000 }, now);
        assert!(!nodes.is_dead(2, now + second(4)) && nodes.is_dead(2, now + second(5)));
        nodes.take(Sign::Alive { node: 3 }, now);
        nodes.take(Sign::Bye { node: 3, grace: 40_000 }, now);
        for n in 0..8 {
            nodes.take(Sign::Alive { node: 1 }, now + second(5 * n));
        }
        assert!(!nodes.is_dead(3, now + second(39)) && nodes.is_dead(3, now + second(40)));
    }

    #[test]
    fn one_after_the_other_has_its_turn() {
        let now = Instant::now();
        let mut nodes = Nodes::new(5, now);
        for node in [2, 3, 9] {
            nodes.take(Sign::Alive { node }, now);
        }
        assert_eq!((nodes.rank(now), nodes.rank(now + LEASE)), (2, 0));
    }

    #[test]
    fn made_up_nodes_fill_no_memory() {
        let now = Instant::now();
        let mut nodes = Nodes::new(0, now);
        for node in 1..5_000 {
            nodes.take(Sign::Alive { node }, now + Duration::from_millis(node));
        }
        assert_eq!(nodes.others.len(), MOST);
        assert!(nodes.others.contains_key(&4_999));
    }
}
