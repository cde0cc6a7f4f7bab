//! Compressed messages (RFC 7692 §6): which bit where, any split, and bombs.

use super::*;
use crate::{
    deflate::{self, Window},
    frame,
};
use bytes::BytesMut;
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

fn agreed() -> Decoder {
    decoder(Role::Client).deflate(true)
}

/// What a client that agreed makes of it: at once and byte by byte.
fn client(bytes: &[u8]) -> (Vec<Incoming<'static>>, Option<ProtocolError>) {
    let at_once = fed(&mut agreed(), bytes, usize::MAX);
    assert_eq!(at_once, fed(&mut agreed(), bytes, 1), "{bytes:02x?}");
    at_once
}

/// As a foreign peer compresses, as hard as it can, without the four bytes at the end.
fn squeezed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 1_000);
    Compress::new(Compression::best(), false).compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

/// A compressed message in frames of `step` bytes.
fn frames(first: u8, payload: &[u8], step: usize) -> Vec<u8> {
    frames_to(Role::Client, first, payload, step)
}

/// The same for either end.
fn frames_to(role: Role, first: u8, payload: &[u8], step: usize) -> Vec<u8> {
    let count = payload.chunks(step).count();
    let frame = |(index, piece): (usize, &[u8])| {
        let fin = if index + 1 == count { 0x80 } else { 0 };
        raw_to(role, fin | if index == 0 { first } else { 0 }, piece)
    };
    payload.chunks(step).enumerate().flat_map(frame).collect()
}

/// A frame with any first byte, masked if it goes to a server.
fn raw_to(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = (role == Role::Server).then_some(KEY);
    let mut out = BytesMut::new();
    frame::put_binary(payload, mask, &mut out);
    out[0] = first;
    out.to_vec()
}

const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

#[test]
fn messages_are_the_examples_of_the_specification() {
    // RFC 7692 §7.2.3.1, §7.2.3.6
    assert_eq!(client(&raw(0xc1, HELLO)).0, [text("Hello")]);
    assert_eq!(client(&[raw(0x41, &HELLO[..3]), raw(0x80, &HELLO[3..])].concat()).0, [text("Hello")]);
    assert_eq!(client(&raw(0xc1, &[0])).0, [text("")]);
    assert_eq!(client(&raw(0xc2, &[])).0, [binary(b"")]);
    assert_eq!(client(&[raw(0x42, &[]), raw(0x00, HELLO), raw(0x80, &[])].concat()).0, [binary(b"Hello")]);
}

#[test]
fn plain_messages_and_control_frames_stand_among_compressed_ones() {
    let stream = [
        raw(0x81, b"plain"),
        raw(0x41, &HELLO[..2]),
        raw(0x89, b"ping"),
        raw(0x80, &HELLO[2..]),
        raw(0x01, b"in "),
        raw(0x80, b"two"),
        raw(0xc2, HELLO),
    ];
    let (got, error) = client(&stream.concat());
    assert_eq!(error, None);
    assert_eq!(got, [text("plain"), ping(b"ping"), text("Hello"), text("in two"), binary(b"Hello")]);
}

#[test]
fn the_bit_stands_on_the_first_frame_of_a_message_alone() {
    for wrong in [
        // Control frames.
        &[0xc8, 0x00][..],
        &[0xc9, 0x00],
        &[0xca, 0x00],
        // Continuations, of a compressed and of a plain message, and of nothing.
        b"\x41\x00\xc0\x00",
        b"\x41\x00\x40\x00",
        b"\x01\x01a\xc0\x00",
        b"\xc0\x00",
        // Other bits, with and without it.
        &[0xa1, 0x00],
        &[0x91, 0x00],
        &[0xe1, 0x00],
        &[0xd1, 0x00],
    ] {
        let (got, error) = client(wrong);
        assert_eq!((got, error), (vec![], Some(ProtocolError::ReservedBits)), "{wrong:02x?}");
    }
    for first in [0xc1, 0x41, 0xc2, 0x42] {
        let (_, error) = fed(&mut decoder(Role::Client), &[first], 1);
        assert_eq!(error, Some(ProtocolError::ReservedBits), "nothing is agreed");
    }
    assert_eq!(client(&[0xc3, 0x00]).1, Some(ProtocolError::ReservedBits), "no message");
}

#[test]
fn corrupt_payloads_and_text_that_is_none_are_1007() {
    assert_eq!(client(&raw(0xc2, &[0xff])).1, Some(ProtocolError::Compression));
    assert_eq!(client(&raw(0xc1, &HELLO[..5])).1, Some(ProtocolError::Compression));
    assert_eq!(client(&[raw(0x41, &[6]), raw(0x80, b"x")].concat()).1, Some(ProtocolError::Compression));
    assert_eq!(ProtocolError::Compression.close_code(), CloseCode::Invalid);
    for bad in [&b"\xff"[..], "😀".as_bytes().split_last().unwrap().1] {
        let payload = [&b"text"[..], bad].concat();
        assert_eq!(client(&raw(0xc1, &squeezed(&payload))).1, Some(ProtocolError::InvalidUtf8));
        assert_eq!(client(&raw(0xc2, &squeezed(&payload))).0, [binary(&payload)]);
    }
}

#[test]
fn exactly_the_limit_comes_out_and_one_byte_more_is_1009() {
    let limit = 50_000;
    // What compresses well, and what grows.
    let noise: Vec<u8> = (0..=limit as u32).map(|n| (n.wrapping_mul(n) >> 7) as u8 ^ n as u8).collect();
    for source in [vec![b'x'; limit + 1], noise] {
        for step in [97, usize::MAX] {
            let run = |len: usize| {
                let mut decoder = Decoder::new(Role::Client, Limits::new(limit, limit)).deflate(true);
                fed(&mut decoder, &frames(0x42, &squeezed(&source[..len]), step), 1_000)
            };
            assert_eq!(run(limit), (vec![binary(&source[..limit])], None));
            assert_eq!(run(limit + 1), (vec![], Some(ProtocolError::MessageTooLarge { limit })));
        }
    }
    // Bytes that never become a message end at about the limit too.
    let mut decoder = Decoder::new(Role::Client, Limits::new(limit, limit)).deflate(true);
    let (_, error) = fed(&mut decoder, &raw(0x42, &vec![0; limit + limit / 8 + 65]), usize::MAX);
    assert_eq!(error, Some(ProtocolError::FrameTooLarge { limit }));
    let mut decoder = Decoder::new(Role::Client, Limits::new(limit, limit)).deflate(true);
    let stream = [raw(0x42, &vec![0; limit]), raw(0x00, &vec![0; limit / 8 + 65])];
    let (_, error) = fed(&mut decoder, &stream.concat(), 500);
    assert_eq!(error, Some(ProtocolError::MessageTooLarge { limit }));
    assert_eq!(decoder.held(), 0);
}

#[test]
fn bombs_are_1009_whatever_their_frames() {
    let limit = 1 << 20;
    for (inflated, step) in
        [(10 << 20, usize::MAX), (10 << 20, 64), (512 << 20, usize::MAX), (512 << 20, 4_096)]
    {
        let bomb = if inflated == 10 << 20 { squeezed(&vec![0; inflated]) } else { large_bomb(inflated) };
        assert!(bomb.len() < limit, "{} bytes", bomb.len());
        for first in [0x41, 0x42] {
            let mut decoder = Decoder::new(Role::Client, Limits::new(limit, limit)).deflate(true);
            let stream = frames(first, &bomb, step);
            let mut most = 0;
            for piece in stream.chunks(16 << 10) {
                let (got, error) = fed(&mut decoder, piece, usize::MAX);
                assert!(got.is_empty());
                assert!(error.is_none() || error == Some(ProtocolError::MessageTooLarge { limit }));
                most = most.max(decoder.held());
            }
            assert!(decoder.has_ended());
            assert_eq!(decoder.held(), 0);
            assert!(most <= limit, "{most} bytes held");
        }
    }
}

/// Zeros as one message of many flushed ones, which is a message too.
fn large_bomb(inflated: usize) -> Vec<u8> {
    let block = [squeezed(&vec![0; 1 << 20]), vec![0, 0, 0xff, 0xff]].concat();
    block.repeat(inflated >> 20)
}

#[test]
fn an_idle_decoder_holds_nothing_of_compression() {
    let mut decoder = agreed();
    let payload = squeezed(&[b'x'; 10_000]);
    let stream = frames(0x41, &payload, 5);
    let (got, error) = fed(&mut decoder, &stream[..stream.len() - 1], 1);
    assert_eq!((got.len(), error), (0, None));
    assert!(decoder.held() <= payload.len() * 2, "only what came");
    assert_eq!(fed(&mut decoder, &stream[stream.len() - 1..], 1).0, [text(&"x".repeat(10_000))]);
    assert_eq!(decoder.held(), 0);
}

#[test]
fn our_frames_are_compressed_when_that_makes_them_shorter() {
    let long = "0123456789abcdef".repeat(8);
    for (payload, first) in [("", 0x81), (&long[1..], 0x81), (&long, 0xc1)] {
        for mask in [None, Some(KEY)] {
            let mut out = BytesMut::new();
            frame::put_compressed(Data::Text, payload.as_bytes(), Window::Large, mask, &mut out);
            assert_eq!(out[0], first, "{} bytes", payload.len());
            let role = if mask.is_some() { Role::Server } else { Role::Client };
            assert_eq!(fed(&mut decoder(role).deflate(true), &out, 3).0, [text(payload)]);
        }
    }
    let noise: Vec<u8> = (0..=255).collect();
    let mut out = BytesMut::new();
    frame::put_compressed(Data::Binary, &noise, Window::Large, None, &mut out);
    assert_eq!(out[0], 0x82, "it would have grown");
}

proptest! {
    // Each case is decoded once for every byte it has.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_split_gives_the_same(
        messages in prop::collection::vec(("(\\PC{0,40}){0,9}", 1usize..100, any::<bool>()), 1..4),
        window in prop::sample::select(vec![Window::Small, Window::Medium, Window::Large]),
        role in prop::sample::select(vec![Role::Server, Role::Client]),
    ) {
        let new = || decoder(role).deflate(true);
        let mut stream = Vec::new();
        for (message, step, is_text) in &messages {
            let first = if *is_text { 0x41 } else { 0x42 };
            stream.extend(frames_to(role, first, &deflate::compress(message.as_bytes(), window), *step));
            stream.extend(raw_to(role, 0x89, b"between"));
        }
        let expected: Vec<_> = messages
            .iter()
            .flat_map(|(message, _, is_text)| {
                [if *is_text { text(message) } else { binary(message.as_bytes()) }, ping(b"between")]
            })
            .collect();
        for cut in 0..=stream.len() {
            let mut decoder = new();
            let (mut got, error) = fed(&mut decoder, &stream[..cut], usize::MAX);
            prop_assert_eq!(error, None);
            let (rest, error) = fed(&mut decoder, &stream[cut..], usize::MAX);
            prop_assert_eq!(error, None);
            got.extend(rest);
            prop_assert_eq!(&got, &expected, "cut at {}", cut);
        }
        prop_assert_eq!(fed(&mut new(), &stream, 1), (expected, None));
    }
}

proptest! {
    #[test]
    fn wrong_bytes_give_the_same_at_any_split_and_hold_no_more_than_the_limits(
        message in "(\\PC{0,40}){0,9}",
        step in 1usize..100,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let limits = Limits::new(300, 500);
        let mut stream = frames(0x41, &deflate::compress(message.as_bytes(), Window::Large), step);
        let at = at.index(stream.len());
        stream[at] = byte;
        let new = || Decoder::new(Role::Client, limits).deflate(true);
        let at_once = fed(&mut new(), &stream, usize::MAX);
        let mut decoder = new();
        let (mut got, mut failed) = (Vec::new(), None);
        for byte in stream {
            let (more, error) = fed(&mut decoder, &[byte], 1);
            got.extend(more);
            failed = failed.or(error);
            prop_assert!(decoder.held() <= 500 + 500 / 8 + 64 + frame::MAX_CONTROL);
        }
        prop_assert_eq!((got, failed), at_once);
    }
}
