//! A cluster that fails all the time: three nodes, each a process, share a broker; nodes are killed, and the broker too, and
//! are started again. Clients on all transports come back to another node with their cursors, publishers try again with their
//! keys. Nobody misses anything without being told, and while only nodes fail nobody misses anything.
//!
//! `cargo xtask soak --cluster` sets how long, and how often.

mod ledger;
mod listen;
mod publish;
mod tally;
mod trouble;

use ledger::Ledger;
use listen::Listener;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tally::Tally;
use tidings_testkit::{BrokerServer, Kind, Random, ServerKind, free_port, within};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const NODES: usize = 3;
const ROOMS: usize = 4;
/// Who publish in each room, each one event after the other.
const PUBLISHERS: usize = 2;
/// Between two events of one publisher.
const PACE: Duration = Duration::from_millis(20);
/// Events that a room keeps: more than it gets in the longest time that anybody is away.
const HISTORY: &str = "20000";
/// Nobody should have to wait longer, for whatever.
const LIMIT: Duration = Duration::from_secs(30);

/// What the run is made of.
#[derive(Debug, Clone, Copy)]
struct Load {
    time: Duration,
    clients: usize,
    /// How often a node is killed.
    node_every: Duration,
    /// How often the broker is. None: never.
    broker_every: Option<Duration>,
}

impl Load {
    /// What was asked for, or little.
    fn asked() -> Self {
        let number = |name: &str, usual: u64| {
            let asked = std::env::var(name).ok().filter(|number| !number.is_empty());
            asked.map_or(usual, |number| number.parse().unwrap_or_else(|_| panic!("{name} is no number")))
        };
        let broker = number("TIDINGS_SOAK_BROKER_EVERY", 5);
        Self {
            time: Duration::from_secs(number("TIDINGS_SOAK_SECONDS", 12)),
            clients: number("TIDINGS_SOAK_CLIENTS", 24) as usize,
            node_every: Duration::from_secs(number("TIDINGS_SOAK_NODE_EVERY", 3)),
            broker_every: (broker > 0).then(|| Duration::from_secs(broker)),
        }
    }
}

/// What all parts of a run share.
struct Run {
    nodes: [SocketAddr; NODES],
    begun: Instant,
    tally: Tally,
    /// By room and publisher.
    stored: [[ledger::Stored; PUBLISHERS]; ROOMS],
}

fn room(at: usize) -> String {
    format!("room-{at}")
}

async fn soak(kind: ServerKind) {
    let load = Load::asked();
    println!("{kind:?}: {load:?}");
    let broker = BrokerServer::start_stored(kind);
    let nodes = [(); NODES].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let args = ["--broker", &broker.url(), "--history", HISTORY].map(str::to_owned);
    let mut programs = Vec::new();
    for node in nodes {
        programs.push(trouble::start(node, &args).await);
    }
    let run =
        Arc::new(Run { nodes, begun: Instant::now(), tally: Tally::default(), stored: Default::default() });
    let mut random = Random::new();
    let mut next = || Random::of(random.below(u64::MAX));

    let (calm, troubled) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let mut listeners = JoinSet::new();
    for at in 0..load.clients {
        let listener = Listener::new(&run, at % ROOMS, Kind::ALL[at / ROOMS % Kind::ALL.len()], next());
        listeners.spawn(listener.run());
    }
    let mut publishers = JoinSet::new();
    for room in 0..ROOMS {
        for who in 0..PUBLISHERS {
            publishers.spawn(publish::run(Arc::clone(&run), (room, who), next(), stopped.clone()));
        }
    }
    let kills =
        trouble::kill_nodes(Arc::clone(&run), programs, args, load.node_every, next(), troubled.clone());
    let outages = trouble::kill_broker(Arc::clone(&run), broker, load.broker_every, next(), troubled);
    let (kills, outages) = (tokio::spawn(kills), tokio::spawn(outages));
    let progress = tokio::spawn(tally::progress(Arc::clone(&run)));

    let mut wrong = Vec::new();
    tokio::select! {
        () = sleep(load.time) => {}
        // Nobody has reason to end before.
        Some(ended) = listeners.join_next() => wrong.extend(ended.expect("a client").err()),
        Some(ended) = publishers.join_next() => ended.expect("a publisher"),
    }
    calm.send_replace(true);
    // Held until the end.
    let _programs = within(LIMIT, "all nodes", kills).await.expect("no panic");
    let _broker = within(LIMIT, "the broker", outages).await.expect("no panic");
    stop.send_replace(true);
    within(LIMIT, "the last events", async {
        while let Some(ended) = publishers.join_next().await {
            ended.expect("a publisher");
        }
    })
    .await;
    let mut ledgers: Vec<Vec<Ledger>> = (0..ROOMS).map(|_| Vec::new()).collect();
    let all = timeout(LIMIT, async {
        while let Some(ended) = listeners.join_next().await {
            match ended.expect("a client") {
                Ok((room, ledger)) => ledgers[room].push(ledger),
                Err(why) => wrong.push(why),
            }
        }
    });
    if all.await.is_err() {
        wrong.push(format!("{} clients do not have everything within {LIMIT:?}", listeners.len()));
    }
    progress.abort();
    println!("{kind:?} {}", run.tally.report(run.begun.elapsed()));
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(
        ledgers.iter().map(Vec::len).sum::<usize>(),
        load.clients,
        "all have gone on to the last event"
    );
    for (ledgers, stored) in ledgers.iter_mut().zip(&run.stored) {
        ledger::agree(ledgers, stored);
    }
    let told = run.tally.gaps();
    if load.broker_every.is_none() {
        assert!(told.is_empty(), "only nodes have failed, and yet there were gaps: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_redis_are_killed_and_nobody_misses_anything_untold() {
    soak(ServerKind::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_nats_are_killed_and_nobody_misses_anything_untold() {
    soak(ServerKind::Nats).await;
}
