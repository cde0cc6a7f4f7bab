//! Ending all sessions, without sending all clients elsewhere at the same moment.

use super::{Hub, sessions::Sessions};
use crate::{CloseReason, session::Mailbox, transport::Turn};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::{interval, timeout};

/// Why a node should be sent no new clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotReady {
    /// It is [draining](Hub::drain), and is gone soon.
    #[error("draining")]
    Draining,
}

impl Hub {
    /// Whether the node is to be sent new clients, for a balancer that asks.
    ///
    /// A broker that does not answer is no reason: all nodes share it, and if none were asked any more, nobody would be told
    /// anything.
    ///
    /// # Errors
    /// The reason why not.
    pub fn ready(&self) -> Result<(), NotReady> {
        if self.node.sessions.lock().draining { Err(NotReady::Draining) } else { Ok(()) }
    }

    /// Ends every session: each tells its client to come back later, by when this server has made place for another. Answers
    /// when all clients have gone, or when the time is up, and then how many have not.
    ///
    /// From here on the node is not [ready](Self::ready), and clients that come are refused (503). Polls are answered at once.
    /// Streams are told one after the other, over half of the time or, if that is more, all of it but 5 seconds, which a slow
    /// client may need to go; fifty a second at least, for fewer are no crowd. The application's own subscriptions end last:
    /// clients may need them until then.
    ///
    /// Dropping the future leaves those who were not told as they are; another call goes on with them. Several at once tell
    /// each client once, by the shortest of their times.
    pub async fn drain(&self, within: Duration) -> usize {
        let spread = within.saturating_sub(GOING.min(within / 2));
        let gone = async {
            tokio::select! {
                biased;
                () = self.end_in_turn(spread) => self.vacant().await,
                // They may go by themselves, or be told by another call that has less time.
                () = self.vacant() => {}
            }
        };
        // Whoever is there after that has had its time, and is told all the same.
        let _ = timeout(within, gone).await;
        let (all, left) = self.node.sessions.lock().end();
        all.iter().for_each(|mailbox| mailbox.close(CloseReason::Drain));
        if let Some(presences) = &self.node.presences {
            presences.end_well().await;
        }
        if left > 0 {
            tracing::warn!(left, "clients have not gone in {within:?}");
        }
        left
    }

    async fn end_in_turn(&self, spread: Duration) {
        let (polls, streams) = self.node.sessions.lock().begin_to_drain();
        polls.iter().for_each(|mailbox| mailbox.close(CloseReason::Drain));
        tracing::info!(streams = streams.len(), "draining: clients are told to come back elsewhere");
        let turns = usize::try_from(spread.as_millis() / TURN.as_millis()).unwrap_or(usize::MAX).max(1);
        let mut turn = interval(TURN);
        for some in streams.chunks(streams.len().div_ceil(turns).max(1)) {
            turn.tick().await;
            some.iter().filter_map(Weak::upgrade).for_each(|mailbox| mailbox.close(CloseReason::Drain));
        }
    }
}

impl Sessions {
    /// Takes no more. Gives those that are to be told first, and those that are to be told in turn: weak, for a mailbox
    /// keeps its connection.
    fn begin_to_drain(&mut self) -> (Vec<Arc<Mailbox>>, Vec<Weak<Mailbox>>) {
        self.draining = true;
        let (mut first, mut next) = (Vec::new(), Vec::new());
        for mailbox in self.mailboxes().filter(|mailbox| mailbox.closing().is_none()) {
            match mailbox.transport().turn() {
                Turn::First => first.push(Arc::clone(mailbox)),
                Turn::Next => next.push(Arc::downgrade(mailbox)),
                Turn::Last => {}
            }
        }
        (first, next)
    }

    /// Those that come from here on are told at once. Gives all that are there, and how many of clients there are.
    fn end(&mut self) -> (Vec<Arc<Mailbox>>, usize) {
        (self.draining, self.closing) = (true, Some(CloseReason::Drain));
        (self.mailboxes().cloned().collect(), self.outside)
    }
}

/// How long a client may take to go that was told: longer than its connection is then waited for.
const GOING: Duration = Duration::from_secs(5);
/// So often some are told.
const TURN: Duration = Duration::from_millis(20);
