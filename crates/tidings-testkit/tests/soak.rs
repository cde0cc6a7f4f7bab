//! Everything at once, for as long as there is time: clients that come and go on all transports, connections that are cut,
//! frozen and split, readers that stop, and nodes that are drained and replaced. After each round all have had everything
//! once and in order, and no more memory is held than when the history was full of what somebody has read.
//!
//! `TIDINGS_SOAK_SECONDS` says how long; `cargo xtask soak` sets it.

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{
    alloc::System,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tidings::{Event, Hub, MemoryBroker, Position, Rooms, broker::Broker, gate};
use tidings_testkit::{
    Client, Heard, Kind, Random, Tap,
    heap::{alone, held},
    within,
};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::{interval, sleep, timeout},
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LIMIT: Duration = Duration::from_secs(30);
const ROUND: Duration = Duration::from_secs(2);
const CLIENTS: u64 = 30;
/// Events that a room keeps: five seconds of them, and nobody is away for as long.
const HISTORY: usize = 1_000;
/// What lists and maps that grow by doubling may be larger by, now and then.
const MARGIN: usize = 256 << 10;

/// How long it goes on, if two rounds in which memory stays as it is are not longer.
fn time() -> Duration {
    let asked = std::env::var("TIDINGS_SOAK_SECONDS").ok().filter(|seconds| !seconds.is_empty());
    Duration::from_secs(asked.map_or(0, |seconds| seconds.parse().expect("a number of seconds")))
}

/// A node and the network before it.
struct Node {
    hub: Hub,
    tap: Arc<Tap>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<io::Result<()>>,
}

impl Node {
    async fn start(broker: &Arc<MemoryBroker>) -> Self {
        let rooms = Rooms::log(HISTORY, Duration::from_secs(3_600));
        let broker = Arc::clone(broker) as Arc<dyn Broker>;
        let hub = Hub::builder().gate(gate::open()).broker(broker).rooms("*", rooms).build();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let tap = Arc::new(Tap::to(listener.local_addr().expect("bound")).await);
        let (stop, stopped) = oneshot::channel();
        let serve = tidings::serve(listener, tidings::service(hub.clone())).patience(Duration::from_secs(10));
        let serve = serve.until(async {
            // An end without a word is an end, too.
            let _ = stopped.await;
        });
        Self { hub, tap, stop, served: tokio::spawn(serve.into_future()) }
    }

    /// Drains it; a network that freezes does not hold it up for ever.
    async fn end(self) {
        self.tap.thaw();
        self.stop.send(()).expect("it runs");
        within(Duration::from_secs(11), "the end", self.served).await.expect("no panic").expect("no error");
        assert_eq!(self.hub.stats().sessions.values().sum::<usize>(), 0, "nobody is left");
    }
}

/// The taps of the nodes that there are.
type Taps = Arc<Mutex<Vec<Arc<Tap>>>>;

fn one_of(taps: &Taps, random: &mut Random) -> Arc<Tap> {
    Arc::clone(random.pick(&taps.lock().expect("nobody panics")))
}

/// Does something to the network, now and then.
async fn weather(taps: Taps, mut random: Random) {
    loop {
        sleep(Duration::from_millis(20 + random.below(100))).await;
        let tap = one_of(&taps, &mut random);
        match random.below(4) {
            0 => tap.cut(),
            1 => {
                tap.freeze();
                sleep(Duration::from_millis(random.below(200))).await;
                tap.thaw();
            }
            2 => tap.split(1 + random.below(40) as usize),
            _ => tap.split(64 << 10),
        }
    }
}

/// Takes each number once and in order, from the one after the cursor to the last, wherever and however it connects.
async fn listen(
    taps: Taps,
    mut random: Random,
    mut cursor: String,
    mut had: u64,
    last: watch::Receiver<Option<u64>>,
) {
    while last.borrow().is_none_or(|last| had < last) {
        let address: SocketAddr = one_of(&taps, &mut random).address();
        let kind = *random.pick(&Kind::ALL);
        let connected = timeout(Duration::from_secs(1), Client::connect(kind, address, "r", &cursor)).await;
        let Ok(Ok(mut client)) = connected else {
            // Cut, frozen, or refused by a node that drains.
            sleep(Duration::from_millis(random.below(50))).await;
            continue;
        };
        if random.below(5) == 0 {
            // It reads nothing for a while.
            sleep(Duration::from_millis(random.below(500))).await;
        }
        let stay = Duration::from_millis(random.below(600));
        let reading = async {
            while last.borrow().is_none_or(|last| had < last) {
                match client.next().await {
                    Some(Heard::Event { data, cursor: after, .. }) => {
                        assert_eq!(data, had + 1, "each once, and in order, over {kind:?}");
                        (had, cursor) = (had + 1, after);
                    }
                    Some(Heard::Other(close)) if close["code"] == "drain" => return,
                    Some(Heard::Joined { .. }) => {}
                    Some(other) => panic!("{other:?} over {kind:?}"),
                    None => return,
                }
            }
        };
        // It leaves when it likes.
        let _ = timeout(stay, reading).await;
    }
}

/// Publishes from a number on until it is told to stop. Answers the last, and where it stands.
async fn publish(hub: Hub, mut number: u64, stop: oneshot::Receiver<()>) -> (u64, Position) {
    let mut stop = std::pin::pin!(stop);
    let mut pace = interval(Duration::from_millis(5));
    loop {
        number += 1;
        let event = Event::json("n", &number).expect("a number is JSON");
        let position = hub.publish("r", event).await.expect("memory takes it");
        tokio::select! {
            _ = pace.tick() => {}
            _ = &mut stop => return (number, position),
        }
    }
}

/// A round, after so many events. Answers how many there are then.
async fn round(broker: &Arc<MemoryBroker>, random: &mut Random, had: (u64, Position)) -> (u64, Position) {
    let mut nodes = [Node::start(broker).await, Node::start(broker).await];
    let taps: Taps = Arc::new(Mutex::new(nodes.iter().map(|node| Arc::clone(&node.tap)).collect()));
    let mut next = || Random::of(random.below(u64::MAX));
    let storm = tokio::spawn(weather(Arc::clone(&taps), next()));
    let (tell_last, last) = watch::channel(None);
    let mut listeners = JoinSet::new();
    for _ in 0..CLIENTS {
        listeners.spawn(listen(Arc::clone(&taps), next(), had.1.to_string(), had.0, last.clone()));
    }
    let (stop, stopped) = oneshot::channel();
    let publisher = tokio::spawn(publish(nodes[0].hub.clone(), had.0, stopped));
    let begun = Instant::now();
    let mut at = 0;
    while begun.elapsed() < ROUND {
        sleep(ROUND / 3).await;
        let new = Node::start(broker).await;
        taps.lock().expect("nobody panics")[at] = Arc::clone(&new.tap);
        std::mem::replace(&mut nodes[at], new).end().await;
        at = 1 - at;
    }
    stop.send(()).expect("it runs");
    let had = publisher.await.expect("no panic");
    tell_last.send_replace(Some(had.0));
    within(LIMIT, "all to have everything", async {
        while let Some(ended) = listeners.join_next().await {
            ended.expect("nobody missed anything");
        }
    })
    .await;
    storm.abort();
    for node in nodes {
        node.end().await;
    }
    had
}

#[test]
fn whatever_happens_at_once_nobody_misses_anything_and_memory_stays_flat() {
    alone(async {
        let mut random = Random::new();
        let broker = Arc::new(MemoryBroker::new());
        let first = Node::start(&broker).await;
        let mut had = (0, Position::UNKNOWN);
        while had.0 < HISTORY as u64 {
            had.0 += 1;
            let event = Event::json("n", &had.0).expect("a number is JSON");
            had.1 = first.hub.publish("r", event).await.expect("memory takes it");
        }
        first.end().await;
        let (mut before, mut rounds, begun) = (None, 0, Instant::now());
        while rounds < 2 || begun.elapsed() < time() {
            had = round(&broker, &mut random, had).await;
            // Tasks whose connections have ended may not have ended just yet.
            sleep(Duration::from_millis(500)).await;
            let now = held();
            println!("{} events, {now} bytes held", had.0);
            // A message that was read holds the forms in which it went out.
            if had.0 < 2 * HISTORY as u64 {
                continue;
            }
            let allowed = *before.get_or_insert(now) + MARGIN;
            assert!(now <= allowed, "{now} bytes are held, {allowed} are allowed");
            rounds += 1;
        }
    });
}
