//! What a broker makes: publishes a second with many under way, beside what its server makes of its own, and how long an
//! event takes from one node to another. Everything is on one machine and shares its cores.

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream::{self, stream};
use clap::{Parser, ValueEnum};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tidings::{
    Event, From, Hub, RoomName, Rooms,
    broker::{Broker, Publish},
    gate,
    nats::NatsBroker,
};
use tidings_bench::NatsServer;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

/// What a broker makes: publishes a second, and the time from node to node.
#[derive(Parser)]
struct Options {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0, value_name = "S")]
    seconds: f64,
    /// How often each is taken, in turn.
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 256, value_name = "BYTES")]
    bytes: usize,
    /// Publishes under way.
    #[arg(long, default_value_t = 1_024, value_name = "N")]
    window: usize,
    /// Where the server keeps its streams.
    #[arg(long, value_enum, default_value = "file")]
    storage: Storage,
    /// Rooms that are published to in turn.
    #[arg(long, default_value_t = 100, value_name = "N")]
    rooms: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Storage {
    File,
    Memory,
}

/// What each round of one way to publish came to.
type Rounds = Vec<Round>;

#[derive(Clone, Copy)]
struct Round {
    /// Publishes a second.
    rate: f64,
    /// Microseconds of CPU time for each, of this process and of the server. They say more than the rate where the machine
    /// does something else beside.
    cpu: [f64; 2],
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let server = NatsServer::start()?;
    let nats = broker(&options, &server).await?;
    let rooms = Rooms::log(1_000, Duration::from_secs(3_600));
    let nodes = [node(nats.clone(), rooms), node(broker(&options, &server).await?, rooms)];
    // The streams come to be with the first event.
    nodes[0].publish("r", event(&options)?).await?;
    let peer = Peer::new(&server).await?;
    let mut rows = ["raw", "async-nats", "tidings-nats", "Hub::publish"].map(|name| (name, Rounds::new()));
    for _ in 0..options.rounds {
        rows[0].1.push(measure(&server, peer.raw(&options)).await?);
        rows[1].1.push(measure(&server, peer.client(&options)).await?);
        rows[2].1.push(measure(&server, through_broker(&options, &*nats, rooms)).await?);
        rows[3].1.push(measure(&server, through_hub(&options, &nodes[0])).await?);
    }
    let Options { bytes, window, rounds, storage, .. } = options;
    println!(
        "**{storage:?} storage, {bytes} B, {window} publishes under way, {} rooms, medians of {rounds} rounds**\n",
        options.rooms
    );
    println!("| | publishes a second (least) | x raw | CPU us each | of the server |\n|---|---|---|---|---|");
    let raw = median(&rows[0].1, |round| round.rate);
    for (name, rounds) in &rows {
        let rate = median(rounds, |round| round.rate);
        let least = rounds.iter().map(|round| round.rate).fold(f64::INFINITY, f64::min);
        let [ours, servers] = [0, 1].map(|of| median(rounds, |round| round.cpu[of]));
        println!("| {name} | {rate:.0} ({least:.0}) | {:.2} | {ours:.1} | {servers:.1} |", rate / raw);
    }
    println!(
        "\n| nodes that hear all | publishes a second | CPU us each | of the server |\n|---|---|---|---|"
    );
    let mut nodes_hearing = Vec::new();
    for many in [1, 4, 16] {
        while nodes_hearing.len() < many {
            nodes_hearing.push(Hearing::new(&options, &server, rooms).await?);
        }
        let Round { rate, cpu: [ours, servers] } =
            measure(&server, through_broker(&options, &*nats, rooms)).await?;
        println!("| {many} | {rate:.0} | {ours:.1} | {servers:.1} |");
    }
    drop(nodes_hearing);
    println!("\n| events a second | median ms | p99 ms | most ms |\n|---|---|---|---|");
    for rate in [100, 1_000, 10_000] {
        let mut times = latencies(&options, &nodes, rate).await?;
        times.sort();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        println!("| {rate} | {:.2} | {:.2} | {:.2} |", at(0.5), at(0.99), at(1.0));
    }
    Ok(())
}

async fn broker(options: &Options, server: &NatsServer) -> Result<Arc<NatsBroker>> {
    let storage = match options.storage {
        Storage::File => tidings::nats::Storage::File,
        Storage::Memory => tidings::nats::Storage::Memory,
    };
    let broker = NatsBroker::builder(&server.url()).storage(storage).build()?;
    Ok(Arc::new(tidings_bench::ready(broker).await?))
}

/// A node with a subscriber in each room.
struct Hearing(Vec<tokio::task::JoinHandle<()>>);

impl Hearing {
    async fn new(options: &Options, server: &NatsServer, rooms: Rooms) -> Result<Self> {
        let hub = node(broker(options, server).await?, rooms);
        let mut hearing = Self(Vec::new());
        for n in 0..options.rooms {
            let mut subscription = hub.subscribe(format!("room {n}"), From::Now).await?;
            hearing.0.push(tokio::spawn(async move { while subscription.next().await.is_some() {} }));
        }
        Ok(hearing)
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn node(broker: Arc<dyn Broker>, rooms: Rooms) -> Hub {
    Hub::builder().gate(gate::open()).broker(broker).rooms("*", rooms).build() // nobody comes in
}

fn event(options: &Options) -> Result<Event> {
    // With its quotation marks.
    Ok(Event::json("n", &"x".repeat(options.bytes.saturating_sub(2)))?)
}

/// `published` answers how many it has published, and in how many seconds.
async fn measure(server: &NatsServer, published: impl Future<Output = Result<Published>>) -> Result<Round> {
    let cpu = || anyhow::Ok([cpu_time("self")?, cpu_time(&server.process().to_string())?]);
    let before = cpu()?;
    let Published { count, seconds } = published.await?;
    let after = cpu()?;
    let each = |of: usize| (after[of] - before[of]) * 1e6 / count as f64;
    Ok(Round { rate: count as f64 / seconds, cpu: [each(0), each(1)] })
}

struct Published {
    count: usize,
    seconds: f64,
}

/// Seconds of CPU time that a process has had (proc(5): the 14th and the 15th field, in hundredths).
fn cpu_time(process: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("a name in brackets")?;
    let ticks: Result<Vec<f64>, _> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum::<f64>() / 100.0)
}

/// Keeps `window` of what `begin` begins under way, and says how many ended in a second.
async fn pipelined<F, T>(options: &Options, mut begin: impl FnMut(usize) -> F) -> Result<Published>
where
    F: Future<Output = Result<T>>,
{
    let mut under_way = FuturesUnordered::new();
    let (mut begun, mut ended, start) = (0, 0, Instant::now());
    let end = start + Duration::from_secs_f64(options.seconds);
    loop {
        while under_way.len() < options.window && Instant::now() < end {
            under_way.push(begin(begun));
            begun += 1;
        }
        match under_way.next().await {
            Some(result) => drop(result?),
            None => return Ok(Published { count: ended, seconds: start.elapsed().as_secs_f64() }),
        }
        ended += 1;
    }
}

async fn through_broker(options: &Options, broker: &dyn Broker, rooms: Rooms) -> Result<Published> {
    let event = event(options)?;
    let names: Result<Vec<_>, _> = (0..options.rooms).map(|n| RoomName::new(&format!("room {n}"))).collect();
    let names = names?;
    pipelined(options, |n| {
        let publish =
            Publish { room: names[n % names.len()].clone(), event: event.clone(), key: None, rooms };
        async { Ok(broker.publish(publish).await?) }
    })
    .await
}

/// As connections do: each publish in a task of its own.
async fn through_hub(options: &Options, hub: &Hub) -> Result<Published> {
    let event = event(options)?;
    pipelined(options, |n| {
        let (hub, event, room) = (hub.clone(), event.clone(), format!("room {}", n % options.rooms));
        let task = tokio::spawn(async move { hub.publish(room, event).await });
        async { Ok(task.await??) }
    })
    .await
}

/// How long events take from a publish at one node to a subscriber at the other.
async fn latencies(options: &Options, nodes: &[Hub; 2], rate: u32) -> Result<Vec<Duration>> {
    let room = format!("latency {rate}");
    let mut subscription = nodes[1].subscribe(room.as_str(), From::Now).await?;
    let count = (f64::from(rate) * options.seconds).max(100.0) as usize;
    let (told, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let (hub, event) = (nodes[0].clone(), event(options)?);
    let publishing = tokio::spawn(async move {
        let mut tick = interval(Duration::from_secs(1) / rate.min(1_000));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let at_once = rate.div_ceil(1_000) as usize;
        let mut under_way = FuturesUnordered::new();
        for _ in 0..count.div_ceil(at_once) {
            tick.tick().await;
            for _ in 0..at_once {
                // In the order of their sending, which is that of the room.
                told.send(Instant::now())?;
                under_way.push(tokio::spawn({
                    let (hub, room, event) = (hub.clone(), room.clone(), event.clone());
                    async move { hub.publish(room, event).await }
                }));
            }
            while under_way.len() > 10_000 {
                under_way.next().await.context("one is under way")???;
            }
        }
        while let Some(published) = under_way.next().await {
            published??;
        }
        anyhow::Ok(())
    });
    let mut times = Vec::with_capacity(count);
    while let Some(start) = begun.recv().await {
        let received =
            timeout(Duration::from_secs(10), subscription.next()).await.context("an event is missing")?;
        ensure!(received.and_then(|received| received.into_message()).is_some(), "something is missing");
        times.push(start.elapsed());
    }
    publishing.await??;
    Ok(times)
}

/// The server without us: a stream with the settings of ours, which it also hands over to nobody.
struct Peer {
    port: u16,
    client: jetstream::Context,
}

impl Peer {
    async fn new(server: &NatsServer) -> Result<Self> {
        let client = jetstream::new(async_nats::connect(server.url()).await?);
        let ours = client.get_stream("td_log_0").await?.cached_info().config.clone();
        let mut republish = ours.republish.clone().context("our stream hands over what it has stored")?;
        (republish.source, republish.destination) = ("raw.>".to_owned(), "live.raw.>".to_owned());
        client
            .create_stream(stream::Config {
                name: "raw".to_owned(),
                subjects: vec!["raw.>".to_owned()],
                republish: Some(republish),
                ..ours
            })
            .await?;
        Ok(Self { port: server.port(), client })
    }

    /// The protocol itself, by as little as it takes: lines for all that there is place for in the window, and a count
    /// of what comes back.
    async fn raw(&self, options: &Options) -> Result<Published> {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        socket.set_nodelay(true)?;
        let (reader, mut writer) = socket.into_split();
        let mut lines = BufReader::with_capacity(64 << 10, reader);
        let mut line = String::new();
        lines.read_line(&mut line).await?;
        writer.write_all(b"CONNECT {\"verbose\":false}\r\nSUB acks 1\r\n").await?;
        let payload = "x".repeat(options.bytes + 5); // as much as ours has, with the name of the event
        let publish: Vec<_> = (0..options.rooms)
            .map(|n| format!("PUB raw.{n} acks {}\r\n{payload}\r\n", payload.len()).into_bytes())
            .collect();
        let (mut begun, mut ended, start) = (0, 0, Instant::now());
        let end = start + Duration::from_secs_f64(options.seconds);
        let mut out = Vec::new();
        loop {
            if Instant::now() < end {
                while begun - ended < options.window {
                    out.extend_from_slice(&publish[begun % publish.len()]);
                    begun += 1;
                }
                writer.write_all(&out).await?;
                out.clear();
            } else if begun == ended {
                return Ok(Published { count: ended, seconds: start.elapsed().as_secs_f64() });
            }
            // All that has come already, and at least one.
            loop {
                line.clear();
                ensure!(lines.read_line(&mut line).await? > 0, "the server has closed");
                match line.as_bytes() {
                    [b'{', ..] if line.contains("\"seq\":") => ended += 1,
                    [b'M', b'S', b'G', ..] => continue,
                    b"PING\r\n" => writer.write_all(b"PONG\r\n").await?,
                    _ => bail!("the server says {line:?}"),
                }
                if !lines.buffer().contains(&b'\n') {
                    break;
                }
            }
        }
    }

    /// The client that ours is built on, by itself.
    async fn client(&self, options: &Options) -> Result<Published> {
        let payload = bytes::Bytes::from("x".repeat(options.bytes + 5));
        pipelined(options, |n| {
            let (subject, payload) = (format!("raw.{}", n % options.rooms), payload.clone());
            async { Ok(self.client.publish(subject, payload).await?.await?) }
        })
        .await
    }
}

fn median(rounds: &Rounds, of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<_> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
