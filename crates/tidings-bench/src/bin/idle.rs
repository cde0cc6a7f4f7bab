//! What an idle connection costs: heap bytes by a counting allocator, and resident memory.
//!
//! The clients are a process of their own, so that only the server is counted.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use futures_util::{SinkExt, StreamExt};
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
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tidings::{Hub, gate};
use tidings_ws::{Message, upgrade};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What an idle connection costs: heap bytes by a counting allocator, and resident memory.
#[derive(Parser)]
struct Options {
    /// Connections of each kind.
    #[arg(long, default_value_t = 4_000, value_name = "N")]
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
    println!("{:<16}{:>12}{:>12}", "kind", "heap bytes", "RSS bytes");
    for kind in kinds {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (heap, resident) = runtime.block_on(measure(kind, options.connections))?;
        println!("{:<16}{heap:>12}{resident:>12}", name(kind));
    }
    Ok(())
}

/// Bytes of heap and of resident memory for each connection.
async fn measure(kind: Kind, connections: usize) -> Result<(usize, usize)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    match kind {
        Kind::Socket | Kind::SocketDeflate => drop(tokio::spawn(serve_sockets(listener))),
        Kind::Ws | Kind::WsDeflate | Kind::Sse => {
            let hub = Hub::builder().gate(gate::open()).build(); // for measurements on the loopback
            drop(tokio::spawn(tidings::serve(listener, tidings::service(hub)).into_future()));
        }
    }
    // What the first few allocate for all.
    hold(address, kind, 64, || ()).await?;
    let region = Region::new(ALLOCATOR);
    let before = resident()?;
    hold(address, kind, connections, || {
        let change = region.change();
        let heap = change.bytes_allocated - change.bytes_deallocated;
        Ok((heap / connections, resident()?.saturating_sub(before) / connections))
    })
    .await?
}

/// Opens connections from another process, looks, and closes them.
async fn hold<T: Send + 'static>(
    address: SocketAddr,
    kind: Kind,
    connections: usize,
    look: impl FnOnce() -> T,
) -> Result<T> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--clients-of", &address.to_string(), "--kinds", &name(kind)])
        .args(["--connections", &connections.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("a pipe")?;
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map(|_| line)
    })
    .await??;
    ensure!(line == "connected\n", "the clients say {line:?}");
    settle().await;
    let seen = look();
    drop(child.stdin.take());
    ensure!(child.wait()?.success(), "the clients failed");
    settle().await;
    Ok(seen)
}

/// Waits until nothing is allocated any more.
async fn settle() {
    let mut last = ALLOCATOR.stats();
    let limit = Instant::now() + Duration::from_secs(10);
    while Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(300)).await;
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

/// The clients: they connect, hear the first word, and are silent.
fn clients(address: SocketAddr, kind: Kind, connections: usize) -> Result<()> {
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
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(request.as_bytes())?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if !(head.starts_with(b"HTTP/1.1 101") || head.starts_with(b"HTTP/1.1 200")) {
            bail!("the server answers {}", String::from_utf8_lossy(&head));
        }
        if matches!(kind, Kind::Socket | Kind::SocketDeflate) {
            let mut frame = bytes::BytesMut::new();
            let window = tidings_ws::deflate::Window::Large;
            let text = "a text that repeats itself, ".repeat(10);
            if offer.is_empty() {
                tidings_ws::frame::put_text(&text, Some([1, 2, 3, 4]), &mut frame);
            } else {
                tidings_ws::frame::put_compressed(
                    tidings_ws::Data::Text,
                    text.as_bytes(),
                    window,
                    Some([1, 2, 3, 4]),
                    &mut frame,
                );
            }
            stream.write_all(&frame)?;
        }
        // The echo, or what a session says first.
        stream.read_exact(&mut byte)?;
        streams.push(stream);
    }
    println!("connected");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn name(kind: Kind) -> String {
    kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
