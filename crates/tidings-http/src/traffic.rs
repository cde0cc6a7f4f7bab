//! What a service counts of its connections and answers.

use http::StatusCode;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Connections and answers of a service. Connections are those of [`serve`](crate::serve()); another server counts its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Connections that there are.
    pub connections: u64,
    /// Connections that were taken so far.
    pub accepted: u64,
    /// Connections that were closed at once, for there were too many, in all or of an address.
    pub turned_away: u64,
    /// Answers so far, by their status; those of statuses that no answer of ours has stand at 0.
    pub answers: BTreeMap<u16, u64>,
}

/// The counts behind it.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    accepted: AtomicU64,
    gone: AtomicU64,
    turned_away: AtomicU64,
    answers: [AtomicU64; STATUSES.len() + 1],
}

impl Counts {
    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(crate) fn gone(&self) {
        self.gone.fetch_add(1, Relaxed);
    }

    pub(crate) fn turned_away(&self) {
        self.turned_away.fetch_add(1, Relaxed);
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        let at = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len());
        self.answers[at].fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self) -> Traffic {
        // One that goes in between has come before.
        let gone = self.gone.load(Relaxed);
        let accepted = self.accepted.load(Relaxed);
        Traffic {
            connections: accepted.saturating_sub(gone),
            accepted,
            turned_away: self.turned_away.load(Relaxed),
            answers: STATUSES
                .into_iter()
                .chain([0])
                .zip(self.answers.iter().map(|count| count.load(Relaxed)))
                .collect(),
        }
    }
}

/// The statuses of answers, the most frequent first.
const STATUSES: [u16; 19] =
    [200, 101, 304, 204, 503, 429, 401, 403, 404, 400, 405, 408, 413, 415, 426, 431, 500, 501, 206];
