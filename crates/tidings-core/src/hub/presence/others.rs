//! What a node does about others: it gives signs of life, hears theirs, and sees to what those leave behind that have gone.

use super::{
    WAIT,
    driver::{Driver, Written},
    journal::{self, Journal, OPEN, Sweep},
    nodes::{BEAT, Nodes, Sign},
    room::{Hearing, Room},
};
use crate::{RoomName, broker::Publish};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

impl Driver {
    /// Gives signs of life while there are rooms to be tended, and hears those of others.
    pub(super) fn tend_to_nodes(&mut self, now: Instant) {
        // Whoever wants to be told of users hears of nodes that have gone, whether anybody is here or not.
        let is_idle = self.journal.is_none() && self.presences.rooms.lock().by_name.is_empty();
        let Some(tick) = self.tick else {
            if !is_idle && self.rest.is_none_or(|until| until <= now) {
                (self.tick, self.beat, self.idle) = (Some(now), now, None);
                (self.signs, self.nodes) = (Hearing::Begins, Nodes::new(self.presences.me, now));
                self.enter(RoomName::nodes());
            }
            return;
        };
        if tick > now {
            return;
        }
        self.tick = Some(now + TICK);
        if self.signs != (Hearing::Hears { until: None }) {
            self.presences.drop_idle();
        }
        if is_idle {
            if now.saturating_duration_since(*self.idle.get_or_insert(now)) >= IDLE
                && self.signs == (Hearing::Hears { until: None })
            {
                self.ears.leave(&RoomName::nodes());
                (self.tick, self.signs) = (None, Hearing::Not);
            }
            return;
        }
        self.idle = None;
        if self.signs == Hearing::Not {
            self.signs = Hearing::Begins;
            self.enter(RoomName::nodes());
        }
        if self.beat <= now && !self.beating {
            (self.beat, self.beating) = (now + BEAT, true);
            let (broker, sign) =
                (Arc::clone(&self.broker), self.sign(Sign::Alive { node: self.presences.me }));
            self.writing.spawn(async move {
                Written::Sign { stored: matches!(timeout(BEAT, broker.publish(sign)).await, Ok(Ok(_))) }
            });
        }
        self.forget_swept();
        let newly: Vec<_> = self.nodes.dead(now).into_iter().filter(|node| self.dead.insert(*node)).collect();
        if !newly.is_empty() {
            let gone: Vec<_> = newly.iter().copied().filter(|node| !self.nodes.is_swept(*node)).collect();
            if !gone.is_empty() {
                tracing::info!(nodes = ?gone, "nodes have gone");
            }
            if self.journal.is_some() {
                self.sweeps.extend(gone.into_iter().map(|node| Sweep::new(node, now)));
            }
            let mut rooms = self.presences.rooms.lock();
            let has = |room: &Room| newly.iter().any(|node| room.fold.of(*node).is_some());
            let with = rooms.by_name.iter().filter(|(_, room)| has(room));
            let with: Vec<_> = with.map(|(name, _)| name.clone()).collect();
            with.iter().for_each(|name| rooms.touch(name));
        }
        if self.journal.is_some() {
            let mut sweeps = std::mem::take(&mut self.sweeps);
            sweeps.retain_mut(|sweep| self.sweep(sweep, now));
            self.sweeps = sweeps;
        }
        if self.renewed + RENEW <= now {
            self.renewed = now;
            self.journal.iter_mut().for_each(Journal::forget);
        }
        if self.rest.is_none_or(|until| until <= now) {
            self.write_lists();
        }
    }

    /// Forgets nodes that have gone and of which no room has anybody any more.
    fn forget_swept(&mut self) {
        let rooms = self.presences.rooms.lock();
        self.nodes.forget_swept(|node| rooms.by_name.values().any(|room| room.fold.of(node).is_some()));
    }

    /// Writes down in which rooms this node has somebody.
    fn write_lists(&mut self) {
        while let Some((list, event)) = self.journal.as_mut().and_then(Journal::next) {
            let room = RoomName::journal(self.presences.me, list);
            let rooms = self.rules.of(&room).rooms;
            let (broker, publish) = (Arc::clone(&self.broker), Publish { room, event, key: None, rooms });
            self.writing.spawn(async move {
                let stored = matches!(timeout(WAIT, broker.publish(publish)).await, Ok(Ok(_)));
                Written::List { list, stored }
            });
        }
    }

    /// Sees to the rooms of a node that has gone. Answers whether there is more to be done.
    fn sweep(&mut self, sweep: &mut Sweep, now: Instant) -> bool {
        if self.nodes.is_deaf(now) {
            return true;
        }
        let node = sweep.node;
        if !self.nodes.is_dead(node, now) || self.nodes.is_swept(node) {
            // It is there again, or another has done it.
            sweep.open.drain(..).for_each(|room| self.presences.unwant(&room));
            if sweep.owed && !self.nodes.is_swept(node) {
                let (broker, emptied) = (Arc::clone(&self.broker), self.sign(Sign::Emptied { node }));
                self.writing.spawn(async move {
                    let stored = matches!(timeout(WAIT, broker.publish(emptied)).await, Ok(Ok(_)));
                    Written::Cleared { node, stored }
                });
            }
            return false;
        }
        let rooms = self.rules.of(&RoomName::journal(node, 0)).rooms;
        let broker = Arc::clone(&self.broker);
        if !sweep.begun {
            if sweep.at <= now && self.nodes.rank(now) > 0 && sweep.waited < journal::TURNS {
                (sweep.at, sweep.waited) = (now + journal::TURN, sweep.waited + 1);
            }
            if sweep.at <= now {
                sweep.begun = true;
                self.writing.spawn(async move {
                    Written::Lists { node, read: journal::read(&broker, node, rooms).await }
                });
            }
            return true;
        }
        let presences = &self.presences;
        sweep.open.retain(|room| {
            let is_done = |room: &mut Room| room.place.is_some() && room.fold.of(node).is_none();
            let done = presences.with(room, is_done).unwrap_or(true);
            if done {
                presences.unwant(room);
            }
            !done
        });
        while sweep.open.len() < OPEN
            && let Some(room) = sweep.rooms.pop_front()
        {
            let Some(presence) = self.rules.of(&room).rooms.presence_policy() else { continue };
            presences.change(&room, presence, |room| {
                room.wanted += 1;
                true
            });
            sweep.open.push(room);
        }
        if !sweep.read || !sweep.open.is_empty() {
            return true;
        }
        let (lists, swept) = (std::mem::take(&mut sweep.lists), self.sign(Sign::Swept { node }));
        self.writing.spawn(async move {
            let stored = journal::clear(&broker, node, &lists, rooms).await
                && matches!(timeout(WAIT, broker.publish(swept)).await, Ok(Ok(_)));
            Written::Cleared { node, stored }
        });
        false
    }
}

/// So often it is looked which nodes are alive.
const TICK: Duration = Duration::from_secs(1);
/// So often lists are written anew, which a broker keeps for a day.
const RENEW: Duration = Duration::from_secs(8 * 3_600);
/// After so long without a room to be tended the signs of others are not heard any more.
const IDLE: Duration = Duration::from_secs(60);
