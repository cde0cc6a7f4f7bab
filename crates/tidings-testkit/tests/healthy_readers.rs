//! Readers that are well do not notice those in their room whose connections take nothing.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tidings::{Event, Hub, Limits, Rooms, gate};
use tidings_testkit::{Client, Heard, Kind, Server, Tap, hear_out, soaks, within};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};

const SOON: Duration = Duration::from_secs(60);
const PAYLOAD: usize = 1 << 10;
/// Events published at once. Then everybody who is well is waited for, so that what is measured is not how fast the
/// machine is.
const BURST: u64 = 10;
/// What the room keeps: more than a burst, and much less than a round, so that who is frozen misses something.
const HISTORY: usize = 20;
/// Rounds with and without frozen readers, in turn.
const ROUNDS: usize = 5;
const FROZEN: [Kind; 5] = [Kind::Ws, Kind::Sse, Kind::Poll, Kind::Ws, Kind::Sse];
/// What a machine that does other things too may add to the latency that is not seen by one in a hundred.
const NOISE: Duration = Duration::from_millis(15);

/// Readers that are well, and bursts of a round: 100 and 20, or with `TIDINGS_SOAK` set 500 and 100, which makes 10 000
/// events in all.
fn load() -> (usize, u64) {
    if soaks() { (500, 100) } else { (100, 20) }
}

/// The readers that are well.
struct Readers {
    start: Instant,
    latencies: Mutex<Vec<Duration>>,
    heard: Semaphore,
}

impl Readers {
    async fn read(self: Arc<Self>, mut client: Client) {
        for number in 1.. {
            let Some(heard) = client.next().await else { panic!("it ended") };
            let now = self.start.elapsed();
            let Heard::Event { data, .. } = heard else { panic!("{heard:?} before {number}") };
            assert_eq!(data[0], number, "each once and in order");
            let published = Duration::from_nanos(data[1].as_u64().expect("a time"));
            self.latencies.lock().expect("no panic").push(now - published);
            self.heard.add_permits(1);
        }
    }
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_readers_delay_neither_those_who_are_well_nor_publishers() {
    let (count, bursts) = load();
    let mut limits = Limits::default();
    // They are not given up, however long a round takes.
    limits.idle = 60 * SOON;
    let hub = Hub::builder().gate(gate::open()).limits(limits);
    let server = Server::with_hub(hub.rooms("*", Rooms::log(HISTORY, 60 * SOON)).build()).await;
    let tap = Tap::narrow(server.address(), 4 << 10).await;
    let readers = Readers { start: Instant::now(), latencies: Mutex::default(), heard: Semaphore::new(0) };
    let readers = Arc::new(readers);
    let mut tasks = JoinSet::new();
    for at in 0..count {
        let kind = [Kind::Ws, Kind::Sse, Kind::Ws, Kind::Sse, Kind::Poll][at % 5];
        let client = Client::connect(kind, server.address(), "r", "now").await.expect("let in");
        tasks.spawn(Arc::clone(&readers).read(client));
    }
    let (mut number, mut longest, mut missed) = (0, Duration::ZERO, Vec::new());
    let mut tails = [Vec::new(), Vec::new()];
    for round in 0..2 * ROUNDS {
        let with_frozen = round % 2 == 1;
        let mut frozen: Vec<JoinHandle<_>> = Vec::new();
        if with_frozen {
            for kind in FROZEN {
                let client = Client::connect(kind, tap.address(), "r", "now").await.expect("let in");
                frozen.push(tokio::spawn(hear_out(client, number, number + bursts * BURST)));
            }
            // The polls of all wait, too.
            server.until_sessions(count + FROZEN.len(), SOON).await;
            tap.freeze();
        }
        for _ in 0..bursts {
            for _ in 0..BURST {
                number += 1;
                let data = (number, readers.start.elapsed().as_nanos() as u64, "x".repeat(PAYLOAD));
                let event = Event::json("n", &data).expect("JSON");
                let begin = Instant::now();
                server.hub().publish("r", event).await.expect("published");
                longest = longest.max(begin.elapsed());
            }
            let all = readers.heard.acquire_many(count as u32 * BURST as u32);
            tokio::select! {
                all = within(SOON, "all who are well have it", all) => all.expect("it is open").forget(),
                Some(ended) = tasks.join_next() => ended.expect("no panic"),
            }
        }
        let mut latencies = std::mem::take(&mut *readers.latencies.lock().expect("no panic"));
        latencies.sort_unstable();
        tails[usize::from(with_frozen)].push(latencies[latencies.len() * 99 / 100]);
        tap.thaw();
        for frozen in frozen {
            missed.push(within(SOON, "the rest or a gap", frozen).await.expect("no panic").0);
        }
    }
    let [without, with] = tails.map(median);
    println!(
        "{number} events: p99 {without:?} without frozen readers, {with:?} with them; they missed {missed:?}"
    );
    println!("the longest publish took {longest:?}");
    assert!(longest < Duration::from_secs(1), "a publish took {longest:?}");
    assert!(missed.iter().all(|missed| *missed > 0), "they were not frozen: {missed:?}");
    assert!(with <= 2 * without + NOISE, "{with:?} with frozen readers, {without:?} without");
}
