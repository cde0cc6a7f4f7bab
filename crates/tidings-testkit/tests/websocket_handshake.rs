//! Handshakes as clients and proxies really send them.

use std::time::Duration;
use tidings_testkit::{
    Server,
    raw::{answer, field, handshake, masked},
    within,
};
use tidings_ws::decode::{Decoder, Incoming, Limits, Role};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";
const UPGRADE: [&str; 4] = ["Connection: Upgrade", "Upgrade: websocket", VERSION, KEY];

/// The status and the head of the answer to these lines, which go out as they are.
async fn ask(server: &Server, lines: &[&str]) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address()).await.expect("connected");
    let request = format!("GET /realtime/ws HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", lines.join("\r\n"));
    stream.write_all(request.as_bytes()).await.expect("sent");
    let head = answer(&mut stream).await.expect("an answer");
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), head)
}

#[tokio::test]
async fn header_lists_are_read_as_lists() {
    let server = Server::start().await;
    for lines in [
        &["Connection: keep-alive, Upgrade", "Upgrade: websocket", VERSION, KEY][..],
        &["connection: upgrade", "upgrade: WebSocket", VERSION, KEY],
        &["Connection: keep-alive", "Connection: UPGRADE", "Upgrade: websocket", VERSION, KEY],
        &["Connection: Upgrade", "UPGRADE: h2c, websocket", VERSION, KEY],
        &["cOnNeCtIoN: Upgrade", "uPgRaDe: websocket", "SEC-WEBSOCKET-VERSION: 13", KEY],
    ] {
        let (status, head) = ask(&server, lines).await;
        assert_eq!(status, 101, "{lines:?} {head}");
        assert_eq!(field(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(field(&head, "sec-websocket-extensions"), None);
    }
    let lines = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 12", KEY];
    let (status, head) = ask(&server, &lines).await;
    assert_eq!((status, field(&head, "sec-websocket-version")), (426, Some("13")));
    for key in ["X: y", "Sec-WebSocket-Key: ", "Sec-WebSocket-Key: c2hvcnQ="] {
        let (status, _) = ask(&server, &["Connection: Upgrade", "Upgrade: websocket", VERSION, key]).await;
        assert_eq!(status, 400, "{key}");
    }
}

#[tokio::test]
async fn only_an_offered_subprotocol_is_answered() {
    let server = Server::start().await;
    for (offer, answered) in [
        (&["Sec-WebSocket-Protocol: foo, tidings.v1"][..], Some("tidings.v1")),
        (&["Sec-WebSocket-Protocol: foo", "sec-websocket-protocol: tidings.v1"], Some("tidings.v1")),
        (&["Sec-WebSocket-Protocol: foo, bar"], None),
        (&[], None),
    ] {
        let (status, head) = ask(&server, &[&UPGRADE[..], offer].concat()).await;
        assert_eq!(status, 101);
        assert_eq!(field(&head, "sec-websocket-protocol"), answered, "{offer:?}");
        assert_eq!(head.to_lowercase().matches("sec-websocket-protocol").count(), answered.iter().len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_come_with_the_handshake_are_not_lost_wherever_the_split_is() {
    let server = Server::start().await;
    let mut bytes = handshake("/realtime/ws", &[]).into_bytes();
    let head = bytes.len();
    bytes.extend(masked(0x81, br#"{"type":"publish","ref":1,"room":"a","event":"e"}"#));
    bytes.extend(masked(0x89, b"ping"));
    bytes.extend(masked(0x81, br#"{"type":"publish","ref":2,"room":"a","event":"e"}"#));
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
            // Nothing shows that the server has taken a part of a head; it has had the time to.
            sleep(Duration::from_millis(1)).await;
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
