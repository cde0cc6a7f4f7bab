//! Compressed WebSockets: what is agreed, that nobody notices, and bombs.

use bytes::BytesMut;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tidings::{Event, Hub, gate, websocket::WebSocket};
use tidings_testkit::{
    RawSocket, Server,
    raw::{fragments, masked},
    within,
};
use tidings_ws::{Data, deflate::Window, frame};

/// A client with a foreign inflater, which keeps its window from message to message.
struct Peer {
    socket: RawSocket,
    /// The header of the answer.
    extensions: Option<String>,
    inflater: Decompress,
    compressed: usize,
}

const LIMIT: Duration = Duration::from_secs(10);

impl Peer {
    /// Connects with header lines that offer something.
    async fn connect(server: &Server, offer: &[&str]) -> Self {
        let socket = RawSocket::connect(server.address(), "/realtime/ws?room=a", offer).await;
        let extensions = socket.header("sec-websocket-extensions").map(str::to_lowercase);
        let bits = extensions.iter().flat_map(|value| value.split("server_max_window_bits=").nth(1)).next();
        let bits = bits.map_or(15, |bits| bits.parse().expect("a number at the end"));
        let inflater = Decompress::new_with_window_bits(false, bits);
        let mut peer = Self { socket, extensions, inflater, compressed: 0 };
        assert_eq!(peer.message().await["type"], "joined");
        peer
    }

    async fn message(&mut self) -> Value {
        let (first, payload) = within(LIMIT, "a frame", self.socket.frame()).await.expect("a frame");
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
}

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";

#[tokio::test]
async fn every_client_gets_the_same_events_whatever_it_agreed_to() {
    let server = Server::start().await;
    let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let mut peers = Vec::new();
    for (offer, answer) in [
        (&[][..], None),
        (&["Sec-WebSocket-Extensions: x-webkit-deflate-frame"], None),
        (&["Sec-WebSocket-Extensions: permessage-deflate; bogus=1"], None),
        (&[DEFLATE], Some(agreed.to_owned())),
        (
            &[
                "Sec-WebSocket-Extensions: foo",
                "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9",
            ],
            Some(format!("{agreed}; server_max_window_bits=9")),
        ),
        (
            &["Sec-WebSocket-Extensions: permessage-deflate;server_max_window_bits=8, \
               permessage-deflate;server_max_window_bits=13"],
            Some(format!("{agreed}; server_max_window_bits=12")),
        ),
    ] {
        let peer = Peer::connect(&server, offer).await;
        assert_eq!(peer.extensions, answer, "{offer:?}");
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

/// The parameters of one agreement, each with its value if it has one.
fn parameters(agreement: &str) -> Vec<(&str, Option<u8>)> {
    let (name, parameters) = agreement.split_once(';').unwrap_or((agreement, ""));
    assert_eq!(name.trim(), "permessage-deflate", "{agreement}");
    let parameters = parameters.split(';').map(str::trim).filter(|parameter| !parameter.is_empty());
    parameters
        .map(|parameter| match parameter.split_once('=') {
            Some((name, value)) => (name, Some(value.parse().expect("a number"))),
            None => (parameter, None),
        })
        .collect()
}

#[tokio::test]
async fn whatever_is_offered_the_handshake_stands_and_only_what_may_be_answered_is() {
    let server = Server::start().await;
    let numbers = [8, 9, 10, 11, 12, 13, 14, 15].map(|bits| {
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        // zlib cannot do 8, and an answer must not exceed the offer.
        (offer, (bits > 8).then_some(bits))
    });
    let both = "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9";
    let others = [
        ("x-webkit-deflate-frame", None),
        ("permessage-deflate; bogus=1", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; client_max_window_bits=7", None),
        ("foo; bar=\"permessage-deflate\", baz", None),
        ("", None),
        (";;;===\"", None),
        ("permessage-deflate", Some(15)),
        ("permessage-deflate; client_max_window_bits", Some(15)),
        ("permessage-deflate; client_max_window_bits=8", Some(15)),
        ("permessage-deflate; bogus=1, permessage-deflate", Some(15)),
        ("permessage-deflate; bogus=1, permessage-deflate; server_max_window_bits=11", Some(11)),
        ("x-webkit-deflate-frame, permessage-deflate; server_no_context_takeover", Some(15)),
        (both, Some(10)),
    ];
    let others = others.map(|(offer, bits)| (offer.to_owned(), bits));
    for (offer, bits) in others.into_iter().chain(numbers) {
        let line = format!("Sec-WebSocket-Extensions: {offer}");
        let peer = Peer::connect(&server, &[&line]).await;
        assert_eq!(peer.extensions.is_some(), bits.is_some(), "{offer}: {:?}", peer.extensions);
        let (Some(agreement), Some(bits)) = (&peer.extensions, bits) else { continue };
        assert!(!agreement.contains(','), "one extension: {agreement}");
        for (name, value) in parameters(agreement) {
            match (name, value) {
                // Either may be answered to any offer (RFC 7692 §7.1.1).
                ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
                // These only to an offer of the same (§7.1.2), and never with a larger number.
                ("server_max_window_bits", Some(answered)) => {
                    assert!(offer.contains("server_max_window_bits="), "{offer}: {agreement}");
                    assert!((8..=bits).contains(&answered), "{offer}: {agreement}");
                }
                ("client_max_window_bits", Some(answered)) => {
                    assert!(offer.contains("client_max_window_bits"), "{offer}: {agreement}");
                    assert!((8..=15).contains(&answered), "{offer}: {agreement}");
                }
                other => panic!("{other:?} in {agreement}"),
            }
        }
    }
}

/// What a deflater makes of "Hello" (RFC 7692 §7.2.3.1).
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

#[tokio::test]
async fn a_server_can_be_told_not_to_compress() {
    let hub = Hub::builder().gate(gate::open()).build();
    let service = tidings::service(hub).endpoint(WebSocket::new().compression(false));
    let server = Server::with_service(service).await;
    let mut peer = Peer::connect(&server, &[DEFLATE]).await;
    assert_eq!(peer.extensions, None);
    peer.socket.send(&masked(0xc1, &HELLO)).await;
    assert_eq!(peer.socket.close_code().await, 1002);
}

#[tokio::test]
async fn commands_may_come_compressed() {
    let server = Server::start().await;
    let mut peer = Peer::connect(&server, &[DEFLATE]).await;
    for (reference, len) in [(1, 10), (2, 1_000), (3, 100_000)] {
        let text = "round ".repeat(len);
        let command = json!({ "type": "publish", "ref": reference, "room": "a", "event": "e", "data": text });
        let mut bytes = BytesMut::new();
        frame::put_compressed(
            Data::Text,
            command.to_string().as_bytes(),
            Window::Large,
            Some([7, 1, 200, 4]),
            &mut bytes,
        );
        if len > 10 {
            assert_eq!(bytes[0], 0xc1);
        }
        peer.socket.send(&bytes).await;
        // The reply and the event.
        let (one, two) = (peer.message().await, peer.message().await);
        let (reply, event) = if one["type"] == "reply" { (one, two) } else { (two, one) };
        assert_eq!(reply["ref"], reference);
        assert_eq!(event["data"], text);
    }
}

/// 10 MiB of zeros in 10 KiB; and the same again and again, nearly 1 GiB in nearly 1 MiB.
fn bombs() -> [Vec<u8>; 2] {
    let mut small = Vec::with_capacity(64 << 10);
    let zeros = vec![0; 10 << 20];
    let mut deflater = Compress::new(Compression::best(), false);
    deflater.compress_vec(&zeros, &mut small, FlushCompress::Sync).expect("compressed");
    let large = small.repeat((1 << 20) / small.len());
    [small, large]
}

#[tokio::test]
async fn bombs_end_their_connection_alone() {
    let server = Server::start().await;
    let mut other = Peer::connect(&server, &[DEFLATE]).await;
    let [small, large] = bombs();
    assert!((9 << 10..11 << 10).contains(&small.len()) && large.len() > 1_000 << 10);
    for (bomb, step) in [(&small, usize::MAX), (&small, 100), (&large, usize::MAX), (&large, 4_000)] {
        let mut peer = Peer::connect(&server, &[DEFLATE]).await;
        peer.socket.send(&fragments(0xc1, bomb, step)).await;
        assert_eq!(peer.socket.close_code().await, 1009);
        let position = server.publish("a", 7).await;
        assert_eq!(other.message().await["id"], position.to_string());
    }
}

/// Publishes for a while and gives how long the slowest but one in a hundred of the events took to reach a session.
async fn slowest(server: &Server, peers: &mut [Peer]) -> Duration {
    let mut times = Vec::new();
    for number in 0..100 {
        let begin = Instant::now();
        server.publish("a", number).await;
        for peer in &mut *peers {
            assert_eq!(peer.message().await["data"], number);
            times.push(begin.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    times.sort();
    times[times.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn others_hear_as_soon_while_bombs_go_off() {
    let server = Server::start().await;
    let mut peers = Vec::new();
    for _ in 0..5 {
        peers.push(Peer::connect(&server, &[DEFLATE]).await);
    }
    let before = slowest(&server, &mut peers).await;
    let bombs = bombs().map(|bomb| fragments(0xc1, &bomb, 16 << 10));
    let address = server.address();
    let attackers = bombs.map(|bomb| {
        tokio::spawn(async move {
            loop {
                let mut socket = RawSocket::connect(address, "/realtime/ws", &[DEFLATE]).await;
                socket.send(&bomb).await;
                assert_eq!(socket.close_code().await, 1009);
            }
        })
    });
    let most = before + Duration::from_millis(100);
    let mut meanwhile = Duration::MAX;
    // What else the machine does can be slow for once, but not each time.
    for _ in 0..ROUNDS {
        meanwhile = meanwhile.min(slowest(&server, &mut peers).await);
        println!("p99 {before:?} before, {meanwhile:?} meanwhile");
        if meanwhile < most {
            break;
        }
    }
    for attacker in attackers {
        assert!(!attacker.is_finished(), "an attacker was not refused as it should be");
        attacker.abort();
    }
    assert!(meanwhile < most, "{before:?} before, {meanwhile:?} meanwhile");
}

const ROUNDS: usize = 5;

#[tokio::test]
async fn compressed_frames_without_an_agreement_are_1002_and_corrupt_ones_1007() {
    let server = Server::start().await;
    let mut peer = Peer::connect(&server, &[]).await;
    peer.socket.send(&masked(0xc1, &HELLO)).await;
    assert_eq!(peer.socket.close_code().await, 1002);
    let mut peer = Peer::connect(&server, &[DEFLATE]).await;
    peer.socket.send(&masked(0xc1, b"\xff\xff\xff")).await;
    assert_eq!(peer.socket.close_code().await, 1007);
}
