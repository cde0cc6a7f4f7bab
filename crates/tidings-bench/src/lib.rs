//! What the programs of this crate share: brokers by their addresses, and servers for them.

mod nats_server;

pub use nats_server::NatsServer;

use anyhow::{Context, Result, bail};
use std::{sync::Arc, time::Duration};
use tidings::{Broker, nats::NatsBroker, redis::RedisBroker};

/// The broker at an address, ready for use, with the settings that it has by itself.
///
/// # Errors
/// If no broker has such addresses, or it is not there within ten seconds.
pub async fn broker(address: &str) -> Result<Arc<dyn Broker>> {
    match address.split_once("://").map(|(scheme, _)| scheme) {
        Some("nats" | "tls") => Ok(Arc::new(ready(NatsBroker::builder(address).build()?).await?)),
        Some("redis" | "rediss") => {
            let broker = RedisBroker::builder(address).build()?;
            let ready = tokio::time::timeout(PATIENCE, broker.ready()).await;
            ready.with_context(|| format!("no broker: {}", broker.fault().unwrap_or_default()))?;
            Ok(Arc::new(broker))
        }
        _ => bail!(
            "{address:?} is the address of no broker; one is nats://127.0.0.1:4222, or redis://127.0.0.1:6379"
        ),
    }
}

/// Waits until a broker can be used.
///
/// # Errors
/// If it cannot within ten seconds.
pub async fn ready(broker: NatsBroker) -> Result<NatsBroker> {
    let ready = tokio::time::timeout(PATIENCE, broker.ready()).await;
    ready.with_context(|| format!("no broker: {}", broker.fault().unwrap_or_default()))?;
    Ok(broker)
}

const PATIENCE: Duration = Duration::from_secs(10);
