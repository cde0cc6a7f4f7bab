//! Asking the application: no answer of its holds anybody up for ever, and no panic of its ends more than what was asked for.

use super::Node;
use crate::{Denied, Gate, Identity, gate::Decision};
use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};
use tokio::time::timeout;

impl Node {
    /// Asks the gate, and takes no answer in time, and a panic, for a no.
    pub(crate) async fn ask<'a, T>(
        &'a self,
        what: &'static str,
        question: impl FnOnce(&'a dyn Gate) -> Decision<'a, T>,
    ) -> Result<T, Denied> {
        let wait = self.limits.gate_wait;
        match timeout(wait, caught(async { question(&*self.gate).await })).await {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                self.quotas.note_panic(what);
                Err(Denied::Internal)
            }
            Err(_) => {
                self.quotas.note_gate_late(what, wait);
                Err(Denied::unavailable("who may do what cannot be found out now; try again later"))
            }
        }
    }

    /// An identity that the gate has given, if it has not expired.
    pub(crate) fn still(&self, who: Identity) -> Result<Identity, Denied> {
        match self.time_left(&who) {
            Some(Duration::ZERO) => Err(Denied::unauthorized("the credentials have expired")),
            _ => Ok(who),
        }
    }

    /// How long an identity still holds, by the clock of the wall; none if for ever.
    pub(crate) fn time_left(&self, who: &Identity) -> Option<Duration> {
        let expiry = who.expiry()?;
        Some(expiry.duration_since((self.wall)()).unwrap_or(Duration::ZERO))
    }
}

/// What comes of code of the application's; none if it panics. What it shares with others is its own affair.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}
