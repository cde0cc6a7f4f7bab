//! Servers of NATS, and what only these tests ask of them.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};
use tidings_core::{Hub, Rooms};
use tidings_nats::{Builder, NatsBroker, Storage};
use tidings_testkit::{BrokerServer, ServerKind, brokers};

pub(crate) use tidings_testkit::{
    brokers::{log, numbers, publish, publish_all, room, until, within},
    free_port,
};

/// A server on a port of the loopback, with a store of its own. It ends when it is dropped.
pub(crate) struct NatsServer(BrokerServer);

impl Deref for NatsServer {
    type Target = BrokerServer;

    fn deref(&self) -> &BrokerServer {
        &self.0
    }
}

impl DerefMut for NatsServer {
    fn deref_mut(&mut self) -> &mut BrokerServer {
        &mut self.0
    }
}

impl NatsServer {
    pub(crate) fn start() -> Self {
        Self::with(&["-js"])
    }

    /// A server with arguments beside address and store.
    pub(crate) fn with(args: &[&str]) -> Self {
        Self::on(free_port(), args)
    }

    pub(crate) fn on(port: u16, args: &[&str]) -> Self {
        Self(BrokerServer::start_with(ServerKind::Nats, port, args))
    }

    pub(crate) fn builder(&self) -> Builder {
        NatsBroker::builder(&self.url()).storage(Storage::Memory)
    }

    pub(crate) async fn broker(&self) -> NatsBroker {
        let broker = self.builder().build().expect("settings that can work");
        ready(&broker).await;
        broker
    }

    /// A client of its own, for what an administrator does.
    pub(crate) async fn admin(&self) -> async_nats::jetstream::Context {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        async_nats::jetstream::new(options.connect(self.url()).await.expect("it is connected later"))
    }
}

pub(crate) async fn ready(broker: &NatsBroker) {
    if tokio::time::timeout(Duration::from_secs(20), broker.ready()).await.is_err() {
        panic!("the broker is not ready: {:?}", broker.fault());
    }
}

pub(crate) fn hub(broker: NatsBroker, rooms: Rooms) -> Hub {
    brokers::hub(Arc::new(broker), rooms)
}
