//! The opening handshake as its bytes really come: in any lawful writing, with frames behind it, cut anywhere.

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, future::ready, time::Duration};
use tidings_ws::{
    Message, Upgrade, connect,
    decode::{self, Decoder, Limits, Role},
    frame,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tungstenite::handshake::derive_accept_key;

/// An echo server over a pipe, and the pipe's other end.
fn served() -> DuplexStream {
    let (stream, wire) = duplex(1 << 16);
    let service = service_fn(|request| ready(Ok::<_, Infallible>(answer(request))));
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
    wire
}

fn answer(mut request: Request<Incoming>) -> Response<Empty<Bytes>> {
    match Upgrade::new().protocols(["tidings.v1"]).answer(&mut request) {
        Ok((response, socket)) => {
            tokio::spawn(async move {
                let mut socket = socket.await.expect("a stream");
                while let Some(Ok(message)) = socket.next().await {
                    if matches!(message, Message::Text(_)) {
                        socket.send(message).await.expect("open");
                    }
                }
            });
            response.map(|()| Empty::new())
        }
        Err(error) => {
            let mut response = Response::new(Empty::new());
            *response.status_mut() = error.status();
            *response.headers_mut() = error.headers();
            response
        }
    }
}

async fn read_head(wire: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(wire.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("text")
}

/// What is lost never comes.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.expect("it comes")
}

/// The status and the head of the answer to these lines.
async fn asked(lines: &[&str]) -> (u16, String) {
    let mut wire = served();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", lines.join("\r\n"));
    wire.write_all(request.as_bytes()).await.expect("sent");
    let head = read_head(&mut wire).await.to_lowercase();
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), head)
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";

#[tokio::test]
async fn every_lawful_writing_is_accepted() {
    for lines in [
        &["Connection: keep-alive, Upgrade", "Upgrade: websocket", VERSION, KEY][..],
        &["connection: upgrade", "Upgrade: websocket", VERSION, KEY],
        &["Connection: keep-alive", "Connection: Upgrade", "Upgrade: websocket", VERSION, KEY],
        &["Connection: Upgrade", "Upgrade: WebSocket", VERSION, KEY],
        &["CONNECTION: UPGRADE", "uPGRADE: WEBSOCKET", "sec-websocket-VERSION:13", KEY],
        &["Connection:Upgrade ,, keep-alive", "Upgrade: h2c, websocket", VERSION, KEY],
    ] {
        let (status, head) = asked(lines).await;
        assert_eq!(status, 101, "{lines:?}");
        assert!(head.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
        assert!(!head.contains("sec-websocket-protocol"), "{head}");
        assert!(!head.contains("sec-websocket-extensions"), "{head}");
    }
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_said() {
    let (status, head) =
        asked(&["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 12", KEY]).await;
    assert!(status == 426 && head.contains("\r\nsec-websocket-version: 13\r\n"), "{head}");
    for key in ["X: y", "Sec-WebSocket-Key:", "Sec-WebSocket-Key: c2hvcnQ=", "Sec-WebSocket-Key: x"] {
        let (status, _) = asked(&["Connection: Upgrade", "Upgrade: websocket", VERSION, key]).await;
        assert_eq!(status, 400, "{key}");
    }
}

#[tokio::test]
async fn a_subprotocol_is_answered_if_it_was_offered_and_is_spoken() {
    for (offer, answered) in [
        (&["Sec-WebSocket-Protocol: foo, tidings.v1"][..], true),
        (&["sec-websocket-protocol: foo", "sec-websocket-protocol: tidings.v1"], true),
        (&["Sec-WebSocket-Protocol: tidings.v1"], true),
        (&["Sec-WebSocket-Protocol: foo, bar"], false),
        (&["Sec-WebSocket-Protocol: TIDINGS.V1"], false),
        (&[], false),
    ] {
        let lines = [&["Connection: Upgrade", "Upgrade: websocket", VERSION, KEY], offer].concat();
        let (status, head) = asked(&lines).await;
        assert_eq!(status, 101, "{offer:?}");
        assert_eq!(head.contains("\r\nsec-websocket-protocol: tidings.v1\r\n"), answered, "{head}");
        assert_eq!(head.contains("sec-websocket-protocol"), answered, "{head}");
    }
}

/// Time stands still in these tests but for this, which ends when everybody else waits: what was sent is taken.
async fn until_taken() {
    sleep(Duration::from_millis(1)).await;
}

async fn send_cut(wire: &mut DuplexStream, bytes: &[u8], cut: usize) {
    let (early, late) = bytes.split_at(cut);
    wire.write_all(early).await.expect("sent");
    until_taken().await;
    wire.write_all(late).await.expect("sent");
}

/// Two texts and a ping between them, from a client if there is a mask.
fn frames(mask: Option<[u8; 4]>) -> BytesMut {
    let mut out = BytesMut::new();
    frame::put_text("one", mask, &mut out);
    frame::put_ping(b"ping", mask, &mut out);
    frame::put_text("two", mask, &mut out);
    out
}

/// What the peer has sent, as a list of words.
fn words(role: Role, mut bytes: &mut [u8]) -> Vec<String> {
    let mut decoder = Decoder::new(role, Limits::new(100, 100));
    let mut words = Vec::new();
    while let Some(incoming) = decoder.decode(&mut bytes).expect("well-formed frames") {
        words.push(match incoming {
            decode::Incoming::Text(text) => text.into_owned(),
            decode::Incoming::Pong(payload) => format!("pong {}", String::from_utf8_lossy(&payload)),
            other => panic!("{other:?}"),
        });
    }
    words.sort();
    words
}

#[tokio::test(start_paused = true)]
async fn frames_behind_the_request_are_taken_wherever_the_bytes_are_cut() {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{VERSION}\r\n{KEY}\r\n\r\n"
    );
    let bytes = [request.as_bytes(), &frames(Some([1, 2, 3, 4]))].concat();
    for cut in 0..=bytes.len() {
        let mut wire = served();
        send_cut(&mut wire, &bytes, cut).await;
        assert!(read_head(&mut wire).await.starts_with("HTTP/1.1 101"), "cut at {cut}");
        until_taken().await;
        let mut answers = vec![0; 1_000];
        let read = soon(wire.read(&mut answers)).await.expect("answers");
        assert_eq!(words(Role::Client, &mut answers[..read]), ["one", "pong ping", "two"], "cut at {cut}");
    }
}

/// A server's answer to a request of our client, with frames behind it.
fn accepted(request: &str) -> Vec<u8> {
    let mut lines = request.lines().filter_map(|line| line.split_once(": "));
    let (_, key) = lines.find(|(name, _)| *name == "Sec-WebSocket-Key").expect("a key");
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    [head.as_bytes(), &frames(None)].concat()
}

#[tokio::test(start_paused = true)]
async fn frames_behind_the_answer_reach_our_client_wherever_the_bytes_are_cut() {
    let mut cut = 0;
    loop {
        let (stream, mut wire) = duplex(1 << 16);
        let server = async move {
            let bytes = accepted(&read_head(&mut wire).await);
            send_cut(&mut wire, &bytes, cut).await;
            (wire, bytes.len())
        };
        let (socket, (mut wire, length)) = tokio::join!(connect(stream, "example.org", "/"), server);
        let mut socket = socket.expect("a WebSocket");
        for expected in [Message::text("one"), Message::Ping("ping".into()), Message::text("two")] {
            let message = soon(socket.next()).await.expect("a message").expect("a message");
            assert_eq!(message, expected, "cut at {cut}");
        }
        let mut answers = vec![0; 1_000];
        let read = soon(wire.read(&mut answers)).await.expect("a pong");
        assert_eq!(words(Role::Server, &mut answers[..read]), ["pong ping"], "cut at {cut}");
        cut += 1;
        if cut > length {
            break;
        }
    }
}

#[tokio::test]
async fn frames_in_the_segment_of_the_answer_reach_our_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let bytes = accepted(&read_head(&mut stream).await);
        stream.write_all(&bytes).await.expect("sent");
        stream
    };
    let client = async {
        let stream = TcpStream::connect(address).await.expect("connected");
        connect(stream, &address.to_string(), "/").await.expect("a WebSocket")
    };
    let (_stream, mut socket) = tokio::join!(server, client);
    assert_eq!(soon(socket.next()).await.expect("a message").expect("a message"), Message::text("one"));
}
