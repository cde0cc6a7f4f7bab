//! The steps of a [`Socket`]: what its two halves do in turn, over the machines.

use super::{Socket, SocketError, wakers::Half};
use crate::{
    close::{CloseFrame, Phase},
    decode::{ProtocolError, Role},
    frame::{put_close, put_compressed, put_header, put_message, put_ping, put_pong},
    message::Message,
};
use bytes::{Buf, Bytes, BytesMut};
use std::{
    future::Future,
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tidings_http::lend_buffer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};
use tungstenite::protocol::frame::coding::{Data, OpCode};

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Appends a message to what is to be written.
    pub(super) fn put(&mut self, message: Message) {
        // A fresh key for each frame, which nobody can predict (RFC 6455 §5.3, §10.3).
        let mask = (self.role == Role::Client).then(rand::random);
        match message {
            Message::Text(text) => self.put_data(Data::Text, text.into(), mask),
            Message::Binary(payload) => self.put_data(Data::Binary, payload, mask),
            Message::Ping(payload) => self.out.write(|out| put_ping(&payload, mask, out)),
            Message::Pong(payload) => self.out.write(|out| put_pong(&payload, mask, out)),
            Message::Close(CloseFrame { code, reason }) => {
                self.out.write(|out| put_close(code, &reason, mask, out));
            }
        }
    }

    fn put_data(&mut self, data: Data, payload: Bytes, mask: Option<[u8; 4]>) {
        let (opcode, len) = (OpCode::Data(data), payload.len());
        match self.window {
            Some(window) => self.out.write(|out| put_compressed(data, &payload, window, mask, out)),
            // A masked payload is a copy anyway.
            None if mask.is_none() && len >= SHARED => {
                self.out.write(|out| put_header(opcode, true, len, mask, out));
                self.out.push(payload);
            }
            None => self.out.write(|out| put_message(data, &payload, mask, out)),
        }
    }

    pub(super) fn begin_close(&mut self, frame: CloseFrame) {
        if self.closing.close(now()) {
            self.put(Message::Close(frame));
            self.stand_down();
        }
    }

    /// The close begins, which both halves have to know.
    fn stand_down(&mut self) {
        self.pong = None;
        self.wakers.wake();
    }

    /// Whether there is nothing to be done but to read, as mostly.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        self.closing.phase() == Phase::Open && self.out.is_empty() && self.pong.is_none() && !self.unflushed
    }

    /// The connection is gone.
    fn end(&mut self, failure: SocketError) {
        // Whoever closes wants the end, in whatever way it comes.
        if self.closing.phase() == Phase::Open {
            self.failure = Some(failure);
        }
        self.closing.ended();
        self.drop_rest();
        // Whoever flushes learns that it was in vain.
        self.unflushed |= !self.out.is_empty();
        self.out.clear();
        self.stand_down();
    }

    /// Writes and flushes everything, and shuts down the write half when all is said.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.out.len() < HIGH
                && let Some(payload) = self.pong.take()
            {
                self.put(Message::Pong(payload));
            }
            if self.out.is_empty() {
                break;
            }
            self.unflushed = true;
            ready!(self.out.poll_write(cx, Pin::new(&mut self.io)))?;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        self.closing.flushed();
        if self.closing.phase() == Phase::Lingering && !self.shut {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }

    /// As much of the writing as can be done now, on the reader's side.
    pub(super) fn write_on(&mut self, cx: &mut Context<'_>) {
        if self.closing.phase() != Phase::Done
            && let Poll::Ready(Err(error)) = self.poll_out(cx)
        {
            self.end(error.into());
        }
    }

    /// All of the writing, on the writer's side.
    pub(super) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        let shared = self.wakers.wait(Half::Writer, cx.waker());
        let cx = &mut Context::from_waker(shared.as_ref().unwrap_or(cx.waker()));
        self.poll_timer(cx);
        if self.closing.phase() == Phase::Done {
            // What was not written by then is dropped.
            return Poll::Ready(if self.unflushed { Err(SocketError::Closed) } else { Ok(()) });
        }
        let written = ready!(self.poll_out(cx));
        if written.is_err() {
            self.end(SocketError::Aborted);
        }
        Poll::Ready(written.map_err(SocketError::Io))
    }

    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) {
        let Some(deadline) = self.closing.deadline() else { return };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::from_std(deadline))));
        if timer.as_mut().poll(cx).is_ready() {
            self.end(SocketError::Aborted);
        }
    }

    /// What was read before is of no interest any more.
    fn drop_rest(&mut self) {
        self.ahead = None;
        self.rest = BytesMut::new();
    }

    /// The next message from what was read before.
    pub(super) fn next_at_hand(&mut self) -> Option<Message> {
        if let Some(ahead) = self.ahead.take() {
            return self.judge(ahead.map(Some));
        }
        let mut rest = mem::take(&mut self.rest);
        let mut input = &mut rest[..];
        let result = self.decoder.decode(&mut input).map(|incoming| incoming.map(Message::from));
        let left = input.len();
        if left > 0 {
            rest.advance(rest.len() - left);
            self.rest = rest;
        }
        self.judge(result)
    }

    /// Reads once. The first message is taken out of the shared buffer, what follows is kept.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if self.deserted {
            // The writing before this has seen to the wake-up.
            if self.has_last_word() {
                return Poll::Pending;
            }
            self.end(SocketError::Aborted);
            return Poll::Ready(None);
        }
        lend_buffer(|buffer| {
            let mut read = ReadBuf::new(buffer);
            if let Err(error) = ready!(Pin::new(&mut self.io).poll_read(cx, &mut read)) {
                self.end(error.into());
                return Poll::Ready(None);
            }
            let mut input = read.filled_mut();
            if input.is_empty() && self.has_last_word() {
                self.deserted = true;
            } else if input.is_empty() {
                self.end(SocketError::Aborted);
            } else if matches!(self.closing.phase(), Phase::Flushing | Phase::Lingering) {
                self.discarded += input.len();
                if self.discarded > DISCARD {
                    self.end(SocketError::Aborted);
                }
            } else {
                let result = self.decoder.decode(&mut input).map(|incoming| incoming.map(Message::from));
                if !input.is_empty() {
                    // Mostly the beginning of a large message, which the decoder keeps without another copy.
                    self.ahead =
                        self.decoder.decode(&mut input).map(|next| next.map(Message::from)).transpose();
                    self.rest.extend_from_slice(input);
                }
                return Poll::Ready(self.judge(result));
            }
            Poll::Ready(None)
        })
    }

    /// Whether nothing the peer sends matters any more, but it may still wait for what we have to say.
    fn has_last_word(&self) -> bool {
        match self.closing.phase() {
            Phase::Flushing => true,
            Phase::Lingering => !self.shut,
            _ => false,
        }
    }

    /// Sees to control frames and errors.
    fn judge(&mut self, result: Result<Option<Message>, ProtocolError>) -> Option<Message> {
        let answer = match &result {
            Ok(Some(Message::Ping(payload))) if self.closing.phase() == Phase::Open => {
                self.pong = Some(payload.clone());
                return result.ok().flatten();
            }
            Ok(Some(Message::Close(frame))) => self.closing.receive(now(), frame),
            Ok(_) => return result.ok().flatten(),
            Err(error) => self.closing.fail(now(), error),
        };
        if let Some(frame) = answer {
            self.put(Message::Close(frame));
        }
        self.drop_rest();
        self.stand_down();
        result.map_err(|error| self.failure = Some(error.into())).ok().flatten()
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Payloads from this size on are not copied; below, one write of one buffer is cheaper.
const SHARED: usize = 4 << 10;
/// Bytes that may wait to be written before senders wait.
pub(super) const HIGH: usize = 64 << 10;
/// What is read and thrown away while a peer takes our close frame, which it may do behind a large message.
const DISCARD: usize = 16 << 20;
