//! The WebSocket decoder on any bytes.
//!
//! Input: a byte of choices (1: we are the server, 2: compression is agreed), two bytes for the limit of a frame, two
//! for that of a message, cuts, and what the peer sends.

use crate::{
    input::Input,
    reference::{self, Item, Walk},
};
use tidings_ws::{
    decode::{Decoder, Incoming, Limits, ProtocolError, Role},
    frame::MAX_CONTROL,
};

/// Decodes in one piece and in many: both must give the same, and hold no more than they may.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choices = input.byte();
    let role = if choices & 1 == 0 { Role::Client } else { Role::Server };
    let limits = Limits::new(input.pair().into(), input.pair().into());
    let setup = Setup { role, limits, deflate: choices & 2 != 0 };
    let cuts = input.cuts();
    let wire = input.rest();
    let whole = decode(&setup, wire, [wire]);
    let cut = decode(&setup, wire, cuts.pieces(wire));
    assert_eq!(whole, cut, "a cut makes a difference");
}

struct Setup {
    role: Role,
    limits: Limits,
    deflate: bool,
}

#[derive(Debug, PartialEq)]
struct Decoded {
    got: Vec<Incoming<'static>>,
    error: Option<ProtocolError>,
}

/// Decodes `wire`, which comes in `pieces`.
fn decode<'a>(setup: &Setup, wire: &[u8], pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let limits = setup.limits;
    let mut decoder = Decoder::new(setup.role, limits).deflate(setup.deflate);
    let (mut got, mut error, mut came) = (Vec::new(), None, 0);
    'pieces: for piece in pieces {
        came += piece.len();
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(incoming)) => {
                    let incoming = incoming.into_owned();
                    check_limits(&incoming, limits);
                    assert!(matches!(incoming, Incoming::Close(_)) == decoder.has_ended());
                    got.push(incoming);
                }
                Ok(None) => break,
                Err(wrong) => {
                    error = Some(wrong);
                    break 'pieces;
                }
            }
        }
        assert!(input.is_empty(), "None means that the input is used up");
        assert!(decoder.held() <= most(setup), "{} bytes held", decoder.held());
        if decoder.has_ended() {
            break;
        }
        // Walking from the start at each piece would take quadratic time.
        if came <= 512 || came == wire.len() {
            let walk = reference::walk(&wire[..came]);
            assert!(walk.begun || decoder.held() == 0, "{} bytes held between messages", decoder.held());
            check(&got, &walk, setup);
        }
    }
    assert_eq!(decoder.has_ended(), error.is_some() || matches!(got.last(), Some(Incoming::Close(_))));
    if decoder.has_ended() {
        nothing_counts(&mut decoder, wire);
    }
    Decoded { got, error }
}

/// What was decoded is what a simpler reader sees.
fn check(got: &[Incoming<'_>], walk: &Walk, setup: &Setup) {
    assert_eq!(got.len(), walk.whole.len(), "as many messages as there are");
    for (incoming, Item { opcode, compressed, payload }) in got.iter().zip(&walk.whole) {
        let plain = match (opcode, incoming) {
            (1, Incoming::Text(text)) => text.as_bytes(),
            (2, Incoming::Binary(bytes)) | (9, Incoming::Ping(bytes)) | (10, Incoming::Pong(bytes)) => bytes,
            (8, Incoming::Close(frame)) => {
                assert!(payload.is_empty() || payload[2..] == *frame.reason.as_bytes());
                continue;
            }
            other => panic!("{other:?}"),
        };
        assert!(setup.deflate || !compressed);
        assert!(*compressed || plain == payload, "{plain:?} of {payload:?}");
    }
}

fn check_limits(incoming: &Incoming<'_>, limits: Limits) {
    match incoming {
        Incoming::Text(text) => assert!(text.len() <= limits.message),
        Incoming::Binary(payload) => assert!(payload.len() <= limits.message),
        Incoming::Ping(payload) | Incoming::Pong(payload) => assert!(payload.len() <= MAX_CONTROL),
        Incoming::Close(frame) => assert!(frame.reason.len() <= MAX_CONTROL - 2),
        other => panic!("{other:?}"),
    }
}

/// The most that a decoder may hold: a message, of which what does not compress is an eighth larger, and a control
/// frame.
fn most(setup: &Setup) -> usize {
    let message = setup.limits.message;
    let grown = if setup.deflate { message / 8 + 64 } else { 0 };
    message + grown + MAX_CONTROL
}

/// After the end all is ignored, and nothing held.
fn nothing_counts(decoder: &mut Decoder, wire: &[u8]) {
    assert_eq!(decoder.held(), 0);
    let mut more = wire.to_vec();
    let mut input = &mut more[..];
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert!(input.is_empty() && decoder.has_ended() && decoder.held() == 0);
}
