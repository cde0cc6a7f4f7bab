//! Whole streams: any split, any bytes, both roles, and a foreign peer.

use super::*;
use crate::frame;
use bytes::BytesMut;
use proptest::prelude::*;
use std::io::{self, Read, Write};
use tungstenite::protocol::{Message, Role as ForeignRole, WebSocketContext};

/// One thing a peer does: a message cut into fragments at the given lengths, or a control frame.
#[derive(Debug, Clone)]
enum Sent {
    Text(String, Vec<usize>),
    Binary(Vec<u8>, Vec<usize>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

impl Sent {
    fn put(&self, mask: Option<[u8; 4]>, out: &mut BytesMut) {
        match self {
            Self::Text(text, cuts) => put_fragments(Data::Text, text.as_bytes(), cuts, mask, out),
            Self::Binary(payload, cuts) => put_fragments(Data::Binary, payload, cuts, mask, out),
            Self::Ping(payload) => frame::put_ping(payload, mask, out),
            Self::Pong(payload) => frame::put_pong(payload, mask, out),
        }
    }

    /// What of it the other end must see, in order.
    fn incoming(&self) -> Vec<Incoming<'static>> {
        match self {
            Self::Text(text, cuts) => {
                let pings = cuts.iter().map(|_| Incoming::Ping(BETWEEN.into()));
                pings.chain([Incoming::Text(text.clone().into())]).collect()
            }
            Self::Binary(payload, cuts) => {
                let pings = cuts.iter().map(|_| Incoming::Ping(BETWEEN.into()));
                pings.chain([Incoming::Binary(payload.clone().into())]).collect()
            }
            Self::Ping(payload) => vec![Incoming::Ping(payload.clone().into())],
            Self::Pong(payload) => vec![Incoming::Pong(payload.clone().into())],
        }
    }
}

const BETWEEN: &[u8] = b"between";

/// Fragments with a ping after each but the last.
fn put_fragments(data: Data, mut payload: &[u8], cuts: &[usize], mask: Option<[u8; 4]>, out: &mut BytesMut) {
    let mut opcode = data;
    for cut in cuts.iter().map(Some).chain([None]) {
        let (piece, rest) = payload.split_at(cut.map_or(payload.len(), |cut| *cut.min(&payload.len())));
        payload = rest;
        frame::put_header(OpCode::Data(opcode), cut.is_none(), piece.len(), mask, out);
        let start = out.len();
        out.extend_from_slice(piece);
        if let Some(key) = mask {
            let _ = crate::mask::apply(&mut out[start..], key);
        }
        if cut.is_some() {
            frame::put_ping(BETWEEN, mask, out);
        }
        opcode = Data::Continue;
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    let cuts = || prop::collection::vec(0usize..200, 0..4);
    prop_oneof![
        ("\\PC{0,300}", cuts()).prop_map(|(text, cuts)| Sent::Text(text, cuts)),
        (prop::collection::vec(any::<u8>(), 0..400), cuts())
            .prop_map(|(payload, cuts)| Sent::Binary(payload, cuts)),
        prop::collection::vec(any::<u8>(), 0..=125).prop_map(Sent::Ping),
        prop::collection::vec(any::<u8>(), 0..=125).prop_map(Sent::Pong),
    ]
}

/// Decodes `bytes` cut at `cuts`, the rest at once.
fn split(
    decoder: &mut Decoder,
    bytes: &[u8],
    cuts: &[usize],
) -> (Vec<Incoming<'static>>, Option<ProtocolError>) {
    let (mut got, mut rest) = (Vec::new(), bytes);
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        rest = after;
        let (more, error) = fed(decoder, piece, usize::MAX);
        got.extend(more);
        if error.is_some() {
            return (got, error);
        }
    }
    (got, None)
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same_messages(
        stream in prop::collection::vec(sent(), 0..6),
        cuts in prop::collection::vec(0usize..150, 0..20),
        to_server in any::<bool>(),
        key in any::<[u8; 4]>(),
    ) {
        let (role, mask) = if to_server { (Role::Server, Some(key)) } else { (Role::Client, None) };
        let mut bytes = BytesMut::new();
        for sent in &stream {
            sent.put(mask, &mut bytes);
        }
        frame::put_close(CloseCode::Away, "done", mask, &mut bytes);
        let mut expected: Vec<_> = stream.iter().flat_map(Sent::incoming).collect();
        expected.push(Incoming::Close(CloseFrame::new(CloseCode::Away, "done")));
        let expected = (expected, None);
        prop_assert_eq!(&fed(&mut decoder(role), &bytes, usize::MAX), &expected, "at once");
        prop_assert_eq!(&fed(&mut decoder(role), &bytes, 1), &expected, "byte by byte");
        prop_assert_eq!(&split(&mut decoder(role), &bytes, &cuts), &expected, "at random");
    }

    #[test]
    fn any_bytes_give_the_same_at_any_split_and_hold_no_more_than_the_limits(
        bytes in hostile(),
        cuts in prop::collection::vec(0usize..40, 0..20),
        to_server in any::<bool>(),
    ) {
        let role = if to_server { Role::Server } else { Role::Client };
        let limits = Limits::new(300, 500);
        let at_once = fed(&mut Decoder::new(role, limits), &bytes, usize::MAX);
        prop_assert_eq!(&split(&mut Decoder::new(role, limits), &bytes, &cuts), &at_once);
        let mut decoder = Decoder::new(role, limits);
        for byte in bytes {
            let failed = fed(&mut decoder, &[byte], 1).1.is_some();
            prop_assert!(decoder.held() <= limits.message + frame::MAX_CONTROL);
            prop_assert!(!failed || decoder.has_ended());
        }
    }
}

/// Bytes with enough well-formed headers among them to get past the first.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let plausible = (
        prop::sample::select(vec![0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a, 0xc1, 0x83]),
        prop::bool::weighted(0.5),
        0u8..128,
        prop::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(first, masked, len, payload)| {
            let mut bytes = vec![first, len | if masked { 0x80 } else { 0 }];
            bytes.extend(payload);
            bytes
        });
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        prop::collection::vec(plausible, 1..4).prop_map(|frames| frames.concat()),
        // A right stream with one wrong byte.
        (prop::collection::vec(sent(), 1..4), any::<prop::sample::Index>(), any::<u8>(), any::<bool>())
            .prop_map(|(stream, at, byte, masked)| {
                let mut out = BytesMut::new();
                stream.iter().for_each(|sent| sent.put(masked.then_some(KEY), &mut out));
                let at = at.index(out.len());
                out[at] = byte;
                out.to_vec()
            }),
    ]
}

/// Both directions of a connection, in memory; reads give at most 7 bytes.
#[derive(Default)]
struct Pipe {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.len().min(buffer.len()).min(7);
        buffer[..len].copy_from_slice(&self.input[..len]);
        self.input.drain(..len);
        if len == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(len) }
    }
}

impl Write for Pipe {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn large() -> String {
    "größer ".repeat(10_000)
}

#[test]
fn a_foreign_peer_understands_us_and_we_understand_it() {
    for (role, foreign_role, mask) in
        [(Role::Server, ForeignRole::Client, None), (Role::Client, ForeignRole::Server, Some(KEY))]
    {
        let mut foreign = WebSocketContext::new(foreign_role, None);
        let mut pipe = Pipe::default();

        // The foreign peer to us.
        for message in [
            Message::text("hello"),
            Message::binary(vec![0xff; 300]),
            Message::text(large()),
            Message::Ping(b"p".to_vec().into()),
        ] {
            foreign.write(&mut pipe, message).unwrap();
        }
        foreign.flush(&mut pipe).unwrap();
        let mut decoder = Decoder::new(role, Limits::new(1 << 20, 1 << 20));
        let (got, error) = fed(&mut decoder, &mem::take(&mut pipe.output), 1000);
        assert_eq!(error, None);
        assert_eq!(got, [text("hello"), binary(&[0xff; 300]), text(&large()), ping(b"p")]);

        // We to the foreign peer, with fragments.
        let mut out = BytesMut::new();
        frame::put_text("hello", mask, &mut out);
        frame::put_binary(&[0xff; 300], mask, &mut out);
        put_fragments(Data::Text, large().as_bytes(), &[1, 2, 3, 30_000], mask, &mut out);
        frame::put_close(CloseCode::Restart, "später", mask, &mut out);
        pipe.input = out.to_vec();
        let mut read = Vec::new();
        while let Ok(message) = foreign.read(&mut pipe) {
            if !message.is_ping() {
                read.push(message);
            }
        }
        let close = read.pop().unwrap();
        assert_eq!(read, [Message::text("hello"), Message::binary(vec![0xff; 300]), Message::text(large())]);
        let Message::Close(Some(close)) = close else { panic!("{close}") };
        assert_eq!((close.code, close.reason.as_str()), (CloseCode::Restart, "später"));

        // It answered our pings, and our close frame with the same code.
        let _ = foreign.flush(&mut pipe);
        let (got, error) = fed(&mut decoder, &pipe.output, 3);
        assert_eq!(error, None);
        assert!(got.contains(&Incoming::Pong(BETWEEN.into())));
        let Some(Incoming::Close(answer)) = got.last() else { panic!("{got:?}") };
        assert_eq!(answer.code, CloseCode::Restart);
    }
}
