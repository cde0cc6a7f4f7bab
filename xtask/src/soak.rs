//! `cargo xtask soak`: everything at once, for as long as is asked for.

use anyhow::Result;

use crate::flags::{Cluster, Soak};
use crate::run::cargo;
use crate::setup::{self, Tool};

pub(crate) fn run(flags: &Soak) -> Result<()> {
    match flags.cluster {
        None => {
            let test =
                cargo(&["test", "-p", "tidings-testkit", "--release", "--test", "soak", "--", "--nocapture"]);
            test.env("TIDINGS_SOAK_SECONDS", &flags.seconds.to_string()).run()
        }
        Some(broker) => cluster(broker, flags),
    }
}

fn cluster(broker: Cluster, flags: &Soak) -> Result<()> {
    let (tool, filter) = match broker {
        Cluster::Redis => (Tool::Redis, "redis"),
        Cluster::Nats => (Tool::Nats, "nats"),
    };
    setup::ensure(tool)?;
    let broker_every = if flags.spare_broker { 0 } else { flags.broker_every };
    cargo(&["test", "-p", "tidings-bench", "--release", "--test", "cluster", "--", "--nocapture", filter])
        .env("TIDINGS_SOAK_SECONDS", &flags.seconds.to_string())
        .env("TIDINGS_SOAK_CLIENTS", &flags.clients.to_string())
        .env("TIDINGS_SOAK_NODE_EVERY", &flags.node_every.to_string())
        .env("TIDINGS_SOAK_BROKER_EVERY", &broker_every.to_string())
        .run()
}
