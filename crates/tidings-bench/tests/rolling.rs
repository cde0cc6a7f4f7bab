//! A rolling restart: two nodes that share a broker are restarted one after the other behind haproxy, with clients on all
//! transports. Nobody misses or repeats anything, each node takes no more connections in a second than it may, and nobody
//! is told that a server is not there.
//!
//! `TIDINGS_ROLLING` says how many clients; `cargo xtask rolling` sets it.

mod clients;
mod proxy;

use clients::{LIMIT, Seen, command, free_address, hear_out, listen, publish, status};
use proxy::{HAPROXY, Proxy};
use serde_json::json;
use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tidings_bench::NatsServer;
use tidings_testkit::{Kind, Program, Random, within};
use tokio::{sync::watch, task::JoinSet, time::sleep};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// Where the proxy says whether it sees both nodes.
const ALL_UP: &str = "/all-up";

/// What the run is made of.
struct Load {
    clients: usize,
    /// Connections that a node takes in a second: all come back in about seven, as they are told to go in.
    accepts: u32,
}

fn load() -> Load {
    let asked = std::env::var("TIDINGS_ROLLING").ok().filter(|count| !count.is_empty());
    let clients = asked.map_or(60, |count| count.parse().expect("a number of clients"));
    Load { clients, accepts: u32::try_from(clients / 4).expect("few").max(40) }
}

/// haproxy in front of two nodes.
async fn start_proxy(nodes: [SocketAddr; 2], clients: usize) -> Proxy {
    // Of each it holds two descriptors.
    let mut text = include_str!("rolling/haproxy.cfg").replace("CONNECTIONS", &(clients + 100).to_string());
    for (at, node) in nodes.iter().enumerate() {
        writeln!(text, "    server node{at} {node}").expect("text takes everything");
    }
    Proxy::start(&HAPROXY, &text, ALL_UP).await
}

/// The most connections that a node has taken in a second, by what it says itself.
async fn watch_accepts(node: SocketAddr, most: Arc<AtomicU64>) {
    let call = json!({"type": "call", "ref": 1, "method": "accepted"});
    // What it said, and the span of time in which it was true.
    let mut samples: Vec<(Instant, Instant, u64)> = Vec::new();
    loop {
        let asked = Instant::now();
        let accepted = command(node, &call).await.and_then(|reply| reply["data"].as_u64());
        match accepted {
            // It is another process now.
            Some(accepted) if samples.last().is_some_and(|(.., before)| *before > accepted) => {
                samples.clear()
            }
            Some(accepted) => {
                let answered = Instant::now();
                samples.retain(|(before, ..)| answered - *before <= Duration::from_secs(1));
                if let Some((.., before)) = samples.first() {
                    most.fetch_max(accepted - before, SeqCst);
                }
                samples.push((asked, answered, accepted));
            }
            None => samples.clear(),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_are_restarted_and_nobody_misses_anything() {
    let Load { clients, accepts } = load();
    let nats = NatsServer::start().expect("a broker");
    let addresses = [(); 2].map(|()| free_address());
    let (broker, rate) = (nats.url(), accepts.to_string());
    let args = ["--broker", &broker, "--accepts", &rate, "--patience", "20", "--history", "10000"];
    let [mut one, mut two] = [
        Program::start_at(SERVER, addresses[0], &args).await,
        Program::start_at(SERVER, addresses[1], &args).await,
    ];
    let proxy = start_proxy(addresses, clients).await;
    let most = addresses.map(|_| Arc::new(AtomicU64::new(0)));
    let mut watching = JoinSet::new();
    for (address, most) in addresses.iter().zip(&most) {
        watching.spawn(watch_accepts(*address, Arc::clone(most)));
    }
    let (stop, stopped) = watch::channel(false);
    let publisher = tokio::spawn(publish(proxy.address, stopped));
    let (tell_last, last) = watch::channel(None);
    let seen = Arc::new(Seen::default());
    let mut listeners = JoinSet::new();
    let mut random = Random::new();
    for at in 0..clients {
        // Polls come back for each answer, and so they are few where connections are counted.
        let kind = match at % 50 {
            0 => Kind::Poll,
            at if at % 3 == 0 => Kind::Sse,
            _ => Kind::Ws,
        };
        listeners.spawn(listen(
            kind,
            proxy.address,
            Random::of(random.below(u64::MAX)),
            Arc::clone(&seen),
            last.clone(),
        ));
    }
    sleep(Duration::from_secs(1) + Duration::from_secs_f64(clients as f64 / f64::from(accepts))).await;
    for (node, address) in [(&mut one, addresses[0]), (&mut two, addresses[1])] {
        let begin = Instant::now();
        node.terminate();
        let ended = node.exit(Duration::from_secs(21)).await;
        assert_eq!(ended.code(), Some(0), "{ended}");
        println!("a node has ended after {:?}", begin.elapsed());
        *node = Program::start_at(SERVER, address, &args).await;
        // The other one must not go before the proxy knows that this one has come, or nobody would be there.
        within(LIMIT, "the proxy to see it", async {
            while status(proxy.address, ALL_UP).await != Some(200) {
                sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        // As long as those who were told may take to be back.
        sleep(Duration::from_secs(6)).await;
    }
    stop.send_replace(true);
    let published = hear_out(publisher, tell_last, listeners).await;
    let count = |count: &AtomicUsize| count.load(SeqCst);
    let refused = seen.refused.lock().expect("no panic").clone();
    let taken = most.map(|most| most.load(SeqCst));
    println!(
        "{clients} clients had {published} events; {} were told to go, {} refused, {} cut; \
         at most {taken:?} connections in a second, of {accepts} and a tenth at once",
        count(&seen.told),
        refused.len(),
        count(&seen.broken),
    );
    assert_eq!(count(&seen.caught_up), clients);
    assert!(count(&seen.told) >= clients / 2, "of two nodes each had some");
    assert_eq!((refused.len(), count(&seen.broken)), (0, 0), "the proxy goes to the other node by itself");
    assert!(taken.iter().all(|taken| *taken <= u64::from(accepts + accepts / 10)), "{taken:?}");
    watching.abort_all();
}
