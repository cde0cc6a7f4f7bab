//! Who is there and who is not: pings, silence, and clients that vanish while something is done for them.

use bytes::BytesMut;
use std::{future::pending, time::Duration};
use tidings::{CallError, Hub, Limits, gate};
use tidings_testkit::{Server, within};
use tidings_ws::{
    CloseCode,
    decode::{Decoder, Incoming, Role},
    frame,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, sleep_until},
};

const SOON: Duration = Duration::from_secs(10);
const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);
const HEARTBEAT: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_millis(600);

/// A client that does nothing by itself.
struct Raw {
    stream: TcpStream,
    decoder: Decoder,
}

impl Raw {
    async fn open(server: &Server) -> Self {
        let mut stream = TcpStream::connect(server.address()).await.expect("connected");
        let request = "GET /realtime/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(SOON, "the answer", stream.read_u8()).await.expect("an answer"));
        }
        let limits = tidings_ws::decode::Limits::new(1 << 20, 1 << 20);
        Self { stream, decoder: Decoder::new(Role::Client, limits) }
    }

    async fn send(&mut self, put: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        put(&mut out);
        self.stream.write_all(&out).await.expect("sent");
    }

    async fn call(&mut self, method: &str) {
        let command = format!(r#"{{"type":"call","ref":1,"method":"{method}"}}"#);
        self.send(|out| frame::put_text(&command, MASK, out)).await;
    }

    /// What comes next; none at the end. One byte at a time, so that nothing is read ahead.
    async fn next(&mut self) -> Option<Incoming<'static>> {
        let mut byte = [0];
        loop {
            let read = within(SOON, "a frame or the end", self.stream.read(&mut byte)).await;
            // A reset is an end as well.
            if read.unwrap_or(0) == 0 {
                return None;
            }
            let incoming = self.decoder.decode(&mut &mut byte[..]).expect("a lawful server");
            if let Some(incoming) = incoming {
                return Some(incoming.into_owned());
            }
        }
    }
}

async fn server() -> Server {
    let mut limits = Limits::default();
    (limits.heartbeat, limits.idle) = (HEARTBEAT, IDLE);
    let hub = Hub::builder().gate(gate::open()).limits(limits).build();
    hub.on_call("never", |_, (): ()| pending::<Result<(), CallError>>());
    hub.on_call("soon", |_, (): ()| async {
        sleep(Duration::from_millis(100)).await;
        Ok("done")
    });
    Server::with_hub(hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_answered_while_a_call_is_under_way() {
    let server = server().await;
    let mut client = Raw::open(&server).await;
    client.call("never").await;
    for n in 0..3 {
        client.send(|out| frame::put_ping(&[n], MASK, out)).await;
        loop {
            match client.next().await.expect("open") {
                Incoming::Pong(payload) => break assert_eq!(*payload, [n]),
                Incoming::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_during_a_call_ends_its_session() {
    let server = server().await;
    let mut reset = Raw::open(&server).await;
    reset.call("never").await;
    server.until_sessions(1, SOON).await;
    reset.stream.set_zero_linger().expect("a TCP socket");
    drop(reset);
    server.until_sessions(0, Duration::from_secs(1)).await;
    // Silent, not gone: it is given up although a call is under way.
    let mut silent = Raw::open(&server).await;
    silent.call("never").await;
    server.until_sessions(1, SOON).await;
    server.until_sessions(0, IDLE * 2).await;
    // One that ends its half waits for the answer, and is waited for as long as a close may take.
    let mut half = Raw::open(&server).await;
    half.call("never").await;
    half.stream.shutdown().await.expect("open");
    server.until_sessions(1, SOON).await;
    server.until_sessions(0, Duration::from_secs(6)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_ends_its_half_gets_what_it_asked_for() {
    let server = server().await;
    let mut client = Raw::open(&server).await;
    client.call("soon").await;
    client.call("soon").await;
    client.stream.shutdown().await.expect("open");
    for _ in 0..2 {
        let reply = client.next().await.expect("an answer");
        assert_eq!(reply, Incoming::Text(r#"{"type":"reply","ref":1,"data":"done"}"#.into()));
    }
    assert_eq!(client.next().await, None);
    server.until_sessions(0, Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_asked_after_the_heartbeat_and_dropped_after_the_idle_time() {
    let server = server().await;
    let start = Instant::now();
    let mut client = Raw::open(&server).await;
    assert_eq!(client.next().await, Some(Incoming::Ping(b""[..].into())));
    let asked = start.elapsed();
    assert!(asked >= HEARTBEAT - HEARTBEAT / 8 && asked < IDLE, "{asked:?}");
    assert_eq!(client.next().await, None, "no close frame: nobody is there to read it");
    let dropped = start.elapsed();
    assert!(dropped >= IDLE - HEARTBEAT / 8 && dropped < IDLE * 2, "{dropped:?}");
    server.until_sessions(0, Duration::from_millis(100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_is_a_sign_of_life() {
    let server = server().await;
    for kind in ["pong", "ping", "a byte of a frame"] {
        let mut client = Raw::open(&server).await;
        let mut endless = BytesMut::new();
        frame::put_text(&" ".repeat(1_000), MASK, &mut endless);
        let start = Instant::now();
        for n in 0..12 {
            match kind {
                "pong" => client.send(|out| frame::put_pong(b"", MASK, out)).await,
                "ping" => client.send(|out| frame::put_ping(b"", MASK, out)).await,
                _ => client.stream.write_all(&endless[n..=n]).await.expect("open"),
            }
            sleep_until(start + IDLE / 3 * (n as u32 + 1)).await;
        }
        assert_eq!(server.sessions(), 1, "{kind}");
        drop(client);
        server.until_sessions(0, SOON).await;
    }
}

/// A thousand peers that do so would hold a gibibyte for as long as they like.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_message_that_has_begun_only_its_end_is_a_sign_of_life() {
    let server = server().await;
    let mut large = BytesMut::new();
    frame::put_text(&" ".repeat(100_000), MASK, &mut large);
    let (begin, end) = large.split_at(60_000);
    let mut slow = Raw::open(&server).await;
    let mut busy = Raw::open(&server).await;
    slow.stream.write_all(begin).await.expect("sent");
    let start = Instant::now();
    for n in 0..12 {
        slow.stream.write_all(&end[n..=n]).await.expect("sent");
        // This one takes its time as well, and comes to an end each time.
        busy.stream.write_all(if n % 2 == 0 { begin } else { end }).await.expect("sent");
        sleep_until(start + IDLE / 3 * (n as u32 + 1)).await;
    }
    let closed = loop {
        match slow.next().await.expect("a close frame") {
            Incoming::Close(frame) => break frame,
            Incoming::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((closed.code, &*closed.reason), (CloseCode::Policy, "a message took too long to come"));
    drop(slow);
    server.until_sessions(1, SOON).await;
    busy.send(|out| frame::put_ping(b"7", MASK, out)).await;
    loop {
        match busy.next().await.expect("open") {
            Incoming::Pong(payload) => break assert_eq!(*payload, *b"7"),
            Incoming::Ping(_) | Incoming::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn peers_are_not_to_blame_when_the_server_was_stopped_for_a_while() {
    // One thread for all, so that a call that blocks it stops the server.
    let server = server().await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Raw::open(&server).await);
    }
    server.until_sessions(5, SOON).await;
    for client in &mut clients {
        client.send(|out| frame::put_pong(b"", MASK, out)).await;
    }
    std::thread::sleep(IDLE * 2);
    for client in &mut clients {
        assert_eq!(client.next().await, Some(Incoming::Ping(b""[..].into())), "asked, not dropped");
        client.send(|out| frame::put_pong(b"", MASK, out)).await;
    }
    assert_eq!(server.sessions(), 5);
}
