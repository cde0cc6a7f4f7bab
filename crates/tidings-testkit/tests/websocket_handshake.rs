//! Handshakes as clients and proxies really send them.

use std::time::Duration;
use tidings_testkit::{Answer, Server, request, within};
use tidings_ws::decode::{Decoder, Incoming, Limits, Role};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const KEY: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";

async fn ask(server: &Server, headers: &[&str]) -> Answer {
    // An answer that upgrades has no body to wait for.
    within(Duration::from_secs(5), "an answer", request(server.address(), "GET", "/realtime/ws", headers, ""))
        .await
        .expect("an answer")
}

#[tokio::test]
async fn header_lists_are_read_as_lists() {
    let server = Server::start().await;
    for headers in [
        &["connection: keep-alive, Upgrade", "upgrade: websocket", "sec-websocket-version: 13", KEY][..],
        &["connection: upgrade", "upgrade: WebSocket", "sec-websocket-version: 13", KEY],
        &[
            "connection: keep-alive",
            "connection: UPGRADE",
            "upgrade: websocket",
            "sec-websocket-version: 13",
            KEY,
        ],
        &["Connection: Upgrade", "UPGRADE: h2c, websocket", "Sec-WebSocket-Version: 13", KEY],
    ] {
        let answer = ask(&server, headers).await;
        assert_eq!(answer.status, 101, "{headers:?} {:?}", answer.body);
        assert_eq!(answer.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!answer.headers.contains_key("sec-websocket-extensions"));
    }
    let version =
        ask(&server, &["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 12", KEY]).await;
    assert_eq!((version.status, version.header("sec-websocket-version")), (426, "13"));
    for key in ["x: y", "sec-websocket-key: ", "sec-websocket-key: c2hvcnQ="] {
        let answer =
            ask(&server, &["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13", key])
                .await;
        assert_eq!(answer.status, 400, "{key}");
    }
}

#[tokio::test]
async fn only_an_offered_subprotocol_is_answered() {
    let server = Server::start().await;
    for (offer, answered) in [("foo, tidings.v1", Some("tidings.v1")), ("foo, bar", None)] {
        let offer = format!("sec-websocket-protocol: {offer}");
        let headers = ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13", KEY, &offer];
        let answer = ask(&server, &headers).await;
        assert_eq!(answer.status, 101);
        let protocol = answer.headers.get("sec-websocket-protocol").and_then(|value| value.to_str().ok());
        assert_eq!(protocol, answered);
    }
}

/// A masked client frame.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8];
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_come_with_the_handshake_are_not_lost_wherever_the_split_is() {
    let server = Server::start().await;
    let mut bytes = format!(
        "GET /realtime/ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address()
    )
    .into_bytes();
    let head = bytes.len();
    bytes.extend(frame(1, br#"{"type":"publish","ref":1,"room":"a","event":"e"}"#));
    bytes.extend(frame(9, b"ping"));
    bytes.extend(frame(1, br#"{"type":"publish","ref":2,"room":"a","event":"e"}"#));
    let middle = bytes.len() - 20;
    for cut in std::iter::once(middle).chain(0..bytes.len()) {
        let mut stream = TcpStream::connect(server.address()).await.expect("connected");
        stream.set_nodelay(true).expect("no delay");
        stream.write_all(&bytes[..cut]).await.expect("sent");
        if cut > head {
            // The server has what came first before the rest is sent.
            let mut one = [0; 1];
            stream.read_exact(&mut one).await.expect("the answer's first byte");
            assert_eq!(&one, b"H");
        } else {
            tokio::task::yield_now().await;
        }
        stream.write_all(&bytes[cut..]).await.expect("sent");
        check(stream, cut).await;
    }
}

async fn check(mut stream: TcpStream, cut: usize) {
    let mut seen = Vec::new();
    let (mut replies, mut pongs) = (0, 0);
    let mut decoder = Decoder::new(Role::Client, Limits::new(1_000, 1_000));
    let mut in_head = true;
    while replies < 2 || pongs < 1 {
        let mut piece = [0; 4_096];
        let read = within(Duration::from_secs(5), "both replies and the pong", stream.read(&mut piece)).await;
        let read = read.unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert!(read > 0, "cut at {cut}: ended with {replies} replies and {pongs} pongs");
        seen.extend_from_slice(&piece[..read]);
        if in_head {
            let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            seen.drain(..end + 4);
            in_head = false;
        }
        let mut taken = std::mem::take(&mut seen);
        let mut rest = &mut taken[..];
        while let Some(incoming) = decoder.decode(&mut rest).expect("well-formed frames") {
            match incoming {
                Incoming::Text(text) => {
                    replies += 1;
                    assert!(text.starts_with(&format!(r#"{{"type":"reply","ref":{replies},"#)), "{text}");
                }
                Incoming::Pong(payload) => {
                    pongs += 1;
                    assert_eq!(&payload[..], b"ping");
                }
                other => panic!("cut at {cut}: {other:?}"),
            }
        }
    }
}
