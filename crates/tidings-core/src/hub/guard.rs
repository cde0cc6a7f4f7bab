//! What the application has written may panic or never end: that is the end of one answer, and of nothing else.

use super::Node;
use crate::{CallError, Denied};
use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};
use tokio::time::timeout;

/// How the application has failed to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the application has failed")]
    Panicked,
    #[error("the application did not answer in time")]
    Late,
}

impl Fault {
    fn code(self) -> &'static str {
        match self {
            Self::Panicked => "internal",
            Self::Late => "unavailable",
        }
    }
}

impl From<Fault> for Denied {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Panicked => Self::Internal,
            Fault::Late => Self::unavailable(fault.to_string()),
        }
    }
}

impl From<Fault> for CallError {
    fn from(fault: Fault) -> Self {
        Self::new(fault.code(), fault.to_string())
    }
}

impl Node {
    /// What the application answers, if it does before so long. `what` it was asked is for the log, which does not say what a panic has
    /// said: that may be of a client's.
    pub(crate) async fn guard<T, E: From<Fault>>(
        &self,
        what: &'static str,
        wait: Duration,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut work = pin!(work);
        let caught = poll_fn(|cx| {
            // It is not polled again after a panic, and what it shares with others is the application's to see to.
            match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
                Ok(polled) => polled.map(Ok),
                Err(_) => Poll::Ready(Err(Fault::Panicked)),
            }
        });
        let fault = match timeout(wait, caught).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(fault)) => fault,
            Err(_) => Fault::Late,
        };
        self.quotas.note_fault(what, fault);
        Err(fault.into())
    }
}
