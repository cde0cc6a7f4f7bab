//! When sessions end because their identities do.

use super::Node;
use crate::CloseReason;
use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;

/// When sessions expire, first things first. Sessions that do not are not in it, and none has a timer: the node's background
/// task waits for the first.
///
/// It knows nothing of the clock of the wall, which may be set to another time.
pub(super) struct Expiries {
    start: Instant,
    due: BTreeSet<(Tick, usize)>,
}

/// A time since the start, in quarters of a second, which are small and soon enough; the last is 34 years away.
pub(super) type Tick = u32;

impl Default for Expiries {
    fn default() -> Self {
        Self { start: Instant::now(), due: BTreeSet::new() }
    }
}

impl Expiries {
    /// A session expires after a time. Answers when, and whether it is the first to.
    pub(super) fn add(&mut self, now: Instant, left: Duration, session: usize) -> (Tick, bool) {
        let since = now.saturating_duration_since(self.start).saturating_add(left);
        let at = since.as_millis().div_ceil(TICK.as_millis()).try_into().unwrap_or(Tick::MAX);
        self.due.insert((at, session));
        (at, self.due.first() == Some(&(at, session)))
    }

    pub(super) fn remove(&mut self, at: Tick, session: usize) {
        self.due.remove(&(at, session));
    }

    /// Takes out a session that has expired.
    pub(super) fn pop(&mut self, now: Instant) -> Option<usize> {
        let first = self.due.first()?;
        if self.time(first.0) > now {
            return None;
        }
        self.due.pop_first().map(|(_, session)| session)
    }

    /// When the next one does.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| self.time(*at))
    }

    fn time(&self, at: Tick) -> Instant {
        self.start + TICK * at
    }
}

impl Node {
    /// Ends the sessions that have expired, and answers when the next one does.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut expired = Vec::new();
        let next = {
            let mut sessions = self.sessions.lock();
            while let Some(mailbox) = sessions.pop_expired(now) {
                expired.push(mailbox);
            }
            sessions.expiries.next()
        };
        for mailbox in expired {
            mailbox.close(CloseReason::Expired);
        }
        next
    }
}

const TICK: Duration = Duration::from_millis(250);

#[cfg(all(test, not(tidings_loom)))]
mod tests;
