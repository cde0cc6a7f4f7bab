//! How many events a second go through the broker, beside what the server does for a client that does nothing else:
//! `cargo bench -p tidings-redis`.
//!
//! Each figure is of some seconds, with events of 256 bytes. `redis-benchmark`, which comes with the server, writes the
//! same command ready-made, 64 at a time. The broker has one thread, so that of two cores the server has the other; where
//! other programs take part of them, the microseconds of a core that each event costs either side say more than the rates.

use cpu_time::ProcessTime;
use futures_util::{StreamExt, stream};
use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tidings_core::{
    Event, Message, RoomName, Rooms,
    broker::{Broker, Publish, Sink},
};
use tidings_redis::RedisBroker;

/// A server, which ends when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("the server was not ended: {error}");
        }
    }
}

/// A node that counts what it hears.
#[derive(Default)]
struct Count(AtomicUsize);

impl Sink for Count {
    fn live(&self, _: Arc<Message>) {
        self.0.fetch_add(1, Relaxed);
    }

    fn lost(&self, _: Option<&RoomName>) {}
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", PORT, "--save", "", "--dir"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is there");
    let _server = Server(child);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
    let work = async {
        tokio::time::timeout(Duration::from_secs(10), connect().ready()).await.expect("a server");
        measure().await;
    };
    // On the worker, not on the thread that waits for it.
    runtime.block_on(runtime.spawn(work)).expect("measured");
}

async fn measure() {
    let hash = redis::Script::new(include_str!("../src/scripts/publish.lua")).get_hash().to_owned();
    let payload = "x".repeat(256);
    let plain = raw(&["XADD", "raw", "MAXLEN", "~", "1000", "*", "m", &payload]).await;
    println!("the server alone, XADD                     {:>9.0} /s  {:>5.1} us", plain.rate, plain.server);
    let command = [
        "EVALSHA", &hash, "2", "raw:m", "raw:s", &payload, "7", "1", "1000", "67108864", "3600000",
        "3720000", "raw:l", "PUBLISH", "300000",
    ];
    let script = raw(&command).await;
    println!("the server alone, the script of an event   {:>9.0} /s  {:>5.1} us", script.rate, script.server);
    let show = |what: &str, Rate { rate, server, ours }| {
        println!(
            "{what:<42} {rate:>9.0} /s  {:>5.2} of the script, {server:>5.1} us there, {ours:>5.1} us here",
            rate / script.rate
        );
    };
    let broker = connect();
    for (rooms, under_way) in [(1, 1), (1, 1_024), (1_000, 64), (1_000, 1_024), (1_000, 8_192)] {
        let rate = publish(&broker, rooms, under_way, false).await;
        show(&format!("the broker, {rooms} rooms, {under_way} under way"), rate);
    }
    show("the broker, each event with a key", publish(&broker, 1_000, 1_024, true).await);
    // What one node more costs the server, for each event that it hears.
    let mut nodes = Vec::new();
    for many in [1, 4, 16] {
        while nodes.len() < many {
            let (node, count) = (connect(), Arc::new(Count::default()));
            let sink = Arc::downgrade(&count);
            node.attach(sink);
            for at in 0..100 {
                node.watch(&room(at), keeps()).await.expect("watched");
            }
            nodes.push((node, count));
        }
        let heard = || nodes.iter().map(|(_, count)| count.0.load(Relaxed)).sum::<usize>();
        let before = heard();
        show(
            &format!("the broker, and {many} nodes that hear all"),
            publish(&broker, 100, 1_024, false).await,
        );
        println!("of which they have heard {}", heard() - before);
    }
}

/// Commands or events a second, and the microseconds of a core that each costs.
struct Rate {
    rate: f64,
    server: f64,
    ours: f64,
}

/// What `redis-benchmark` reaches with a command.
async fn raw(command: &[&str]) -> Rate {
    const COUNT: usize = 300_000;
    let before = server_time().await;
    let output = Command::new("redis-benchmark")
        .args(["-p", PORT, "-c", "4", "-P", "64", "-n", &COUNT.to_string(), "--csv"])
        .args(command)
        .output()
        .expect("redis-benchmark is there");
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().last().and_then(|line| line.rsplit("\",\"").nth(6)?.parse().ok());
    let server = (server_time().await - before) * 1e6 / COUNT as f64;
    Rate { rate: rate.unwrap_or_else(|| panic!("no rate in {text:?}")), server, ours: 0.0 }
}

/// Seconds of a core that the server has taken.
async fn server_time() -> f64 {
    let client = redis::Client::open(format!("redis://127.0.0.1:{PORT}")).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let info: String = redis::cmd("INFO").arg("cpu").query_async(&mut connection).await.expect("an answer");
    let of = |name: &str| -> f64 {
        let value = info.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|value| value.parse().ok()).expect("a number")
    };
    of("used_cpu_sys:") + of("used_cpu_user:")
}

/// Publishes for some time, and answers how many events a second were acknowledged.
async fn publish(broker: &RedisBroker, rooms: usize, under_way: usize, keyed: bool) -> Rate {
    let event = Event::json("n", &"x".repeat(251)).expect("JSON");
    let names: Vec<_> = (0..rooms).map(room).collect();
    let begin = Instant::now();
    let (ours, theirs) = (ProcessTime::now(), server_time().await);
    let published = stream::iter(0_usize..)
        .take_while(|_| std::future::ready(begin.elapsed() < TIME))
        .map(|number| {
            let room = names[number % rooms].clone();
            let key = keyed.then(|| format!("{begin:?} {number}"));
            broker.publish(Publish { room, event: event.clone(), key, rooms: keeps() })
        })
        .buffer_unordered(under_way)
        .map(|answer| answer.expect("published"))
        .count()
        .await as f64;
    let rate = published / begin.elapsed().as_secs_f64();
    let server = (server_time().await - theirs) * 1e6 / published;
    Rate { rate, server, ours: ours.elapsed().as_secs_f64() * 1e6 / published }
}

fn connect() -> RedisBroker {
    let url = format!("redis://127.0.0.1:{PORT}");
    RedisBroker::builder(&url).build().expect("settings that can work")
}

fn keeps() -> Rooms {
    Rooms::log(1_000, Duration::from_secs(3_600))
}

fn room(at: usize) -> RoomName {
    RoomName::new(&format!("room-{at}")).expect("a room name")
}

const PORT: &str = "16390";
const TIME: Duration = Duration::from_secs(3);
