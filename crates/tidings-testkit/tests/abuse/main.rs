//! Whatever comes in, nothing breaks and nothing stays: no panic, no answer that says that the server is at fault (5xx), and
//! afterwards as many sessions, rooms, descriptors and bytes as before. A server that has no place for anybody any more says so
//! (503), and is attacked by itself.
//!
//! `TIDINGS_ABUSE` is how many inputs there are, `TIDINGS_SEED` which; `cargo xtask abuse` sets both.

mod attack;
mod inputs;

use attack::Attack;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{
    alloc::System,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tidings::{Hub, Limits, MemoryBroker, Proxies, Rate, Rooms, gate};
use tidings_testkit::{Random, Server, heap, within};
use tokio::{task::JoinSet, time::sleep};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// With every change; a million takes minutes.
const INPUTS: usize = 8_000;
/// Attackers at once.
const ATTACKERS: usize = 24;
/// Where the server is full: so few sessions that they are reached.
const SESSIONS: usize = 12;
const ROOMS: usize = 100;
const POLLS: usize = 4;
/// So few bytes that they are sent.
const MESSAGE: usize = 16 << 10;
/// What the runtime, the system's caches and the maps of the server may differ by, and what the two threads may come to hold for
/// compression at any time: for each of three windows 380 KiB, and 64 KiB to inflate.
const MARGIN: usize = (512 + 2 * (3 * 380 + 64)) << 10;
/// What the broker may keep of a room that nobody is in any more; it does so for as long as events would be kept, for the sake of
/// old cursors, and of 250 000 rooms at most.
const REMEMBERED: usize = 512;
const SOON: Duration = Duration::from_secs(30);

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// What bounds one client is reached; what bounds all of them is, where the server is to be full.
fn server_limits(full: bool) -> Limits {
    let mut limits = Limits::default();
    if full {
        (limits.sessions, limits.node_rooms, limits.polls) = (SESSIONS, ROOMS, POLLS);
    }
    limits.message = MESSAGE;
    limits.rooms = 8;
    limits.address_sessions = 2;
    limits.address_requests = Rate::per_second(20).burst(20);
    limits.session_commands = Rate::per_second(200).burst(150);
    limits.poll_wait = Duration::from_millis(5);
    limits.linger = Duration::from_millis(100);
    limits
}

#[test]
fn whatever_comes_in_nothing_breaks_and_nothing_stays() {
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Relaxed);
        said(panic);
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let inputs = std::env::var("TIDINGS_ABUSE").ok().and_then(|count| count.parse().ok()).unwrap_or(INPUTS);
    runtime.expect("a runtime").block_on(async {
        let mut random = Random::new();
        abuse(&mut random, inputs, false).await;
        abuse(&mut random, (inputs / 10).max(INPUTS / 2), true).await;
    });
}

async fn abuse(random: &mut Random, inputs: usize, full: bool) {
    // Their history goes soon, for what a room keeps is no leak.
    let rooms = Rooms::log(4, Duration::from_millis(200));
    let broker = Arc::new(MemoryBroker::new());
    let hub = Hub::builder().gate(gate::open()).rooms("*", rooms).limits(server_limits(full));
    let hub = hub.broker(Arc::clone(&broker) as _).build();
    let proxies = Proxies::x_forwarded_for().trust("127.0.0.0/8").expect("a network");
    let server = Server::with_service(tidings::service(hub).proxies(proxies)).await;
    // What is there once and for all comes to be: the buffers of threads, say. What stays of inputs does so again.
    run(&server, random, inputs / 2, full, false).await;
    let before = at_rest(&server, &broker).await;
    let begun = Instant::now();
    let attack = run(&server, random, inputs / 2, full, true).await;
    let after = at_rest(&server, &broker).await;
    println!("{attack}; {:.1} s", begun.elapsed().as_secs_f32());
    println!("before: {before:?}, after: {after:?}");
    assert!(after.descriptors <= before.descriptors, "descriptors stay: {before:?}, {after:?}");
    let remembered = after.remembered.saturating_sub(before.remembered) * REMEMBERED;
    assert!(after.heap <= before.heap + MARGIN + remembered, "memory stays: {before:?}, {after:?}");
    assert_eq!(PANICS.load(Relaxed), 0, "panics");
    assert_eq!(attack.missing(), None, "{attack}");
    // It serves as it did.
    let answer = tidings_testkit::request(server.address(), "GET", "/realtime/poll?room=a", &[], "").await;
    assert_eq!(answer.expect("an answer").status, 200);
}

/// Sends so many inputs, by several attackers at once; and up to ten times as many, if they are few and the dice have left something
/// out.
async fn run(server: &Server, random: &mut Random, inputs: usize, full: bool, tell: bool) -> Arc<Attack> {
    let attack = Arc::new(Attack::new(server.address(), full));
    let mut attackers = JoinSet::new();
    for _ in 0..ATTACKERS {
        let (attack, seed) = (Arc::clone(&attack), random.below(u64::MAX));
        attackers.spawn(async move {
            let mut random = Random::of(seed);
            while attack.sent() < inputs || attack.sent() < 10 * inputs && attack.missing().is_some() {
                attack.once(&mut random).await;
            }
        });
    }
    let mut told = Instant::now();
    while !attackers.is_empty() {
        tokio::select! {
            Some(ended) = attackers.join_next() => ended.expect("the server did as it should"),
            () = sleep(Duration::from_secs(1)) => {}
        }
        if tell && told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            println!("{} of {inputs}: {attack}", attack.sent());
        }
    }
    attack
}

#[derive(Debug)]
struct Rest {
    descriptors: usize,
    heap: usize,
    /// Rooms that the broker remembers.
    remembered: usize,
}

/// Waits until nobody is there any more, and answers what is left.
async fn at_rest(server: &Server, broker: &MemoryBroker) -> Rest {
    server.until_sessions(0, SOON).await;
    within(SOON, "no rooms", async {
        while server.hub().stats().rooms > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // Connections that the server has yet to see the end of, and what is swept out once a second.
    let mut rest = look(broker);
    let mut quiet = 0;
    while quiet < 30 {
        sleep(Duration::from_millis(100)).await;
        let now = look(broker);
        quiet =
            if now.descriptors < rest.descriptors || now.heap + 4_096 < rest.heap { 0 } else { quiet + 1 };
        rest = now;
    }
    rest
}

fn look(broker: &MemoryBroker) -> Rest {
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    Rest { descriptors, heap: heap::held(), remembered: broker.rooms() }
}
