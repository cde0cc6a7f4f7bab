//! What an idle connection costs: heap bytes by a counting allocator, and resident memory. For a session also after
//! messages were written to it by the hub, and after it had taken nothing for a while and was given the rest by its own
//! task, so that what a connection keeps once it was busy is seen too.
//!
//! The clients are a process of their own, so that only the server is counted.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use futures_util::{SinkExt, StreamExt, future::try_join_all};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{
    alloc::System,
    convert::Infallible,
    fs,
    future::ready,
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tidings::{Event, Hub, Rooms, gate};
use tidings_ws::{Message, upgrade};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Runtime,
    time::timeout,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What an idle connection costs: heap bytes by a counting allocator, and resident memory.
#[derive(Parser)]
struct Options {
    /// Connections of each kind.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    connections: usize,
    /// The kinds to measure (comma-separated); all unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Connect to this address as the clients of one kind, and stay until the standard input ends.
    #[arg(long, hide = true, value_name = "ADDR")]
    clients_of: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// `tidings_ws::Socket` alone, after one message there and back.
    Socket,
    /// The same with compression agreed, after a compressed message.
    SocketDeflate,
    /// A session in one room, over WebSocket.
    Ws,
    /// The same with compression agreed.
    WsDeflate,
    /// A session in one room, over an event stream.
    Sse,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let kinds = if options.kinds.is_empty() { Kind::value_variants().to_vec() } else { options.kinds };
    if let Some(address) = options.clients_of {
        return clients(address, kinds[0], options.connections);
    }
    println!("{:<16}{:>24}{:>24}{:>24}{:>24}", "", "new", "after messages", "stalled", "after the stall");
    print!("{:<16}", "bytes");
    (0..4).for_each(|_| print!("{:>12}{:>12}", "heap", "resident"));
    println!();
    for kind in kinds {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        print!("{:<16}", name(kind));
        for Look { heap, resident } in measure(&runtime, kind, options.connections)? {
            print!("{heap:>12}{resident:>12}");
        }
        println!();
    }
    Ok(())
}

/// Bytes of heap and of resident memory for each connection.
struct Look {
    heap: usize,
    resident: usize,
}

/// Looks at the connections when they are new, and at those of sessions again after each thing that befalls them.
fn measure(runtime: &Runtime, kind: Kind, connections: usize) -> Result<Vec<Look>> {
    let listener = runtime.block_on(async { listen() })?;
    let address = listener.local_addr()?;
    let hub = matches!(kind, Kind::Ws | Kind::WsDeflate | Kind::Sse).then(|| {
        // Of what was published little stays, for it is no connection's.
        let rooms = Rooms::log(FEW, Duration::from_secs(600));
        Hub::builder().gate(gate::open()).rooms("*", rooms).build() // an open gate, for measurements on the loopback
    });
    match &hub {
        None => drop(runtime.spawn(serve_sockets(listener))),
        Some(hub) => {
            let _running = runtime.enter();
            drop(runtime.spawn(tidings::serve(listener, tidings::service(hub.clone())).into_future()));
        }
    }
    // What the first few allocate for all.
    hold(runtime, address, kind, hub.as_ref(), FIRST)?;
    hold(runtime, address, kind, hub.as_ref(), connections)
}

/// Sockets with small buffers, so that many can be full.
fn listen() -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(SMALL)?;
    socket.bind("127.0.0.1:0".parse()?)?;
    Ok(socket.listen(1_024)?)
}

/// Opens connections from another process, looks, and closes them.
fn hold(
    runtime: &Runtime,
    address: SocketAddr,
    kind: Kind,
    hub: Option<&Hub>,
    connections: usize,
) -> Result<Vec<Look>> {
    settle();
    let region = Region::new(ALLOCATOR);
    let before = resident()?;
    let look = || {
        settle();
        let members = hub.map_or(connections, |hub| hub.stats().members);
        ensure!(members == connections, "{members} of {connections} sessions are there");
        let change = region.change();
        let heap = change.bytes_allocated.saturating_sub(change.bytes_deallocated) / connections;
        Ok(Look { heap, resident: resident()?.saturating_sub(before) / connections })
    };
    let mut clients = Clients::begin(address, kind, connections)?;
    let mut looks = vec![look()?];
    if let Some(hub) = hub {
        let publish = |texts: &[&str]| {
            runtime.block_on(async {
                for text in texts {
                    hub.publish("r", Event::json("e", text)?).await?;
                }
                anyhow::Ok(())
            })
        };
        publish(&["one", "two", "three", "end of the few"])?;
        clients.read_until("end of the few")?;
        looks.push(look()?);
        publish(&[&noise(LARGE)])?;
        settle();
        publish(&["one", "two", "three", "end of the many"])?;
        looks.push(look()?);
        ensure!(looks[2].heap > looks[1].heap, "the sockets have taken {LARGE} bytes, so that nothing waits");
        clients.read_until("end of the many")?;
        looks.push(look()?);
    }
    clients.end()?;
    Ok(looks)
}

/// The process of the clients.
struct Clients {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Clients {
    fn begin(address: SocketAddr, kind: Kind, connections: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--clients-of", &address.to_string(), "--kinds", &name(kind)])
            .args(["--connections", &connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().context("a pipe")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe")?);
        let mut clients = Self { child, orders, answers };
        clients.hear("connected")?;
        Ok(clients)
    }

    /// Has each client read until it has seen this text.
    fn read_until(&mut self, text: &str) -> Result<()> {
        writeln!(self.orders, "{text}")?;
        self.hear(text)
    }

    fn hear(&mut self, expected: &str) -> Result<()> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(line.trim_end() == expected, "the clients say {line:?}");
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        drop(self.orders);
        ensure!(self.child.wait()?.success(), "the clients failed");
        Ok(())
    }
}

/// Text that does not compress to much less.
fn noise(len: usize) -> String {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(
            b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[(state >> 58) as usize],
        )
    };
    (0..len).map(|_| next()).collect()
}

/// Waits until nothing is allocated any more.
fn settle() {
    let mut last = ALLOCATOR.stats();
    let limit = Instant::now() + Duration::from_secs(10);
    while Instant::now() < limit {
        sleep(Duration::from_millis(300));
        let stats = ALLOCATOR.stats();
        if stats.allocations.abs_diff(last.allocations) < 10
            && stats.deallocations.abs_diff(last.deallocations) < 10
        {
            return;
        }
        last = stats;
    }
}

/// The resident memory of this process, in bytes.
fn resident() -> Result<usize> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split(' ').nth(1).context("a number of pages")?.parse()?;
    Ok(pages * 4096)
}

async fn serve_sockets(listener: TcpListener) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let answer = |mut request: Request<Incoming>| {
            let Ok((response, socket)) = upgrade(&mut request) else {
                return ready(Ok(Response::new(Full::<Bytes>::from("no WebSocket"))));
            };
            tokio::spawn(async move {
                let Ok(mut socket) = socket.await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    if matches!(message, Message::Text(_)) && socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
            ready(Ok::<_, Infallible>(response.map(|()| Full::default())))
        };
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
        tokio::spawn(connection.with_upgrades());
    }
}

/// The clients: they connect and hear the first word. Then they read nothing until they are told to.
fn clients(address: SocketAddr, kind: Kind, connections: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut streams = runtime.block_on(async {
        let mut streams = Vec::with_capacity(connections);
        for _ in 0..connections {
            streams.push(timeout(PATIENCE, connect(address, kind)).await??);
        }
        anyhow::Ok(streams)
    })?;
    println!("connected");
    for order in io::stdin().lines() {
        let text = order?;
        let reading = streams.iter_mut().map(|stream| read_until(stream, text.as_bytes()));
        runtime.block_on(async { timeout(PATIENCE, try_join_all(reading)).await })??;
        println!("{text}");
    }
    Ok(())
}

async fn connect(address: SocketAddr, kind: Kind) -> Result<TcpStream> {
    let offer = match kind {
        Kind::SocketDeflate | Kind::WsDeflate => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        _ => "",
    };
    let upgrade = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}"
    );
    let (path, headers) = match kind {
        Kind::Sse => ("/realtime/sse?room=r", ""),
        _ => ("/realtime/ws?room=r", upgrade.as_str()),
    };
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SMALL)?;
    let mut stream = socket.connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if !(head.starts_with(b"HTTP/1.1 101") || head.starts_with(b"HTTP/1.1 200")) {
        bail!("the server answers {}", String::from_utf8_lossy(&head));
    }
    if matches!(kind, Kind::Socket | Kind::SocketDeflate) {
        let mut frame = bytes::BytesMut::new();
        let window = tidings_ws::deflate::Window::Large;
        let (text, mask) = ("a text that repeats itself, ".repeat(10), Some([1, 2, 3, 4]));
        if offer.is_empty() {
            tidings_ws::frame::put_text(&text, mask, &mut frame);
        } else {
            tidings_ws::frame::put_compressed(
                tidings_ws::Data::Text,
                text.as_bytes(),
                window,
                mask,
                &mut frame,
            );
        }
        stream.write_all(&frame).await?;
    }
    // The echo, or what a session says first.
    stream.read_u8().await?;
    Ok(stream)
}

/// Reads until a text has come, which a small message holds as it is.
async fn read_until(stream: &mut TcpStream, text: &[u8]) -> Result<()> {
    let (mut buffer, mut kept) = (vec![0; 16 << 10], 0);
    loop {
        let count = stream.read(&mut buffer[kept..]).await?;
        ensure!(count > 0, "the server has gone");
        let all = kept + count;
        if buffer[..all].windows(text.len()).any(|window| window == text) {
            return Ok(());
        }
        // It may have come in part.
        let from = all.saturating_sub(text.len() - 1);
        buffer.copy_within(from..all, 0);
        kept = all - from;
    }
}

fn name(kind: Kind) -> String {
    kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Connections that come first.
const FIRST: usize = 64;
/// Messages that a room keeps.
const FEW: usize = 4;
/// Bytes that the kernel is asked to keep of each direction of a connection, and so many that they do not fit.
const SMALL: u32 = 4 << 10;
const LARGE: usize = 128 << 10;
/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(60);
