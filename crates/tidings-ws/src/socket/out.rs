//! Frames on their way out.

use super::Message;
use crate::{
    close::CloseFrame,
    decode::Role,
    frame::{put_binary, put_close, put_header, put_ping, put_pong, put_text},
};
use bytes::{Buf, Bytes, BytesMut};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncWrite;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// A queue of frames. Small ones are copied together; large payloads of a server are shared.
#[derive(Debug)]
pub(super) struct Out {
    role: Role,
    parts: VecDeque<Bytes>,
    /// What follows the parts.
    tail: BytesMut,
    len: usize,
}

impl Out {
    pub(super) fn new(role: Role) -> Self {
        Self { role, parts: VecDeque::new(), tail: BytesMut::new(), len: 0 }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn put(&mut self, message: Message) {
        match message {
            // A masked payload is a copy anyway.
            Message::Text(text) if self.role == Role::Server && text.len() >= SHARED => {
                self.share(Data::Text, text.into());
            }
            Message::Binary(payload) if self.role == Role::Server && payload.len() >= SHARED => {
                self.share(Data::Binary, payload);
            }
            Message::Text(text) => self.append(|mask, out| put_text(&text, mask, out)),
            Message::Binary(payload) => self.append(|mask, out| put_binary(&payload, mask, out)),
            Message::Ping(payload) => self.append(|mask, out| put_ping(&payload, mask, out)),
            Message::Pong(payload) => self.append(|mask, out| put_pong(&payload, mask, out)),
            Message::Close(CloseFrame { code, reason }) => {
                self.append(|mask, out| put_close(code, &reason, mask, out));
            }
        }
    }

    fn share(&mut self, data: Data, payload: Bytes) {
        self.append(|mask, out| put_header(OpCode::Data(data), true, payload.len(), mask, out));
        self.len += payload.len();
        self.parts.push_back(self.tail.split().freeze());
        self.parts.push_back(payload);
    }

    fn append(&mut self, put: impl FnOnce(Option<[u8; 4]>, &mut BytesMut)) {
        // A fresh key for each frame, which nobody can predict (RFC 6455 §5.3, §10.3).
        let mask = (self.role == Role::Client).then(rand::random);
        let before = self.tail.len();
        put(mask, &mut self.tail);
        self.len += self.tail.len() - before;
    }

    /// Writes some of what waits; there must be something.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        io: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slice, part) in
            slices.iter_mut().zip(self.parts.iter().map(|part| &part[..]).chain([&self.tail[..]]))
        {
            *slice = IoSlice::new(part);
            count += 1;
        }
        let written = ready!(io.poll_write_vectored(cx, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        self.len -= written;
        while let Some(part) = self.parts.front_mut() {
            let step = written.min(part.len());
            part.advance(step);
            written -= step;
            if !part.is_empty() {
                return;
            }
            self.parts.pop_front();
        }
        self.tail.advance(written);
        if self.len == 0 {
            // An idle connection holds no buffer.
            *self = Self::new(self.role);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.role);
    }
}

/// Payloads from this size on are not copied; below, one write of one buffer is cheaper.
const SHARED: usize = 4 << 10;
/// Slices of one write.
const SLICES: usize = 16;
