//! Frame headers (RFC 6455 §5.2), judged as early as their bytes allow.

use super::{LARGE, Limits, ProtocolError, Role, take};
use crate::{deflate::compressed_limit, frame, mask};
use std::io::Cursor;
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// A frame whose header is read, and what is left of its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Never a reserved one.
    pub(super) opcode: OpCode,
    pub(super) fin: bool,
    /// The first frame of a compressed message.
    pub(super) compressed: bool,
    /// Turned to where the next byte of the payload stands.
    pub(super) key: Option<mask::Key>,
    /// Bytes of payload still to come.
    pub(super) remaining: usize,
}

impl Frame {
    /// Unmasks the next bytes of the payload.
    pub(super) fn unmask(&mut self, piece: &mut [u8]) {
        if let Some(key) = &mut self.key {
            *key = mask::apply(piece, *key);
        }
    }
}

/// What a header is judged by.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) role: Role,
    pub(super) limits: Limits,
    /// Compression is agreed.
    pub(super) deflate: bool,
    /// The message that is begun, if one is.
    pub(super) begun: Option<Begun>,
}

/// A message whose first frame was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    /// Bytes of payload so far.
    pub(super) len: usize,
    pub(super) compressed: bool,
}

/// A data message in one frame, all of it at the front of `input`, not compressed, not large and not over the limits:
/// its kind, and its payload unmasked. It is what nearly all messages are, and is known by looking once; anything else, right or
/// wrong, is left as it is for [`Head::read`].
///
/// To be asked between messages only.
#[inline]
pub(super) fn whole<'a>(
    input: &mut &'a mut [u8],
    role: Role,
    limits: Limits,
) -> Option<(Data, &'a mut [u8])> {
    let (&[first, second], _) = input.split_first_chunk()?;
    let data = match first {
        TEXT => Data::Text,
        BINARY => Data::Binary,
        _ => return None,
    };
    let masked = role == Role::Server;
    let (start, len) = match usize::from(second ^ if masked { MASK } else { 0 }) {
        len @ ..126 => (2, len),
        126 => match u16::from_be_bytes(*input.get(2..)?.first_chunk()?) {
            // More bytes than it needs: an error.
            ..126 => return None,
            len => (4, usize::from(len)),
        },
        _ => return None,
    };
    let start = if masked { start + size_of::<mask::Key>() } else { start };
    if len > limits.frame.min(limits.message).min(LARGE) || input.len() < start + len {
        return None;
    }
    let message = take(input, start + len);
    let (head, payload) = message.split_at_mut(start);
    if masked && let Some(key) = head.last_chunk() {
        let _ = mask::apply(payload, *key);
    }
    Some((data, payload))
}

/// The bytes of a header that did not come at once. Of no use once the header is read.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: [u8; MAX_HEADER],
    len: u8,
}

impl Head {
    /// Whether no byte of the header has come yet.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a header off the front of `input`, or all of the input if it ends inside the header.
    pub(super) fn read(
        &mut self,
        input: &mut &mut [u8],
        rules: &Rules,
    ) -> Result<Option<Frame>, ProtocolError> {
        let held = usize::from(self.len);
        if held == 0
            && let Some((frame, len)) = rules.parse(input)?
        {
            take(input, len);
            return Ok(Some(frame));
        }
        let more = input.len().min(MAX_HEADER - held);
        self.bytes[held..held + more].copy_from_slice(&input[..more]);
        let parsed = if held == 0 { None } else { rules.parse(&self.bytes[..held + more])? };
        match parsed {
            Some((frame, len)) => {
                take(input, len - held);
                Ok(Some(frame))
            }
            None => {
                take(input, more);
                self.len += more as u8;
                Ok(None)
            }
        }
    }
}

impl Rules {
    /// A header from the front of `bytes` and its length, `None` if it is not all there.
    fn parse(&self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, ProtocolError> {
        self.check_start(bytes)?;
        let mut cursor = Cursor::new(bytes);
        let (header, len) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Ok(None),
            // The one thing the parser refuses, and the start of the header was checked for it.
            Err(_) => return Err(ProtocolError::ReservedOpcode(bytes[0] & OPCODE)),
        };
        let header_len = cursor.position() as usize;
        // "The minimal number of bytes MUST be used to encode the length", and "the most significant bit MUST
        // be 0".
        if header.len(len) != header_len || len >> 63 != 0 {
            return Err(ProtocolError::LengthEncoding);
        }
        let remaining = self.check_len(header.opcode, header.rsv1, len)?;
        Ok(Some((
            Frame {
                opcode: header.opcode,
                fin: header.is_final,
                compressed: header.rsv1,
                key: header.mask,
                remaining,
            },
            header_len,
        )))
    }

    /// What the first two bytes show, as far as they are there.
    fn check_start(&self, bytes: &[u8]) -> Result<(), ProtocolError> {
        let Some(&first) = bytes.first() else { return Ok(()) };
        let opcode = OpCode::from(first & OPCODE);
        // RSV1 is compression's, and stands on the first frame of a message alone (RFC 7692 §6.1, §6.2).
        let may_compress = self.deflate && matches!(opcode, OpCode::Data(Data::Text | Data::Binary));
        let reserved = if may_compress { RESERVED & !RSV1 } else { RESERVED };
        if first & reserved != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        match opcode {
            OpCode::Data(Data::Reserved(code)) => return Err(ProtocolError::ReservedOpcode(code)),
            OpCode::Data(Data::Continue) if self.begun.is_none() => {
                return Err(ProtocolError::UnexpectedContinuation);
            }
            OpCode::Data(Data::Text | Data::Binary) if self.begun.is_some() => {
                return Err(ProtocolError::InterruptedMessage);
            }
            OpCode::Data(_) => {}
            OpCode::Control(Control::Reserved(code)) => return Err(ProtocolError::ReservedOpcode(code)),
            OpCode::Control(_) if first & FIN == 0 => return Err(ProtocolError::FragmentedControl),
            OpCode::Control(_) => {}
        }
        let Some(&second) = bytes.get(1) else { return Ok(()) };
        match (self.role, second & MASK != 0) {
            (Role::Server, false) => return Err(ProtocolError::Unmasked),
            (Role::Client, true) => return Err(ProtocolError::Masked),
            _ => {}
        }
        if matches!(opcode, OpCode::Control(_)) && usize::from(second & !MASK) > frame::MAX_CONTROL {
            return Err(ProtocolError::LongControl);
        }
        Ok(())
    }

    /// The limits for data frames, asked before any memory is taken for the payload.
    ///
    /// They are for what the application gets; a compressed payload may be a little larger, and what comes out of
    /// it is measured then.
    fn check_len(&self, opcode: OpCode, compressed: bool, len: u64) -> Result<usize, ProtocolError> {
        let Limits { frame, message } = self.limits;
        let compressed = compressed || self.begun.is_some_and(|begun| begun.compressed);
        let room = |limit| if compressed { compressed_limit(limit) } else { limit };
        let len = usize::try_from(len).map_err(|_| ProtocolError::FrameTooLarge { limit: frame })?;
        if matches!(opcode, OpCode::Control(_)) {
            return Ok(len);
        }
        if len > room(frame) {
            return Err(ProtocolError::FrameTooLarge { limit: frame });
        }
        if len > room(message).saturating_sub(self.begun.map_or(0, |begun| begun.len)) {
            return Err(ProtocolError::MessageTooLarge { limit: message });
        }
        Ok(len)
    }
}

const FIN: u8 = 0x80;
/// The first bytes of whole messages that are not compressed.
const TEXT: u8 = FIN | 1;
const BINARY: u8 = FIN | 2;
/// RSV1 to RSV3.
const RESERVED: u8 = 0x70;
const RSV1: u8 = 0x40;
const OPCODE: u8 = 0x0f;
const MASK: u8 = 0x80;
/// Two bytes, a length of eight and a key of four.
const MAX_HEADER: usize = 14;
