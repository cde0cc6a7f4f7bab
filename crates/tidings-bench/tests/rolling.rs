//! A rolling restart: two nodes that share a broker are restarted one after the other behind haproxy, with clients on all
//! transports. Nobody misses or repeats anything, each node takes no more connections in a second than it may, and nobody
//! is told that a server is not there.
//!
//! `TIDINGS_ROLLING` says how many clients; `cargo xtask rolling` sets it.

use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tidings_bench::NatsServer;
use tidings_testkit::{Client, Heard, Kind, Program, Random, request, within};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, sleep},
};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
/// Nobody should have to wait longer.
const LIMIT: Duration = Duration::from_secs(60);

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

/// haproxy in front of two nodes. It ends when it is dropped.
struct Proxy {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Proxy {
    async fn start(nodes: [SocketAddr; 2], clients: usize) -> Self {
        let folder = TempDir::new().expect("a folder");
        let address = free_address();
        // Of each it holds two descriptors.
        let text = include_str!("rolling/haproxy.cfg").replace("ADDRESS", &address.to_string());
        let mut text = text.replace("CONNECTIONS", &(clients + 100).to_string());
        for (at, node) in nodes.iter().enumerate() {
            writeln!(text, "    server node{at} {node}").expect("text takes everything");
        }
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, text).expect("written");
        let named = std::env::var("TIDINGS_HAPROXY").ok().filter(|name| !name.is_empty());
        let program = named.unwrap_or_else(|| "/usr/sbin/haproxy".to_owned());
        let mut command = Command::new(&program);
        command.args(["-db", "-q", "-f"]).arg(&file).stdin(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let mut proxy = Self { child, address, _folder: folder };
        within(LIMIT, "the proxy", async {
            while status(address, ALL_UP).await != Some(200) {
                let ended = proxy.child.try_wait().expect("it can be asked");
                assert!(ended.is_none(), "{program} has ended: {ended:?}");
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // One that has ended by itself needs no more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

async fn status(address: SocketAddr, target: &str) -> Option<u16> {
    request(address, "GET", target, &[], "").await.ok().map(|answer| answer.status)
}

async fn command(address: SocketAddr, command: &Value) -> Option<Value> {
    let answer = request(address, "POST", "/realtime/send", &[], command.to_string()).await.ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// What all clients have come through.
#[derive(Default)]
struct Seen {
    told: AtomicUsize,
    refused: AtomicUsize,
    broken: AtomicUsize,
    caught_up: AtomicUsize,
}

/// One client: it takes numbers, each once and in order, up to the last, over as many connections as it takes.
async fn listen(
    kind: Kind,
    proxy: SocketAddr,
    mut random: Random,
    seen: Arc<Seen>,
    last: watch::Receiver<Option<u64>>,
) {
    let (mut cursor, mut next, mut failures) = (String::from("start"), 1, 0);
    loop {
        match Client::connect(kind, proxy, "r", &cursor).await {
            Err(refused) => {
                // Full jitter, as the protocol wants it.
                if refused.status == 0 { &seen.broken } else { &seen.refused }.fetch_add(1, SeqCst);
                sleep(Duration::from_millis(random.below(1_000 << failures.min(4)))).await;
                failures += 1;
            }
            Ok(mut client) => {
                failures = 0;
                let retry = take(&mut client, &mut next, &last).await;
                client.cursor().clone_into(&mut cursor);
                match retry {
                    Took::All => {
                        seen.caught_up.fetch_add(1, SeqCst);
                        return;
                    }
                    Took::Told([min, max]) => {
                        seen.told.fetch_add(1, SeqCst);
                        drop(client);
                        sleep(Duration::from_millis(min + random.below(max - min))).await;
                    }
                    Took::Cut => {
                        seen.broken.fetch_add(1, SeqCst);
                        drop(client);
                        sleep(Duration::from_millis(random.below(1_000))).await;
                    }
                }
            }
        }
    }
}

enum Took {
    All,
    /// To come back in this window of milliseconds.
    Told([u64; 2]),
    Cut,
}

async fn take(client: &mut Client, next: &mut u64, last: &watch::Receiver<Option<u64>>) -> Took {
    let mut last = last.clone();
    loop {
        if last.borrow().is_some_and(|last| *next > last) {
            return Took::All;
        }
        let heard = tokio::select! {
            heard = client.next() => heard,
            Ok(()) = last.changed() => continue,
        };
        match heard {
            Some(Heard::Event { data, .. }) => {
                assert_eq!(data, *next, "each once, and in order");
                *next += 1;
            }
            Some(Heard::Other(close)) if close["type"] == "close" => {
                assert_eq!(close["code"], "drain");
                let bound = |at: usize| close["retry"][at].as_u64().expect("a bound");
                return Took::Told([bound(0), bound(1)]);
            }
            Some(Heard::Joined { .. }) => {}
            Some(other) => panic!("{other:?}: something is missing"),
            None => return Took::Cut,
        }
    }
}

/// Publishes numbers until it is told to stop, each again with its key until it is stored.
async fn publish(proxy: SocketAddr, stop: watch::Receiver<bool>) -> u64 {
    let mut pace = interval(Duration::from_millis(200));
    let mut number = 0;
    while !*stop.borrow() {
        pace.tick().await;
        number += 1;
        let publish = json!({
            "type": "publish", "ref": number, "room": "r", "event": "n", "data": number, "key": format!("k{number}")
        });
        within(LIMIT, "a publish", async {
            while command(proxy, &publish).await.is_none() {
                sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }
    number
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
    let proxy = Proxy::start(addresses, clients).await;
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
    let published = publisher.await.expect("no panic");
    tell_last.send_replace(Some(published));
    within(LIMIT, "all to have everything", async {
        while let Some(ended) = listeners.join_next().await {
            ended.expect("nobody missed anything");
        }
    })
    .await;
    let count = |count: &AtomicUsize| count.load(SeqCst);
    let taken = most.map(|most| most.load(SeqCst));
    println!(
        "{clients} clients had {published} events; {} were told to go, {} refused, {} cut; \
         at most {taken:?} connections in a second, of {accepts} and a tenth at once",
        count(&seen.told),
        count(&seen.refused),
        count(&seen.broken),
    );
    assert_eq!(count(&seen.caught_up), clients);
    assert!(count(&seen.told) >= clients / 2, "of two nodes each had some");
    assert_eq!(
        (count(&seen.refused), count(&seen.broken)),
        (0, 0),
        "the proxy goes to the other node by itself"
    );
    assert!(taken.iter().all(|taken| *taken <= u64::from(accepts + accepts / 10)), "{taken:?}");
    watching.abort_all();
}
