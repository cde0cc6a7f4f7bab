//! What our functions write is what our decoder reads: masked or not, compressed or not, in fragments or not.
//!
//! Input: a byte of choices (1: masked, 2: compression is agreed), a window, cuts; then for each message a kind, a
//! size, a byte that says what it is made of, and, if that is 0, its bytes.

use crate::input::Input;
use bytes::BytesMut;
use tidings_ws::{
    CloseCode, Data, OpCode,
    close::CloseFrame,
    decode::{Decoder, Incoming, Limits, Role},
    deflate::Window,
    frame::{self, MAX_CONTROL},
};

/// Writes messages, and reads them in one piece and in many.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choices = input.byte();
    let (masked, deflate) = (choices & 1 != 0, choices & 2 != 0);
    let window = deflate.then(|| input.choose(&[Window::Small, Window::Medium, Window::Large]));
    let cuts = input.cuts();
    let mut writer = Writer { masked, window, key: 1, wire: BytesMut::new() };
    let mut sent = Vec::new();
    while !input.is_empty() && writer.wire.len() < LONG && sent.len() < MANY {
        writer.message(&mut input, &mut sent);
    }
    let role = if masked { Role::Server } else { Role::Client };
    let wire = &writer.wire[..];
    // Long streams byte by byte would take most of the time.
    let cut = if wire.len() <= 4_096 { read(role, deflate, cuts.pieces(wire)) } else { sent.clone() };
    assert_eq!(cut, sent);
    assert_eq!(read(role, deflate, wire.chunks(4_096)), sent);
    assert_eq!(read(role, deflate, [wire]), sent);
}

fn read<'a>(role: Role, deflate: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Incoming<'static>> {
    let mut decoder = Decoder::new(role, Limits::new(1 << 20, 1 << 20)).deflate(deflate);
    let mut got = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        while let Some(incoming) = decoder.decode(&mut input).expect("we write what is lawful") {
            got.push(incoming.into_owned());
        }
    }
    assert_eq!(decoder.held(), 0);
    got
}

struct Writer {
    masked: bool,
    window: Option<Window>,
    key: u32,
    wire: BytesMut,
}

impl Writer {
    fn message(&mut self, input: &mut Input<'_>, sent: &mut Vec<Incoming<'static>>) {
        let (kind, len) = (input.byte() % 8, size(input));
        let payload = payload(len, input);
        let mask = self.mask();
        match kind {
            0 | 1 => {
                let text = String::from_utf8_lossy(&payload).into_owned();
                self.data(Data::Text, text.as_bytes(), kind == 0, input);
                sent.push(Incoming::Text(text.into()));
            }
            2..=4 => {
                self.data(Data::Binary, &payload, kind == 2, input);
                sent.push(Incoming::Binary(payload.into()));
            }
            5 => {
                frame::put_ping(&payload, mask, &mut self.wire);
                sent.push(Incoming::Ping(payload[..len.min(MAX_CONTROL)].to_vec().into()));
            }
            6 => {
                frame::put_pong(&payload, mask, &mut self.wire);
                sent.push(Incoming::Pong(payload[..len.min(MAX_CONTROL)].to_vec().into()));
            }
            _ => {
                let (code, reason) = (input.pair(), String::from_utf8_lossy(&payload));
                let mut alone = BytesMut::new();
                frame::put_close(CloseCode::from(code), &reason, mask, &mut alone);
                assert!(alone.len() <= 2 + MAX_CONTROL + 4);
                let role = if self.masked { Role::Server } else { Role::Client };
                // On its own, for nothing comes after it.
                let got = read(role, false, [&alone[..]]);
                let [Incoming::Close(CloseFrame { code: got, reason: cut, .. })] = &got[..] else {
                    panic!("{got:?}")
                };
                assert!(*got == CloseCode::from(code) || (*got == CloseCode::Status && cut.is_empty()));
                assert!(reason.starts_with(cut.as_str()));
            }
        }
    }

    fn data(&mut self, data: Data, payload: &[u8], whole: bool, input: &mut Input<'_>) {
        let mask = self.mask();
        let before = self.wire.len();
        match (self.window, whole) {
            (Some(window), true) => frame::put_compressed(data, payload, window, mask, &mut self.wire),
            (None, true) if data == Data::Text => {
                let text = str::from_utf8(payload).expect("it was made of a text");
                frame::put_text(text, mask, &mut self.wire);
            }
            (None, true) => frame::put_binary(payload, mask, &mut self.wire),
            (window, false) => self.fragments(data, payload, window, input),
        }
        let most = frame::header_len(payload.len(), self.masked) + payload.len();
        assert!(!whole || self.wire.len() - before <= most, "compression never makes a message longer");
    }

    /// A message in up to four frames, with pings between them that are no part of what is sent.
    fn fragments(&mut self, data: Data, payload: &[u8], window: Option<Window>, input: &mut Input<'_>) {
        let mut alone = BytesMut::new();
        let (mut rest, compressed) = match window {
            Some(window) => {
                frame::put_compressed(data, payload, window, None, &mut alone);
                let compressed = alone[0] & RSV1 != 0;
                let header = match alone[1] {
                    127 => 10,
                    126 => 4,
                    _ => 2,
                };
                (&alone[header..], compressed)
            }
            None => (payload, false),
        };
        let mut opcode = data;
        for left in (0..input.byte() % 4).rev() {
            let len = if left == 0 { rest.len() } else { usize::from(input.pair()).min(rest.len()) };
            let (piece, after) = rest.split_at(len);
            rest = after;
            self.frame(opcode, left == 0, piece, compressed && opcode != Data::Continue);
            opcode = Data::Continue;
        }
        if opcode != Data::Continue {
            self.frame(opcode, true, rest, compressed);
        }
    }

    fn frame(&mut self, data: Data, fin: bool, piece: &[u8], compressed: bool) {
        let (mask, start) = (self.mask(), self.wire.len());
        frame::put_header(OpCode::Data(data), fin, piece.len(), mask, &mut self.wire);
        assert_eq!(self.wire.len() - start, frame::header_len(piece.len(), self.masked));
        if compressed {
            self.wire[start] |= RSV1;
        }
        let key = mask.unwrap_or_default();
        self.wire.extend(piece.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    }

    fn mask(&mut self) -> Option<[u8; 4]> {
        self.key = self.key.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.masked.then(|| self.key.to_be_bytes())
    }
}

/// A byte, which is the size up to 191; above, two bytes follow that are. Most messages are short, or little would be
/// tried.
fn size(input: &mut Input<'_>) -> usize {
    match input.byte() {
        short @ ..192 => short.into(),
        192.. => input.pair().into(),
    }
}

/// `len` bytes: of the input, or of a row that is more or less regular.
fn payload(len: usize, input: &mut Input<'_>) -> Vec<u8> {
    match input.byte() {
        0 => {
            let mut own = input.take(len).to_vec();
            own.resize(len, b'.');
            own
        }
        kind => {
            let period = usize::from(kind) * 40;
            let mut state = 1_u32;
            let row = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            let row: Vec<_> = row.take(period).collect();
            row.into_iter().cycle().take(len).collect()
        }
    }
}

const RSV1: u8 = 0x40;
/// Bytes after which no message follows: room for one with the longest header.
const LONG: usize = 70_000;
/// Messages of one input. Many tell no more than a few, and take longer.
const MANY: usize = 16;
