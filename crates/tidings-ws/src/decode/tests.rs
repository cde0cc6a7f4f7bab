//! The decoder's rules one by one; whole streams are in `streams`.

use super::*;

mod compressed;
mod streams;

const KEY: [u8; 4] = [0x9a, 0x01, 0xff, 0x42];

fn decoder(role: Role) -> Decoder {
    Decoder::new(role, Limits::new(1 << 16, 1 << 17))
}

/// Decodes `bytes` fed in pieces of `step`, until the end or the first error.
fn fed(decoder: &mut Decoder, bytes: &[u8], step: usize) -> (Vec<Incoming<'static>>, Option<ProtocolError>) {
    let mut got = Vec::new();
    for piece in bytes.chunks(step) {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(incoming)) => got.push(incoming.into_owned()),
                Ok(None) => break,
                Err(error) => return (got, Some(error)),
            }
        }
        assert!(input.is_empty(), "None means that the input is used up");
    }
    (got, None)
}

/// What a client makes of a server's bytes: at once and byte by byte, which must be the same.
fn client(bytes: &[u8]) -> (Vec<Incoming<'static>>, Option<ProtocolError>) {
    let at_once = fed(&mut decoder(Role::Client), bytes, usize::MAX);
    assert_eq!(at_once, fed(&mut decoder(Role::Client), bytes, 1), "{bytes:02x?}");
    at_once
}

fn text(text: &str) -> Incoming<'static> {
    Incoming::Text(text.to_owned().into())
}

fn binary(payload: &[u8]) -> Incoming<'static> {
    Incoming::Binary(payload.to_vec().into())
}

fn ping(payload: &[u8]) -> Incoming<'static> {
    Incoming::Ping(payload.to_vec().into())
}

/// An unmasked frame with any first byte.
fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    crate::frame::put_header(OpCode::Data(Data::Text), true, payload.len(), None, &mut out);
    out[0] = first;
    out.extend_from_slice(payload);
    out.to_vec()
}

#[test]
fn messages_are_the_examples_of_the_specification() {
    // RFC 6455 §5.7
    assert_eq!(client(b"\x81\x05Hello").0, [text("Hello")]);
    assert_eq!(client(b"\x01\x03Hel\x80\x02lo").0, [text("Hello")]);
    assert_eq!(client(b"\x89\x05Hello").0, [ping(b"Hello")]);
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(fed(&mut decoder(Role::Server), &masked, usize::MAX).0, [text("Hello")]);
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(fed(&mut decoder(Role::Server), &pong, 3).0, [Incoming::Pong(Cow::Borrowed(&b"Hello"[..]))]);
    for len in [0, 125, 126, 256, 65535, 65536] {
        let payload = vec![b'x'; len];
        assert_eq!(client(&raw(0x82, &payload)).0, [binary(&payload)]);
        assert_eq!(client(&raw(0x81, &payload)).0, [text(str::from_utf8(&payload).unwrap())]);
    }
}

#[test]
fn control_frames_may_stand_between_fragments() {
    let stream = [
        raw(0x01, b"a"),
        raw(0x89, b"1"),
        raw(0x00, b""),
        raw(0x8a, b"2"),
        raw(0x00, b"b"),
        raw(0x80, b"c"),
        raw(0x82, b"d"),
    ];
    let (got, error) = client(&stream.concat());
    assert_eq!(error, None);
    assert_eq!(got, [ping(b"1"), Incoming::Pong(b"2".to_vec().into()), text("abc"), binary(b"d")]);
}

#[test]
fn a_message_of_empty_fragments_is_empty() {
    assert_eq!(client(b"\x01\x00\x00\x00\x80\x00").0, [text("")]);
    assert_eq!(client(b"\x02\x00\x80\x00").0, [binary(b"")]);
}

#[test]
fn forbidden_frames_are_refused_with_1002_at_the_forbidden_byte() {
    use ProtocolError as E;
    // (bytes, the error, how many bytes it takes to see it)
    let cases: &[(&[u8], ProtocolError, usize)] = &[
        (&[0xc1, 0x00], E::ReservedBits, 1),
        (&[0xa1, 0x00], E::ReservedBits, 1),
        (&[0x91, 0x00], E::ReservedBits, 1),
        (&[0xc9, 0x00], E::ReservedBits, 1),
        (&[0x83, 0x00], E::ReservedOpcode(3), 1),
        (&[0x07, 0x00], E::ReservedOpcode(7), 1),
        (&[0x8b, 0x00], E::ReservedOpcode(11), 1),
        (&[0x0f, 0x00], E::ReservedOpcode(15), 1),
        (&[0x08, 0x00], E::FragmentedControl, 1),
        (&[0x09, 0x00], E::FragmentedControl, 1),
        (&[0x0a, 0x00], E::FragmentedControl, 1),
        (&[0x89, 126, 0, 126], E::LongControl, 2),
        (&[0x8a, 127, 0, 0, 0, 0, 0, 0, 0, 200], E::LongControl, 2),
        (&[0x88, 126, 0, 126], E::LongControl, 2),
        (&[0x80, 0x00], E::UnexpectedContinuation, 1),
        (&[0x00, 0x00], E::UnexpectedContinuation, 1),
        (b"\x01\x00\x80\x00\x80\x00", E::UnexpectedContinuation, 5),
        (b"\x01\x01a\x81\x01b", E::InterruptedMessage, 4),
        (b"\x02\x01a\x02\x01b", E::InterruptedMessage, 4),
        (b"\x01\x01a\x89\x00\x82\x01b", E::InterruptedMessage, 6),
        (&[0x81, 126, 0, 125], E::LengthEncoding, 4),
        (&[0x81, 126, 0, 0], E::LengthEncoding, 4),
        (&[0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], E::LengthEncoding, 10),
        (&[0x81, 127, 0, 0, 0, 0, 0, 0, 0, 1], E::LengthEncoding, 10),
        (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], E::LengthEncoding, 10),
        (&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], E::LengthEncoding, 10),
        (&[0x82, 0x80, 0, 0, 0, 0], E::Masked, 2),
    ];
    for (bytes, error, seen) in cases {
        assert_eq!(client(bytes).1, Some(*error), "{bytes:02x?}");
        assert_eq!(client(&bytes[..*seen]).1, Some(*error), "{bytes:02x?} after {seen}");
        assert_eq!(client(&bytes[..seen - 1]).1, None, "{bytes:02x?} before {seen}");
        assert_eq!(error.close_code(), CloseCode::Protocol);
    }
    let (_, error) = fed(&mut decoder(Role::Server), &[0x81, 0x01], 1);
    assert_eq!(error, Some(E::Unmasked));
}

#[test]
fn a_control_frame_of_125_bytes_is_accepted_whatever_the_limit_for_data() {
    let mut decoder = Decoder::new(Role::Client, Limits::new(10, 10));
    assert_eq!(fed(&mut decoder, &raw(0x89, &[7; 125]), 50).0, [ping(&[7; 125])]);
}

#[test]
fn exactly_the_limit_is_accepted_and_one_byte_more_is_1009_before_memory_is_taken() {
    let limits = Limits::new(1000, 1500);
    let run = |bytes: &[u8]| {
        let mut decoder = Decoder::new(Role::Client, limits);
        let result = fed(&mut decoder, bytes, 64);
        (result, decoder)
    };
    for first in [0x81, 0x82] {
        assert_eq!(run(&raw(first, &[b'x'; 1000])).0.0.len(), 1);
        let ((_, error), decoder) = run(&raw(first, &[b'x'; 1001])[..4]);
        assert_eq!(error, Some(ProtocolError::FrameTooLarge { limit: 1000 }));
        assert_eq!(decoder.held(), 0);

        let begin = raw(first & 0x0f, &[b'x'; 1000]);
        assert_eq!(run(&[&begin[..], &raw(0x80, &[b'x'; 500])].concat()).0.0.len(), 1);
        let ((got, error), _) = run(&[&begin[..], &raw(0x80, &[b'x'; 501])[..4]].concat());
        assert!(got.is_empty());
        assert_eq!(error, Some(ProtocolError::MessageTooLarge { limit: 1500 }));
    }
    assert_eq!(ProtocolError::FrameTooLarge { limit: 1 }.close_code(), CloseCode::Size);
    assert_eq!(ProtocolError::MessageTooLarge { limit: 1 }.close_code(), CloseCode::Size);
    let ((_, error), _) = run(&[0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(error, Some(ProtocolError::FrameTooLarge { limit: 1000 }));
}

#[test]
fn the_limit_counts_an_unfinished_code_point() {
    let mut decoder = Decoder::new(Role::Client, Limits::new(4, 4));
    let (_, error) = fed(&mut decoder, b"\x01\x03\xf0\x9f\x98\x80\x02", usize::MAX);
    assert_eq!(error, Some(ProtocolError::MessageTooLarge { limit: 4 }));
}

#[test]
fn text_that_cannot_become_utf8_fails_in_the_middle_of_a_frame() {
    // A frame of 60 000 bytes, of which this is all that came.
    let mut head = vec![0x81, 126, 0xea, 0x60];
    head.extend_from_slice("κόσμε".as_bytes());
    assert_eq!(client(&head).1, None);
    for bad in [&b"\x80"[..], b"\xc0", b"\xed\xa0", b"\xf4\x90", b"\xff"] {
        assert_eq!(client(&[&head[..], bad].concat()).1, Some(ProtocolError::InvalidUtf8));
        assert_eq!(client(&[&head[..], &bad[..bad.len() - 1]].concat()).1, None);
    }
    assert_eq!(ProtocolError::InvalidUtf8.close_code(), CloseCode::Invalid);
}

#[test]
fn a_code_point_may_be_cut_by_fragments_but_not_by_the_end() {
    let smile = "😀".as_bytes();
    for cut in 1..4 {
        let begin = raw(0x01, &smile[..cut]);
        let between = raw(0x89, b"\xff");
        let end = raw(0x80, &smile[cut..]);
        assert_eq!(client(&[&begin[..], &between, &end].concat()).0, [ping(b"\xff"), text("😀")]);
        assert_eq!(
            client(&[begin, raw(0x80, b"")].concat()).1,
            Some(ProtocolError::InvalidUtf8),
            "a message ends with half a character"
        );
        assert_eq!(client(&raw(0x81, &smile[..cut])).1, Some(ProtocolError::InvalidUtf8));
    }
    assert_eq!(client(&raw(0x82, b"\xff\xfe")).0, [binary(b"\xff\xfe")], "binary is not text");
}

#[test]
fn close_frames_are_checked() {
    assert_eq!(client(b"\x88\x00").0, [Incoming::Close(CloseFrame::empty())]);
    for code in [1000u16, 1003, 1007, 1014, 3000, 4999] {
        let body = [&code.to_be_bytes()[..], "schön".as_bytes()].concat();
        let expected = Incoming::Close(CloseFrame::new(code.into(), "schön"));
        assert_eq!(client(&raw(0x88, &body)).0, [expected]);
        let expected = Incoming::Close(CloseFrame::new(code.into(), ""));
        assert_eq!(client(&raw(0x88, &code.to_be_bytes())).0, [expected]);
    }
    assert_eq!(client(b"\x88\x01\x03").1, Some(ProtocolError::CloseBody));
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let (_, error) = client(&raw(0x88, &code.to_be_bytes()));
        assert_eq!(error, Some(ProtocolError::CloseCode(code)));
        assert_eq!(error.unwrap().close_code(), CloseCode::Protocol);
    }
    assert_eq!(client(b"\x88\x04\x03\xe8\xc3\x28").1, Some(ProtocolError::InvalidUtf8));
}

#[test]
fn nothing_counts_after_a_close_frame_or_an_error() {
    for end in [&b"\x88\x00"[..], b"\xff"] {
        let mut decoder = decoder(Role::Client);
        let _ = fed(&mut decoder, b"\x01\x03abc", 2);
        assert!(decoder.held() > 0 && !decoder.has_ended());
        let _ = fed(&mut decoder, end, 2);
        assert!(decoder.has_ended());
        assert_eq!(decoder.held(), 0, "what was begun is freed");
        assert_eq!(fed(&mut decoder, b"\x80\x00\x81\x01a\xff\xff", 2), (vec![], None));
    }
}

#[test]
fn a_message_that_lies_in_the_input_is_borrowed_and_nothing_is_held() {
    let mut stream = [raw(0x81, b"text"), raw(0x82, b"binary"), raw(0x89, b"ping")].concat();
    let mut decoder = decoder(Role::Client);
    let mut input = &mut stream[..];
    while let Some(incoming) = decoder.decode(&mut input).unwrap() {
        assert!(matches!(
            incoming,
            Incoming::Text(Cow::Borrowed(_))
                | Incoming::Binary(Cow::Borrowed(_))
                | Incoming::Ping(Cow::Borrowed(_))
        ));
        assert_eq!(decoder.held(), 0);
    }
}

#[test]
fn an_idle_decoder_is_small_and_holds_nothing() {
    assert!(size_of::<Decoder>() <= 56, "{}", size_of::<Decoder>());
    let mut decoder = decoder(Role::Client);
    assert_eq!(decoder.held(), 0);
    let _ = fed(&mut decoder, &[raw(0x01, b"ab"), raw(0x89, b"cd"), raw(0x80, b"ef")].concat(), 1);
    assert_eq!(decoder.held(), 0, "nothing is left of a message in pieces");
    let _ = fed(&mut decoder, &raw(0x82, &[0; 60000])[..4], 1);
    assert_eq!(decoder.held(), 0, "a header alone takes nothing");
    let _ = fed(&mut decoder, b"x", 1);
    assert!(decoder.held() <= 16 * 1024, "an announced length is not believed");
}

#[test]
fn reasons_fit_into_a_close_frame() {
    let limit = usize::MAX;
    for error in [
        ProtocolError::MessageTooLarge { limit },
        ProtocolError::FrameTooLarge { limit },
        ProtocolError::CloseCode(65535),
        ProtocolError::LengthEncoding,
    ] {
        assert!(error.to_string().len() <= crate::frame::MAX_REASON);
    }
}
