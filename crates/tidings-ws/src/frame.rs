//! Writing frames (RFC 6455 §5.2, §5.5).
//!
//! Every function appends to `out` and cannot fail. `mask` is `None` at a server and a fresh, unpredictable
//! key for each frame at a client (§5.3).

use crate::{
    close,
    deflate::{self, Window},
    mask,
};
use bytes::{BufMut, BytesMut};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{CloseCode, Control, Data, OpCode},
};

/// The longest payload of a control frame, in bytes (RFC 6455 §5.5).
pub const MAX_CONTROL: usize = 125;

/// Appends the header of a frame with `len` bytes of payload; with a `mask`, the payload must be written
/// masked.
pub fn put_header(opcode: OpCode, fin: bool, len: usize, mask: Option<[u8; 4]>, out: &mut BytesMut) {
    write(FrameHeader { is_final: fin, opcode, mask, ..FrameHeader::default() }, len, out);
}

/// How many bytes [`put_header`] writes: 2 to 14.
pub fn header_len(payload_len: usize, masked: bool) -> usize {
    FrameHeader { mask: masked.then_some([0; 4]), ..FrameHeader::default() }.len(payload_len as u64)
}

/// How many bytes of header stand before the text in a server's text frame: 2, 4 or 10.
///
/// For encoders which write the payload first and the header into a gap before it.
pub fn text_frame_header_len(payload_len: usize) -> usize {
    header_len(payload_len, false)
}

/// Appends a text message in one frame.
pub fn put_text(text: &str, mask: Option<[u8; 4]>, out: &mut BytesMut) {
    put_message(Data::Text, text.as_bytes(), mask, out);
}

/// Appends a binary message in one frame.
pub fn put_binary(payload: &[u8], mask: Option<[u8; 4]>, out: &mut BytesMut) {
    put_message(Data::Binary, payload, mask, out);
}

/// Appends a message in one frame; that of a text must be UTF-8.
pub(crate) fn put_message(data: Data, payload: &[u8], mask: Option<[u8; 4]>, out: &mut BytesMut) {
    put(OpCode::Data(data), payload, mask, out);
}

/// Appends a message in one frame, compressed if that makes it shorter (RFC 7692 §6.1), for a peer with which that
/// was [agreed](crate::extension::Agreed). Messages under [`MIN_COMPRESSED`] bytes are not tried.
pub fn put_compressed(data: Data, payload: &[u8], window: Window, mask: Option<[u8; 4]>, out: &mut BytesMut) {
    let opcode = OpCode::Data(data);
    let compressed = (payload.len() >= MIN_COMPRESSED).then(|| deflate::compress(payload, window));
    match compressed.filter(|compressed| compressed.len() < payload.len()) {
        Some(compressed) => {
            put_payload(FrameHeader { opcode, mask, rsv1: true, ..FrameHeader::default() }, &compressed, out);
        }
        None => put(opcode, payload, mask, out),
    }
}

/// The shortest message that [`put_compressed`] compresses, in bytes: below, little is won.
pub const MIN_COMPRESSED: usize = 128;

/// Appends a ping; of the payload, the first [`MAX_CONTROL`] bytes are sent.
pub fn put_ping(payload: &[u8], mask: Option<[u8; 4]>, out: &mut BytesMut) {
    put(OpCode::Control(Control::Ping), control(payload), mask, out);
}

/// Appends a pong, which carries the payload of the ping it answers (RFC 6455 §5.5.3); of the payload, the
/// first [`MAX_CONTROL`] bytes are sent.
pub fn put_pong(payload: &[u8], mask: Option<[u8; 4]>, out: &mut BytesMut) {
    put(OpCode::Control(Control::Pong), control(payload), mask, out);
}

/// Appends a close frame (RFC 6455 §5.5.1).
///
/// The reason is cut to [`MAX_REASON`] bytes, between two characters. A code that must not stand in a frame
/// (§7.4.1, for example 1005 "no status" and 1006 "abnormal") is left out together with the reason, for these
/// codes only ever describe a close frame which has none, or is not there.
pub fn put_close(code: CloseCode, reason: &str, mask: Option<[u8; 4]>, out: &mut BytesMut) {
    let code = u16::from(code);
    let mut payload = [0; MAX_CONTROL];
    let len = if close::may_be_sent(code) {
        let reason = cut(reason, MAX_REASON).as_bytes();
        payload[..CODE].copy_from_slice(&code.to_be_bytes());
        payload[CODE..CODE + reason.len()].copy_from_slice(reason);
        CODE + reason.len()
    } else {
        0
    };
    put(OpCode::Control(Control::Close), &payload[..len], mask, out);
}

/// The longest reason of a close frame, in bytes: what the code leaves of a control frame.
pub const MAX_REASON: usize = MAX_CONTROL - CODE;

fn put(opcode: OpCode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut BytesMut) {
    put_payload(FrameHeader { opcode, mask, ..FrameHeader::default() }, payload, out);
}

fn put_payload(header: FrameHeader, payload: &[u8], out: &mut BytesMut) {
    let key = header.mask;
    out.reserve(header_len(payload.len(), key.is_some()) + payload.len());
    write(header, payload.len(), out);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        let _ = mask::apply(&mut out[start..], key);
    }
}

/// Appends a header. Not by tungstenite's, which writes piece by piece to whatever may fail.
fn write(header: FrameHeader, len: usize, out: &mut BytesMut) {
    let FrameHeader { is_final, rsv1, rsv2, rsv3, opcode, mask } = header;
    let bits = [(is_final, 0x80), (rsv1, 0x40), (rsv2, 0x20), (rsv3, 0x10)];
    let first =
        bits.into_iter().fold(u8::from(opcode), |byte, (set, bit)| if set { byte | bit } else { byte });
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match len {
        ..126 => out.put_slice(&[first, masked | len as u8]),
        126..=0xffff => {
            let [a, b] = (len as u16).to_be_bytes();
            out.put_slice(&[first, masked | 126, a, b]);
        }
        _ => {
            out.put_slice(&[first, masked | 127]);
            out.put_u64(len as u64);
        }
    }
    if let Some(key) = mask {
        out.put_slice(&key);
    }
}

/// The longest prefix of at most `max` bytes which ends between two characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn control(payload: &[u8]) -> &[u8] {
    &payload[..payload.len().min(MAX_CONTROL)]
}

const CODE: usize = size_of::<u16>();

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::from(&b"before"[..]);
        write(&mut out);
        assert!(out.starts_with(b"before"), "frames are appended");
        out[6..].to_vec()
    }

    #[test]
    fn frames_are_the_examples_of_the_specification() {
        // RFC 6455 §5.7
        let key = Some([0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(written(|out| put_text("Hello", None, out)), b"\x81\x05Hello");
        assert_eq!(
            written(|out| put_text("Hello", key, out)),
            [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        );
        assert_eq!(written(|out| put_ping(b"Hello", None, out)), b"\x89\x05Hello");
        assert_eq!(
            written(|out| put_pong(b"Hello", key, out)),
            [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        );
        assert_eq!(written(|out| put_header(OpCode::Data(Data::Text), false, 3, None, out)), [0x01, 0x03]);
        assert_eq!(written(|out| put_header(OpCode::Data(Data::Continue), true, 2, None, out)), [0x80, 0x02]);
        assert!(written(|out| put_binary(&[0; 256], None, out)).starts_with(&[0x82, 0x7e, 0x01, 0x00]));
        assert!(
            written(|out| put_binary(&[0; 65536], None, out))
                .starts_with(&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0])
        );
    }

    #[test]
    fn header_length_is_what_the_header_takes() {
        for (len, expected) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10), (1 << 30, 10)] {
            assert_eq!(text_frame_header_len(len), expected);
            assert_eq!(header_len(len, true), expected + 4);
            for mask in [None, Some([1, 2, 3, 4])] {
                let header = written(|out| put_header(OpCode::Data(Data::Text), true, len, mask, out));
                assert_eq!(header.len(), header_len(len, mask.is_some()));
            }
        }
    }

    #[test]
    fn close_reason_is_cut_between_characters() {
        // 121 bytes, then a character of 4 bytes over the border at 123.
        let reason = format!("{}😀", "x".repeat(121));
        let frame = written(|out| put_close(CloseCode::Policy, &reason, None, out));
        assert_eq!(frame[..4], [0x88, 123, 0x03, 0xf0]);
        assert_eq!(frame[4..], reason.as_bytes()[..121]);
        let full = "y".repeat(200);
        assert_eq!(written(|out| put_close(CloseCode::Policy, &full, None, out)).len(), 2 + MAX_CONTROL);
    }

    #[test]
    fn close_codes_that_must_not_be_sent_give_an_empty_close_frame() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert_eq!(written(|out| put_close(code.into(), "why", None, out)), [0x88, 0x00], "{code}");
        }
    }

    #[test]
    fn control_payload_is_cut_at_its_limit() {
        assert_eq!(written(|out| put_ping(&[7; 300], None, out)).len(), 2 + MAX_CONTROL);
        assert_eq!(written(|out| put_pong(&[7; 126], None, out)).len(), 2 + MAX_CONTROL);
    }
}
