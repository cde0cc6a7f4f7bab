//! Where values are published, and counted.

use serde::Serialize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tidings::{Event, Hub, Stats};

/// The name of every event: a room has one kind of values.
const EVENT: &str = "value";

/// Where values are published, and counted. A handle; cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Board {
    hub: Hub,
    published: Arc<AtomicU64>,
}

impl Board {
    pub(crate) fn new(hub: Hub) -> Self {
        Self { hub, published: Arc::default() }
    }

    /// Makes a value the newest of its room.
    pub(crate) async fn publish(&self, room: &str, value: &impl Serialize) -> anyhow::Result<()> {
        self.hub.publish(room, Event::json(EVENT, value)?).await?;
        self.published.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Values that were published until now.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Relaxed)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.hub.stats()
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_millis() as u64
}
