//! What nodes of a test share.

use crate::{BrokerServer, ServerKind};
use std::sync::Arc;
use tidings::{Broker, MemoryBroker};

/// Whether nodes of a test share memory, and publishing takes no time.
pub fn shares_memory() -> bool {
    matches!(&*named(), "" | "memory")
}

fn named() -> String {
    std::env::var("TIDINGS_BROKER").unwrap_or_default()
}

/// What nodes of a test share: memory, or with `TIDINGS_BROKER=redis` or `nats` a server of its own, which ends with it. What
/// is promised about delivery holds for all.
#[derive(Debug)]
pub struct Shared(Store);

#[derive(Debug)]
enum Store {
    Memory(Arc<MemoryBroker>),
    Server(BrokerServer),
}

impl Shared {
    /// Something that nobody else has.
    ///
    /// # Panics
    /// If the server cannot be started, or there is no such one.
    pub fn new() -> Self {
        Self(match &*named() {
            _ if shares_memory() => Store::Memory(Arc::default()),
            "redis" => Store::Server(BrokerServer::start(ServerKind::Redis)),
            "nats" => Store::Server(BrokerServer::start(ServerKind::Nats)),
            other => panic!("TIDINGS_BROKER is {other:?}, which is none of memory, redis and nats"),
        })
    }

    /// The broker of one node.
    ///
    /// # Panics
    /// If it is not ready within 20 seconds.
    pub async fn broker(&self) -> Arc<dyn Broker> {
        match &self.0 {
            Store::Memory(broker) => Arc::clone(broker) as _,
            Store::Server(server) => server.broker().await.shared(),
        }
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}
