//! Compressed WebSockets: what is agreed, that nobody notices, and bombs.

use bytes::BytesMut;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::{Value, json};
use std::time::Duration;
use tidings::{Event, Hub, gate, websocket::WebSocket};
use tidings_testkit::{Server, within};
use tidings_ws::{Data, deflate::Window, frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A client with a foreign inflater, which keeps its window from message to message.
struct Peer {
    stream: TcpStream,
    /// The header of the answer.
    extensions: Option<String>,
    inflater: Decompress,
    compressed: usize,
}

const LIMIT: Duration = Duration::from_secs(10);

impl Peer {
    async fn connect(server: &Server, offer: &str) -> Self {
        let mut stream = TcpStream::connect(server.address()).await.expect("connected");
        let request = format!(
            "GET /realtime/ws?room=a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(LIMIT, "the answer", stream.read_u8()).await.expect("an answer"));
        }
        let head = String::from_utf8(head).expect("text").to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        let extensions = head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions:"));
        let extensions = extensions.map(|value| value.trim().to_owned());
        let bits = extensions.iter().flat_map(|value| value.split("server_max_window_bits=").nth(1)).next();
        let bits = bits.map_or(15, |bits| bits.parse().expect("a number at the end"));
        let inflater = Decompress::new_with_window_bits(false, bits);
        let mut peer = Self { stream, extensions, inflater, compressed: 0 };
        assert_eq!(peer.message().await["type"], "joined");
        peer
    }

    /// The next frame: its first byte and its payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let first = self.stream.read_u8().await?;
            let len = match self.stream.read_u8().await? {
                126 => self.stream.read_u16().await?.into(),
                127 => self.stream.read_u64().await?,
                len => u64::from(len),
            };
            let mut payload = vec![0; len as usize];
            self.stream.read_exact(&mut payload).await.map(|_| (first, payload))
        };
        within(LIMIT, "a frame", read).await.expect("a frame")
    }

    async fn message(&mut self) -> Value {
        let (first, payload) = self.frame().await;
        let text = match first {
            0x81 => payload,
            0xc1 => {
                assert!(self.extensions.is_some(), "nothing was agreed");
                self.compressed += 1;
                self.inflate(&payload)
            }
            _ => panic!("{first:02x} {payload:02x?}"),
        };
        serde_json::from_slice(&text).expect("JSON")
    }

    /// In small pieces, so that the window is needed.
    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let wire = [payload, &[0, 0, 0xff, 0xff]].concat();
        let (mut out, mut input) = (Vec::new(), &wire[..]);
        loop {
            let mut piece = Vec::with_capacity(100);
            let taken = self.inflater.total_in();
            self.inflater.decompress_vec(input, &mut piece, FlushDecompress::Sync).expect("it inflates");
            input = &input[(self.inflater.total_in() - taken) as usize..];
            out.extend_from_slice(&piece);
            if input.is_empty() && piece.len() < 100 {
                return out;
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// The code of the close frame, which comes next.
    async fn close_code(&mut self) -> u16 {
        let (first, payload) = self.frame().await;
        assert_eq!(first, 0x88, "{payload:02x?}");
        u16::from_be_bytes([payload[0], payload[1]])
    }
}

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

#[tokio::test]
async fn every_client_gets_the_same_events_whatever_it_agreed_to() {
    let server = Server::start().await;
    let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let mut peers = Vec::new();
    for (offer, answer) in [
        ("", None),
        ("Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\n", None),
        ("Sec-WebSocket-Extensions: permessage-deflate; bogus=1\r\n", None),
        (DEFLATE, Some(agreed.to_owned())),
        (
            "Sec-WebSocket-Extensions: foo\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n",
            Some(format!("{agreed}; server_max_window_bits=9")),
        ),
        (
            "Sec-WebSocket-Extensions: permessage-deflate;server_max_window_bits=8, \
             permessage-deflate;server_max_window_bits=13\r\n",
            Some(format!("{agreed}; server_max_window_bits=12")),
        ),
    ] {
        let peer = Peer::connect(&server, offer).await;
        assert_eq!(peer.extensions, answer, "{offer}");
        peers.push(peer);
    }
    for number in 0..100_u64 {
        let words = (0..number * 8).map(|word| format!("word{}", word * word % 1_000));
        let data = json!({ "number": number, "words": words.collect::<Vec<_>>() });
        server.hub().publish("a", Event::json("n", &data).expect("JSON")).await.expect("published");
        for peer in &mut peers {
            assert_eq!(peer.message().await["data"], data);
        }
    }
    for peer in &peers {
        assert_eq!(peer.compressed > 90, peer.extensions.is_some(), "{:?}", peer.extensions);
        assert!(peer.compressed < 100, "short messages are not compressed");
    }
}

#[tokio::test]
async fn a_server_can_be_told_not_to_compress() {
    let hub = Hub::builder().gate(gate::open()).build();
    let service = tidings::service(hub).endpoint(WebSocket::new().compression(false));
    let server = Server::with_service(service).await;
    assert_eq!(Peer::connect(&server, DEFLATE).await.extensions, None);
}

const MASK: Option<[u8; 4]> = Some([7, 1, 200, 4]);

#[tokio::test]
async fn commands_may_come_compressed() {
    let server = Server::start().await;
    let mut peer = Peer::connect(&server, DEFLATE).await;
    for (reference, len) in [(1, 10), (2, 1_000), (3, 100_000)] {
        let text = "round ".repeat(len);
        let command = json!({ "type": "publish", "ref": reference, "room": "a", "event": "e", "data": text });
        let mut bytes = BytesMut::new();
        frame::put_compressed(Data::Text, command.to_string().as_bytes(), Window::Large, MASK, &mut bytes);
        if len > 10 {
            assert_eq!(bytes[0], 0xc1);
        }
        peer.send(&bytes).await;
        // The reply and the event.
        let (one, two) = (peer.message().await, peer.message().await);
        let (reply, event) = if one["type"] == "reply" { (one, two) } else { (two, one) };
        assert_eq!(reply["ref"], reference);
        assert_eq!(event["data"], text);
    }
}

/// Masked frames of at most `step` bytes, the first of them with RSV1.
fn frames(payload: &[u8], step: usize) -> Vec<u8> {
    let count = payload.chunks(step).count();
    let mut out = Vec::new();
    for (index, piece) in payload.chunks(step).enumerate() {
        let mut bytes = BytesMut::new();
        frame::put_binary(piece, Some([0; 4]), &mut bytes);
        bytes[0] = if index == 0 { 0x41 } else { 0x00 } | if index + 1 == count { 0x80 } else { 0x00 };
        out.extend_from_slice(&bytes);
    }
    out
}

#[tokio::test]
async fn bombs_end_their_connection_alone() {
    let server = Server::start().await;
    let mut other = Peer::connect(&server, DEFLATE).await;
    // 10 MiB of zeros in 10 KiB; flushed again and again, 1 GiB in just under 1 MiB.
    let mut bomb = Vec::with_capacity(64 << 10);
    let zeros = vec![0; 10 << 20];
    let mut deflater = Compress::new(Compression::best(), false);
    deflater.compress_vec(&zeros, &mut bomb, FlushCompress::Sync).expect("compressed");
    let huge = bomb.repeat((1 << 20) / bomb.len());
    for (bomb, step) in [(&bomb, 1 << 20), (&bomb, 100), (&huge, 1 << 20), (&huge, 4_000)] {
        let mut peer = Peer::connect(&server, DEFLATE).await;
        peer.send(&frames(bomb, step)).await;
        assert_eq!(peer.close_code().await, 1009);
        let position = server.publish("a", 7).await;
        assert_eq!(other.message().await["id"], position.to_string());
    }
}

#[tokio::test]
async fn compressed_frames_without_an_agreement_are_1002_and_corrupt_ones_1007() {
    let server = Server::start().await;
    let mut peer = Peer::connect(&server, "").await;
    peer.send(&frames(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 100)).await;
    assert_eq!(peer.close_code().await, 1002);
    let mut peer = Peer::connect(&server, DEFLATE).await;
    peer.send(&frames(b"\xff\xff\xff", 100)).await;
    assert_eq!(peer.close_code().await, 1007);
}
