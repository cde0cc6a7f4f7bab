//! What happens to nodes and broker.

use crate::{Run, SERVER};
use std::{future::pending, net::SocketAddr, sync::Arc, time::Duration};
use tidings_testkit::{BrokerServer, Program, Random};
use tokio::{
    sync::watch,
    time::{Instant, interval_at, sleep},
};

/// Starts a node.
pub(crate) async fn start(node: SocketAddr, args: &[String]) -> Program {
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    Program::start_at(SERVER, node, &args).await
}

/// Kills one node after the other and starts it again a while later, until there is to be calm. Then all are there.
pub(crate) async fn kill_nodes(
    run: Arc<Run>,
    mut nodes: Vec<Program>,
    args: [String; 4],
    every: Duration,
    mut random: Random,
    mut calm: watch::Receiver<bool>,
) -> Vec<Program> {
    let mut pace = interval_at(Instant::now() + every, every);
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            _ = calm.wait_for(|calm| *calm) => return nodes,
        }
        let at = random.below(nodes.len() as u64) as usize;
        nodes[at].kill().await;
        run.tally.nodes_killed.add(1);
        let away = away(every, &mut random);
        run.say(&format!("the node {at} is killed, and started again after {away:?}"));
        sleep(away).await;
        nodes[at] = start(run.nodes[at], &args).await;
    }
}

/// Kills the broker's server and starts it again a while later, until there is to be calm. Then it is there.
pub(crate) async fn kill_broker(
    run: Arc<Run>,
    mut broker: BrokerServer,
    every: Option<Duration>,
    mut random: Random,
    mut calm: watch::Receiver<bool>,
) -> BrokerServer {
    let mut pace = every.map(|every| interval_at(Instant::now() + every, every));
    loop {
        tokio::select! {
            _ = async { match &mut pace { Some(pace) => pace.tick().await, None => pending().await } } => {}
            _ = calm.wait_for(|calm| *calm) => return broker,
        }
        broker.kill();
        run.tally.brokers_killed.add(1);
        let away = away(every.unwrap_or_default(), &mut random);
        run.say(&format!("the broker is killed, and started again after {away:?}"));
        sleep(away).await;
        broker.restart();
    }
}

/// How long something is away: up to four seconds, and never so long that it is killed again just after.
fn away(every: Duration, random: &mut Random) -> Duration {
    let most = (every / 3).min(Duration::from_secs(4));
    Duration::from_millis(random.below(most.as_millis() as u64))
}
