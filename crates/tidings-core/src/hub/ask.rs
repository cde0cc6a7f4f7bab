//! Asking the gate, and how long its answer holds.

use super::Node;
use crate::{Denied, Gate, Identity, gate::Decision};
use std::time::Duration;

impl Node {
    /// Asks the gate, and takes no answer in time, and a panic, for a no.
    pub(crate) async fn ask<'a, T>(
        &'a self,
        what: &'static str,
        question: impl FnOnce(&'a dyn Gate) -> Decision<'a, T>,
    ) -> Result<T, Denied> {
        self.guard(what, self.limits.gate_wait, async { question(&*self.gate).await }).await
    }

    /// An identity that the gate has given, if it has not expired, and its user's sessions were not ended since.
    pub(crate) fn still(&self, who: Identity) -> Result<Identity, Denied> {
        if self.time_left(&who) == Some(Duration::ZERO) {
            return Err(Denied::unauthorized("the credentials have expired"));
        }
        match self.ended_since(&who) {
            Ok(None) => Ok(who),
            Ok(Some(_)) => Err(Denied::unauthorized("the sessions of this user were ended")),
            Err(unheard) => Err(unheard),
        }
    }

    /// How long an identity still holds, by the clock of the wall; none if for ever.
    pub(crate) fn time_left(&self, who: &Identity) -> Option<Duration> {
        let expiry = who.expiry()?;
        Some(expiry.duration_since((self.wall)()).unwrap_or(Duration::ZERO))
    }
}
