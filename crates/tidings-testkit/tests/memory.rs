//! What peers can make the server allocate, and what an idle connection holds.
//!
//! Every allocation of the process is counted, so the tests take turns, and the clients here allocate nothing while
//! they are looked at. What a message costs is all that was asked for because of it, which is more than was ever held.

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use http_body_util::Empty;
use hyper::{client::conn::http2, server::conn::http1};
use hyper_util::rt::{TokioExecutor, TokioIo};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{
    alloc::System,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};
use tidings::{Event, Hub, Rooms, Service, gate};
use tidings_testkit::{
    Server,
    heap::{allocated, alone, held},
    raw::{fragments, handshake, masked},
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpSocket,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The limit of a message, which is the default.
const M: usize = 1 << 20;
/// What a connection and its answer may take beside a message.
const MARGIN: usize = 64 << 10;
/// What hyper reads of a body at a time, of which it holds two: one that we have not taken and one that it fills.
const READ: usize = 64 << 10;
const SOON: Duration = Duration::from_secs(10);

/// A blocking client, for it holds no memory of its own.
fn connect(address: SocketAddr, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(SOON)).expect("a socket");
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

/// Reads until these bytes have come.
fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let mut last = [0; 64];
    let mut len = 0;
    while !last[..len].ends_with(end) {
        if len == last.len() {
            last.copy_within(32.., 0);
            len = 32;
        }
        stream.read_exact(&mut last[len..=len]).expect("more to read");
        len += 1;
    }
}

/// What the server allocates for these bytes of a peer, until it has answered with the last of `end`.
fn cost(stream: &mut TcpStream, bytes: &[u8], end: &[u8]) -> usize {
    let before = allocated();
    // Who is refused may be reset while it sends on.
    let _ = stream.write_all(bytes);
    read_until(stream, end);
    allocated() - before
}

fn publish(len: usize) -> String {
    let head = r#"{"type":"publish","ref":1,"room":"a","event":"e","data":""#;
    format!("{head}{}\"}}", "x".repeat(len - head.len() - 2))
}

/// 1009 as it stands in a close frame, after the length of its payload.
const TOO_LARGE: &[u8] = &1009_u16.to_be_bytes();

#[test]
fn a_message_over_the_limit_costs_no_more_than_one_at_the_limit() {
    alone(refuse_large_messages());
}

async fn refuse_large_messages() {
    let server = Server::start().await;
    let address = server.address();
    let large = publish(M + 1);
    let chunks: Vec<_> = large.as_bytes().chunks(10_000).collect();
    let chunked: Vec<_> = chunks
        .iter()
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
        .collect();
    let ws = handshake("/realtime/ws", &[]);
    let post = |field: &str| format!("POST /realtime/send HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    let by_length = post(&format!("Content-Length: {}", M + 1));
    let by_chunks = post("Transfer-Encoding: chunked");
    // Each with how it is answered at the end, and what it may cost.
    let (closed, refused) = (TOO_LARGE, &b"takes\"}"[..]);
    let body = [&chunked, &b"0\r\n\r\n"[..]].concat();
    let cases = [
        ("a frame", &ws, masked(0x81, large.as_bytes()), closed, MARGIN),
        ("fragments", &ws, fragments(0x81, large.as_bytes(), 64 << 10), closed, M + MARGIN),
        ("small fragments", &ws, fragments(0x81, large.as_bytes(), 1_000), closed, M + MARGIN),
        ("a body with its length", &by_length, large.into_bytes(), refused, MARGIN + 3 * READ),
        ("a chunked body", &by_chunks, body, refused, M + MARGIN + 2 * READ),
    ];
    // The first round is for what is allocated once.
    for round in 0..2 {
        for (what, head, bytes, end, bound) in &cases {
            let mut stream = connect(address, head);
            if head.starts_with("GET") {
                read_until(&mut stream, b"\r\n\r\n");
            }
            let cost = cost(&mut stream, bytes, end);
            println!("{round}: {what}: {cost} bytes");
            assert!(round == 0 || cost <= *bound, "{what}: {cost} bytes were allocated");
            assert!(cost > M / 2 || !what.contains("fragments"), "{what}: only {cost} bytes were allocated");
        }
    }
}

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate";

#[test]
fn a_bomb_costs_what_came_and_a_message_at_the_limit() {
    alone(refuse_bombs());
}

async fn refuse_bombs() {
    let server = Server::start().await;
    // 10 MiB of zeros in 10 KiB; and the same again and again, nearly 1 GiB in nearly 1 MiB.
    let mut small = Vec::with_capacity(64 << 10);
    let mut deflater = Compress::new(Compression::best(), false);
    deflater.compress_vec(&vec![0; 10 << 20], &mut small, FlushCompress::Sync).expect("compressed");
    let large = small.repeat(M / small.len());
    let head = handshake("/realtime/ws", &[DEFLATE]);
    let bombs = [(&small, usize::MAX), (&small, 100), (&large, usize::MAX), (&large, 4_000)]
        .map(|(bomb, step)| (bomb.len(), fragments(0xc1, bomb, step)));
    // A payload is kept as it came until it is whole, in a buffer that doubles up to what may still inflate to a
    // message. The first round is for the inflaters, which each thread has one of.
    for round in 0..2 {
        for (came, bytes) in &bombs {
            let mut stream = connect(server.address(), &head);
            read_until(&mut stream, b"\r\n\r\n");
            let cost = cost(&mut stream, bytes, TOO_LARGE);
            println!("{round}: {came} bytes came: {cost} bytes");
            let payload = (2 * came).min(M + M / 8);
            assert!(
                round == 0 || cost <= payload + M + MARGIN,
                "{came} bytes came: {cost} bytes were allocated"
            );
        }
    }
}

/// A WebSocket over a pipe, for a thousand of them are more sockets than a process may have everywhere.
async fn open(
    service: &Service,
    (stream, mut pipe): (DuplexStream, DuplexStream),
    head: &str,
) -> DuplexStream {
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
    tokio::spawn(connection.with_upgrades());
    pipe.write_all(head.as_bytes()).await.expect("sent");
    read_pipe_until(&mut pipe, b"\r\n\r\n").await;
    // The notice that it has joined its room.
    read_pipe_until(&mut pipe, b"}").await;
    pipe
}

async fn read_pipe_until(pipe: &mut DuplexStream, end: &[u8]) {
    let mut seen = [0; 8];
    while !seen.ends_with(end) {
        seen.rotate_left(1);
        seen[7] = within(SOON, "more to read", pipe.read_u8()).await.expect("more to read");
    }
}

/// Pipes whose buffers are as large as they get.
async fn pipes(count: usize) -> Vec<(DuplexStream, DuplexStream)> {
    let mut pipes: Vec<_> = (0..count).map(|_| duplex(PIPE)).collect();
    for (one, two) in &mut pipes {
        one.write_all(&[0; PIPE]).await.expect("it fits");
        two.write_all(&[0; PIPE]).await.expect("it fits");
        one.read_exact(&mut [0; PIPE]).await.expect("all of it");
        two.read_exact(&mut [0; PIPE]).await.expect("all of it");
    }
    pipes
}

const PIPE: usize = 4 << 10;

/// Bytes that each of a thousand idle sessions holds, after messages both ways.
async fn idle(offer: &[&str]) -> usize {
    const SESSIONS: usize = 1_000;
    let hub = Hub::builder().gate(gate::open()).rooms("*", Rooms::latest()).build();
    let service = tidings::service(hub.clone());
    let head = handshake("/realtime/ws?room=a", offer);
    let event = Event::json("n", &"some words again and again ".repeat(40)).expect("JSON");
    // Not whole, so that what is begun must be kept for a while.
    let command = br#"{"type":"leave","ref":1,"room":"b"}"#;
    let mut begun = masked(0x01, &command[..10]);
    let mut ended = masked(0x80, &command[10..]);
    if !offer.is_empty() {
        let mut deflated = Vec::with_capacity(1 << 10);
        let mut deflater = Compress::new(Compression::fast(), false);
        deflater.compress_vec(command, &mut deflated, FlushCompress::Sync).expect("compressed");
        deflated.truncate(deflated.len() - 4);
        begun = masked(0x41, &deflated[..10]);
        ended = masked(0x80, &deflated[10..]);
    }
    let mut clients = Vec::with_capacity(SESSIONS + 1);
    let mut pipes = pipes(SESSIONS + 1).await;
    // The first is for what a process or a thread has once.
    let mut before = 0;
    for count in [1, SESSIONS] {
        before = held();
        for pipe in pipes.drain(..count) {
            clients.push(open(&service, pipe, &head).await);
        }
        hub.publish("a", event.clone()).await.expect("published");
        for client in clients.iter_mut().rev().take(count) {
            let mut header = [0; 4];
            client.read_exact(&mut header).await.expect("a frame");
            assert_eq!(header[0] == 0xc1, !offer.is_empty(), "{header:02x?}");
            let len =
                if header[1] == 126 { u16::from_be_bytes([header[2], header[3]]) } else { header[1].into() };
            let rest = if header[1] == 126 { usize::from(len) } else { usize::from(len) - 2 };
            client.read_exact(&mut [0; 4 << 10][..rest]).await.expect("its payload");
            client.write_all(&begun).await.expect("sent");
            tokio::task::yield_now().await;
            client.write_all(&ended).await.expect("sent");
            read_pipe_until(client, b"\"b\"}").await;
        }
    }
    (held() - before) / SESSIONS
}

#[test]
fn an_idle_session_holds_no_more_with_compression_than_without() {
    let (plain, compressed) = (alone(idle(&[])), alone(idle(&[DEFLATE])));
    println!("{plain} bytes for each plain session, {compressed} for each compressed one");
    // Lists that grow by doubling make it a few bytes more or less.
    assert!(compressed <= plain + 64, "{compressed} bytes with compression, {plain} without");
    assert!(compressed <= DOCUMENTED, "{compressed} bytes");
}

/// What the documentation says of an idle connection with a session in one room.
const DOCUMENTED: usize = 1 << 10;
/// Bytes that the kernel is asked to keep of each direction, and so many that they do not fit.
const SMALL: u32 = 4 << 10;
const LARGE: usize = 128 << 10;

/// A blocking client whose kernel keeps little for it.
async fn connect_small(address: SocketAddr, head: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(SMALL).expect("a small buffer");
    let mut stream = socket.connect(address).await.expect("connected").into_std().expect("a socket");
    stream.set_nonblocking(false).expect("a socket");
    stream.set_read_timeout(Some(SOON)).expect("a socket");
    stream.write_all(head.as_bytes()).expect("sent");
    read_until(&mut stream, b"\r\n\r\n");
    stream
}

/// Reads until this text has come, which is the last that comes.
fn read_all_until(stream: &mut TcpStream, text: &[u8]) {
    let (mut buffer, mut kept) = ([0; 16 << 10], 0);
    while !buffer[..kept].windows(text.len()).any(|window| window == text) {
        // It may have come in part.
        let from = kept.saturating_sub(text.len());
        buffer.copy_within(from..kept, 0);
        kept -= from;
        let count = stream.read(&mut buffer[kept..]).expect("more to read");
        assert!(count > 0, "the server has gone");
        kept += count;
    }
}

/// Looks at idle connections when they are new, when the hub has written to them, and when their own tasks have: the
/// rest of what their clients did not take, and what came after it.
async fn hold_idle_connections(head: &str) {
    const CONNECTIONS: usize = 100;
    let hub = Hub::builder().gate(gate::open()).rooms("*", Rooms::latest()).build();
    let socket = TcpSocket::new_v4().expect("a socket");
    // The sockets of its connections inherit it.
    socket.set_send_buffer_size(SMALL).expect("a small buffer");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(16).expect("a listener");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(tidings::serve(listener, tidings::service(hub.clone())).into_future());
    let publish = async |text: &str| {
        hub.publish("a", Event::json("n", text).expect("JSON")).await.expect("published");
    };
    let mut clients = Vec::with_capacity(CONNECTIONS + 1);
    // The first is for what a process or a thread has once.
    for count in [1, CONNECTIONS] {
        let before = held();
        let each = || held().saturating_sub(before) / count;
        let look = async |when: &str| {
            let limit = Instant::now() + SOON;
            // Whoever was written to may not yet know that it was.
            while count > 1 && each() > DOCUMENTED && Instant::now() < limit {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            println!("{when}: {} bytes for each", each());
            assert!(count == 1 || each() <= DOCUMENTED, "{when}: {} bytes for each", each());
        };
        for _ in 0..count {
            clients.push(connect_small(address, head).await);
        }
        publish("hello").await;
        clients.iter_mut().for_each(|client| read_all_until(client, b"hello"));
        look("new").await;
        publish("more").await;
        clients.iter_mut().for_each(|client| read_all_until(client, b"more"));
        look("after a message").await;
        publish(&"x".repeat(LARGE)).await;
        for client in &clients {
            assert_eq!(client.peek(&mut [0]).expect("the beginning of it"), 1);
        }
        publish("the end").await;
        // The room has dropped the large one, and who has part of it still to come has not.
        assert!(each() > LARGE / count, "{} bytes for each, so all were given all of it", each());
        clients.iter_mut().for_each(|client| read_all_until(client, b"the end"));
        look("after a stall").await;
    }
}

#[test]
fn an_idle_connection_holds_a_kibibyte_at_most_also_when_it_was_busy() {
    alone(hold_idle_connections(&handshake("/realtime/ws?room=a", &[])));
    alone(hold_idle_connections("GET /realtime/sse?room=a HTTP/1.1\r\nHost: tidings\r\n\r\n"));
}

/// Publishes to idle connections, to which the hub writes by itself, and counts what is allocated for each delivery.
async fn deliver(head: &str) {
    const CONNECTIONS: usize = 50;
    const MESSAGES: usize = 40;
    let server = Server::with_rooms(Rooms::log(10, SOON)).await;
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| connect(server.address(), head)).collect();
    clients.iter_mut().for_each(|client| read_until(client, b"joined"));
    let publish = async || {
        server.hub().publish("a", Event::json("n", "one of many").expect("JSON")).await.expect("published");
    };
    let all_read = |clients: &mut Vec<TcpStream>| {
        clients.iter_mut().for_each(|client| read_until(client, b"one of many"));
    };
    // What a thread has once, and the loans, are there afterwards.
    for _ in 0..3 {
        publish().await;
        all_read(&mut clients);
    }
    let before = ALLOCATOR.stats().allocations;
    for _ in 0..MESSAGES {
        publish().await;
        all_read(&mut clients);
    }
    let allocations = ALLOCATOR.stats().allocations - before;
    println!("{allocations} allocations for {MESSAGES} messages to {CONNECTIONS} connections");
    // Of a message, its forms and its room's turn there are some, and of its deliveries none.
    assert!(allocations <= CONNECTIONS / 2 * MESSAGES, "{allocations} allocations for {MESSAGES} messages");
}

#[test]
fn a_delivery_to_an_idle_connection_allocates_nothing() {
    alone(deliver(&handshake("/realtime/ws?room=a", &[])));
    alone(deliver("GET /realtime/sse?room=a HTTP/1.1\r\nHost: tidings\r\n\r\n"));
}

#[test]
fn streams_of_http2_that_take_nothing_hold_no_large_messages() {
    const STREAMS: usize = 60;
    alone(async {
        let mut limits = tidings::Limits::default();
        (limits.heartbeat, limits.idle) = (Duration::from_millis(200), Duration::from_millis(600));
        let hub = Hub::builder().gate(gate::open()).limits(limits).build();
        let server = Server::with_hub(hub).await;
        let stream = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
        let (mut asker, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(100)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        let mut unread = Vec::new();
        for _ in 0..STREAMS {
            let request = http::Request::builder()
                .method(http::Method::CONNECT)
                .uri(format!("http://{}/realtime/ws?room=r", server.address()))
                .extension(hyper::ext::Protocol::from_static("websocket"))
                .header("sec-websocket-version", "13");
            asker.ready().await.expect("a connection");
            let answer =
                asker.send_request(request.body(Empty::new()).expect("a request")).await.expect("an answer");
            unread.push(hyper::upgrade::on(answer).await.expect("a stream"));
        }
        server.until_sessions(STREAMS, SOON).await;
        let before = held();
        for _ in 0..4 {
            let large = Event::json("n", &"x".repeat(900 << 10)).expect("JSON");
            server.hub().publish("r", large).await.expect("published");
        }
        // They are given up, but their streams are the peer's to end.
        server.until_sessions(0, SOON).await;
        let more = held().saturating_sub(before);
        // The room's history, in two forms at most, and what may wait in a stream.
        assert!(more < 8 * M + STREAMS * (64 << 10), "{more} bytes are held");
        drop(unread);
    });
}
