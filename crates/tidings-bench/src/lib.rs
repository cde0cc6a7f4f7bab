//! What the programs of this crate share: brokers by their addresses, and servers for them.

mod nats_server;

pub use nats_server::NatsServer;

use anyhow::{Context, Result, bail};
use std::{sync::Arc, time::Duration};
use tidings::{
    Broker,
    nats::{NatsBroker, Storage},
};

/// The broker at an address, ready for use. Its histories are in memory, for they are of no use after a measurement.
///
/// # Errors
/// If no broker has such addresses, or it is not there within ten seconds.
pub async fn broker(address: &str) -> Result<Arc<dyn Broker>> {
    match address.split_once("://").map(|(scheme, _)| scheme) {
        Some("nats" | "tls") => {
            let broker = NatsBroker::builder(address).storage(Storage::Memory).build()?;
            let ready = tokio::time::timeout(PATIENCE, broker.ready()).await;
            ready.with_context(|| format!("no broker: {}", broker.fault().unwrap_or_default()))?;
            Ok(Arc::new(broker))
        }
        _ => bail!("{address:?} is the address of no broker; one is nats://127.0.0.1:4222"),
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
