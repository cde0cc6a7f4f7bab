//! Reading: bytes in, messages out (RFC 6455 §5, §6.2, §8.1).
//!
//! A [`Decoder`] is fed whatever a read gave and gives messages that borrow from it when they lie there
//! whole and are not large, which is the common case and costs no copy. Of anything unfinished it keeps its own copy, never
//! larger than the limits allow (an eighth more of a compressed message), and frees it with the message: between messages a decoder holds no memory
//! but itself.

mod error;
mod header;
mod partial;

pub use self::error::ProtocolError;

use self::{
    header::{Begun, Frame, Head, Rules, whole},
    partial::Partial,
};
use crate::close::{self, CloseFrame};
use std::{borrow::Cow, mem, str};
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Which end of the connection we are; it decides who masks (RFC 6455 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// We are the server: every frame that comes must be masked.
    Server,
    /// We are the client: no frame that comes may be masked.
    Client,
}

/// How much a peer may send at a time. Exactly the limit is accepted; one byte more ends the connection with
/// 1009.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest payload of one data frame, in bytes. Control frames have their own limit of 125 bytes
    /// (§5.5).
    pub frame: usize,
    /// The largest message, in bytes, over all its frames.
    pub message: usize,
}

impl Limits {
    /// Limits in bytes for one data frame and for one message.
    pub const fn new(frame: usize, message: usize) -> Self {
        Self { frame, message }
    }
}

/// What the peer sent: a whole, checked message or control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming<'a> {
    /// A text message.
    Text(Cow<'a, str>),
    /// A binary message.
    Binary(Cow<'a, [u8]>),
    /// A ping: answer with a pong of the same payload (RFC 6455 §5.5.2).
    Ping(Cow<'a, [u8]>),
    /// A pong.
    Pong(Cow<'a, [u8]>),
    /// The peer's close frame, the last thing it says. One without a body has [`CloseCode::Status`] (§7.1.5).
    Close(CloseFrame),
}

impl Incoming<'_> {
    /// The same, no longer borrowed from the read buffer.
    pub fn into_owned(self) -> Incoming<'static> {
        match self {
            Self::Text(text) => Incoming::Text(Cow::Owned(text.into_owned())),
            Self::Binary(payload) => Incoming::Binary(Cow::Owned(payload.into_owned())),
            Self::Ping(payload) => Incoming::Ping(Cow::Owned(payload.into_owned())),
            Self::Pong(payload) => Incoming::Pong(Cow::Owned(payload.into_owned())),
            Self::Close(frame) => Incoming::Close(frame),
        }
    }
}

/// Decodes one direction of one connection.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    stage: Stage,
    /// Boxed, for an idle connection has none.
    unfinished: Option<Box<Unfinished>>,
    role: Role,
    deflate: bool,
}

/// What is begun and not finished: a message, or a control frame between its fragments, or both.
#[derive(Debug, Default)]
struct Unfinished {
    message: Option<Partial>,
    /// The payload of the control frame.
    control: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    /// Between frames, or inside a header.
    Header(Head),
    /// Inside a payload.
    Payload(Frame),
    /// After a close frame or an error: whatever comes is ignored (RFC 6455 §5.5.1, §7.1.7).
    Ended,
}

impl Decoder {
    /// A decoder for what the other end sends to us, the `role`. Nothing is allocated.
    pub fn new(role: Role, limits: Limits) -> Self {
        let stage = Stage::Header(Head::default());
        Self { limits, stage, unfinished: None, role, deflate: false }
    }

    /// Other limits, for what comes from now on.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether compression was [agreed](crate::extension::Agreed), without which a compressed message ends the
    /// connection. Each must be compressed without what came before it (`no_context_takeover`, RFC 7692 §7.1.1).
    ///
    /// A message that comes in pieces is inflated when it is whole; inflating stops at the limit.
    pub fn deflate(mut self, agreed: bool) -> Self {
        self.deflate = agreed;
        self
    }

    /// Takes bytes off the front of `input` until they make a message, and gives it; `None` means that the
    /// input is used up. To be called again with the same input until then, and again with the bytes of the
    /// next read.
    ///
    /// The input is unmasked in place, so its bytes are of no further use to the caller.
    ///
    /// # Errors
    ///
    /// The first violation of the protocol, as soon as the bytes that came show it: a forbidden header at the
    /// forbidden byte, a frame or message over the limits before its payload is taken, text which cannot
    /// become UTF-8 in the middle of a frame. After an error, as after [`Incoming::Close`], the decoder has
    /// freed what it held and ignores whatever comes.
    pub fn decode<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Incoming<'a>>, ProtocolError> {
        let result = match self.whole(input) {
            Some((data, payload)) => incoming(data, payload).map(Some),
            None => self.step(input),
        };
        if matches!(result, Err(_) | Ok(Some(Incoming::Close(_)))) {
            self.stage = Stage::Ended;
            self.unfinished = None;
        }
        result
    }

    /// Whether a close frame or an error was seen, after which all input is ignored.
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// How many bytes of memory the decoder holds for what is unfinished: 0 between messages.
    pub fn held(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| {
            unfinished.message.as_ref().map_or(0, Partial::capacity) + unfinished.control.capacity()
        })
    }

    /// The message that is begun, if one is.
    fn message(&self) -> Option<&Partial> {
        self.unfinished.as_ref()?.message.as_ref()
    }

    /// The message that the input begins with, if it is one of the usual kind: half the work of [`step`](Self::step).
    #[inline]
    fn whole<'a>(&self, input: &mut &'a mut [u8]) -> Option<(Data, &'a mut [u8])> {
        match (&self.stage, &self.unfinished) {
            (Stage::Header(head), None) if head.is_empty() => whole(input, self.role, self.limits),
            _ => None,
        }
    }

    fn step<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Incoming<'a>>, ProtocolError> {
        loop {
            let begun = self
                .message()
                .map(|message| Begun { len: message.len(), compressed: message.is_compressed() });
            match &mut self.stage {
                Stage::Header(head) => {
                    let rules = Rules { role: self.role, limits: self.limits, deflate: self.deflate, begun };
                    let Some(frame) = head.read(input, &rules)? else { return Ok(None) };
                    self.stage = Stage::Payload(frame);
                }
                Stage::Payload(frame) => {
                    let frame = *frame;
                    if input.is_empty() && frame.remaining > 0 {
                        return Ok(None);
                    }
                    let incoming = self.payload(frame, input)?;
                    if incoming.is_some() {
                        return Ok(incoming);
                    }
                }
                Stage::Ended => {
                    *input = &mut [];
                    return Ok(None);
                }
            }
        }
    }

    /// Takes what there is of a payload.
    fn payload<'a>(
        &mut self,
        mut frame: Frame,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Incoming<'a>>, ProtocolError> {
        let piece = take(input, frame.remaining.min(input.len()));
        frame.remaining -= piece.len();
        let incoming = match frame.opcode {
            OpCode::Control(control) => self.control(control, &mut frame, piece)?,
            OpCode::Data(data) => self.data(data, &mut frame, piece)?,
        };
        self.stage = match frame.remaining {
            0 => Stage::Header(Head::default()),
            _ => Stage::Payload(frame),
        };
        Ok(incoming)
    }

    /// A piece of a control frame, which may stand between the fragments of a message (RFC 6455 §5.4).
    fn control<'a>(
        &mut self,
        control: Control,
        frame: &mut Frame,
        piece: &'a mut [u8],
    ) -> Result<Option<Incoming<'a>>, ProtocolError> {
        frame.unmask(piece);
        let begun = self.unfinished.as_ref().is_some_and(|unfinished| !unfinished.control.is_empty());
        let payload = if frame.remaining == 0 && !begun {
            Cow::Borrowed(piece)
        } else {
            let unfinished = self.unfinished.get_or_insert_default();
            unfinished.control.reserve_exact(piece.len() + frame.remaining);
            unfinished.control.extend_from_slice(piece);
            if frame.remaining > 0 {
                return Ok(None);
            }
            let payload = mem::take(&mut unfinished.control);
            self.unfinished.take_if(|unfinished| unfinished.message.is_none());
            Cow::Owned(payload)
        };
        Ok(Some(match control {
            Control::Ping => Incoming::Ping(payload),
            Control::Pong => Incoming::Pong(payload),
            Control::Close => Incoming::Close(close_frame(&payload)?),
            Control::Reserved(code) => return Err(ProtocolError::ReservedOpcode(code)),
        }))
    }

    /// A piece of a message.
    fn data<'a>(
        &mut self,
        data: Data,
        frame: &mut Frame,
        piece: &'a mut [u8],
    ) -> Result<Option<Incoming<'a>>, ProtocolError> {
        let ends = frame.fin && frame.remaining == 0;
        // The whole message lies in the input.
        if ends && self.message().is_none() && (frame.compressed || piece.len() <= LARGE) {
            frame.unmask(piece);
            return if frame.compressed {
                partial::inflate(data, piece, self.limits.message).map(Some)
            } else {
                incoming(data, piece).map(Some)
            };
        }
        let begin = || if frame.compressed { Partial::compressed(data) } else { Partial::new(data) };
        let message = self.unfinished.get_or_insert_default().message.get_or_insert_with(begin);
        message.push(piece, frame, self.limits.message)?;
        if !ends {
            return Ok(None);
        }
        // A control frame has ended before the message does.
        let message = self.unfinished.take().and_then(|unfinished| unfinished.message);
        message.map(|message| message.finish(self.limits.message)).transpose()
    }
}

/// A whole message; `data` is the kind of its first frame.
fn incoming(data: Data, payload: &[u8]) -> Result<Incoming<'_>, ProtocolError> {
    match data {
        Data::Text => match simdutf8::basic::from_utf8(payload) {
            Ok(text) => Ok(Incoming::Text(Cow::Borrowed(text))),
            Err(_) => Err(ProtocolError::InvalidUtf8),
        },
        _ => Ok(Incoming::Binary(Cow::Borrowed(payload))),
    }
}

/// Messages up to this many bytes are borrowed where they lie whole in the input. Of a larger one a copy is made at
/// once, by which it passes the processor's caches one time less than if it were copied afterwards.
const LARGE: usize = 16 * 1024;

/// The body of a close frame (RFC 6455 §5.5.1): nothing, or a code and a reason.
fn close_frame(body: &[u8]) -> Result<CloseFrame, ProtocolError> {
    match body {
        [] => Ok(CloseFrame::empty()),
        [_] => Err(ProtocolError::CloseBody),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !close::may_be_sent(code) {
                return Err(ProtocolError::CloseCode(code));
            }
            let reason = str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
            Ok(CloseFrame::new(CloseCode::from(code), reason))
        }
    }
}

/// Takes `len` bytes off the front of `input`.
fn take<'a>(input: &mut &'a mut [u8], len: usize) -> &'a mut [u8] {
    let (front, rest) = mem::take(input).split_at_mut(len);
    *input = rest;
    front
}

#[cfg(test)]
mod tests;
