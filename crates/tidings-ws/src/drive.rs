//! The coat around the machines: owns the connection's stream and its timer.

use crate::{
    close::{CloseFrame, Closing, Phase},
    decode::{Decoder, Incoming, Limits, Role},
    frame::{put_close, put_ping, put_pong},
};
use bytes::{Buf, Bytes, BytesMut};
use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tidings_core::{Batch, CloseReason, Command, CommandError, Session, Step};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tungstenite::protocol::frame::coding::CloseCode;

/// One WebSocket: its stream, its session, and the machines between them.
pub(crate) struct Connection<S> {
    io: S,
    session: Session,
    decoder: Decoder,
    closing: Closing,
    batch: Batch,
    /// Frames on their way out. Filled from the session only when empty, so it is bounded by a batch and one
    /// answer to what was read last.
    out: VecDeque<Bytes>,
    /// Commands of the last read that the session has not taken yet; nothing more is read meanwhile.
    commands: VecDeque<Result<Command, CommandError>>,
    heartbeat: Duration,
    idle: Duration,
    /// When the peer last sent anything.
    seen: Instant,
    pinged: bool,
    timer: Pin<Box<Sleep>>,
    /// What was discarded while lingering.
    discarded: usize,
    shut: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(io: S, session: Session, limits: &tidings_core::Limits) -> Self {
        let now = Instant::now();
        Self {
            io,
            session,
            decoder: Decoder::new(Role::Server, Limits::new(limits.message, limits.message)),
            closing: Closing::new(),
            batch: Batch::new(limits.batch),
            out: VecDeque::new(),
            commands: VecDeque::new(),
            heartbeat: limits.heartbeat,
            idle: limits.idle,
            seen: now,
            pinged: false,
            timer: Box::pin(sleep_until(now + limits.heartbeat)),
            discarded: 0,
            shut: false,
        }
    }

    /// Runs the connection to its end. Dropping the future drops the connection and ends the session.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut progress = self.give_commands();
            match self.poll_write(cx) {
                Ok(wrote) => progress |= wrote,
                Err(_) => self.closing.ended(),
            }
            match self.poll_read(cx) {
                Ok(read) => progress |= read,
                Err(_) => self.closing.ended(),
            }
            progress |= self.poll_timer(cx);
            if self.closing.phase() == Phase::Done {
                return Poll::Ready(());
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    fn give_commands(&mut self) -> bool {
        let before = self.commands.len();
        while self.session.is_idle() {
            match self.commands.pop_front() {
                Some(Ok(command)) => self.session.receive(command),
                Some(Err(error)) => self.session.refuse(error),
                None => break,
            }
        }
        self.commands.len() < before
    }

    /// Writes what there is, and asks the session for more when that is gone.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut progress = false;
        loop {
            if self.out.is_empty() && self.closing.phase() == Phase::Open {
                match self.session.poll_batch(cx, &mut self.batch) {
                    Poll::Ready(Step::Some) => self.out.append(self.batch.parts()),
                    Poll::Ready(Step::End(reason)) => self.close(reason),
                    Poll::Pending => {}
                }
            }
            if self.out.is_empty() {
                return self.poll_flushed(cx).map(|()| progress);
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.out.len().min(SLICES);
            for (slice, part) in slices.iter_mut().zip(&self.out) {
                *slice = IoSlice::new(part);
            }
            match Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => self.advance(written),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(progress),
            }
            progress = true;
        }
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Poll::Ready(flushed) = Pin::new(&mut self.io).poll_flush(cx) {
            flushed?;
            self.closing.flushed();
        }
        if self.closing.phase() == Phase::Lingering
            && !self.shut
            && let Poll::Ready(shut) = Pin::new(&mut self.io).poll_shutdown(cx)
        {
            shut?;
            self.shut = true;
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while written > 0
            && let Some(part) = self.out.front_mut()
        {
            let step = written.min(part.len());
            part.advance(step);
            written -= step;
            if part.is_empty() {
                self.out.pop_front();
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        // A client that sends faster than its commands are done, or that does not take its answers, waits.
        let held_up = !self.commands.is_empty() || !self.session.is_idle() || self.out.len() > ANSWERS;
        if self.closing.phase() == Phase::Open && held_up {
            return Ok(false);
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            match Pin::new(&mut self.io).poll_read(cx, &mut read) {
                Poll::Pending => Ok(false),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) => {
                    let read = read.filled_mut();
                    if read.is_empty() {
                        self.closing.ended();
                    } else {
                        self.take(read);
                    }
                    Ok(true)
                }
            }
        })
    }

    /// Takes what was read. The decoder keeps what is not finished.
    fn take(&mut self, mut read: &mut [u8]) {
        if matches!(self.closing.phase(), Phase::Flushing | Phase::Lingering) {
            self.discarded += read.len();
            if self.discarded > DISCARD {
                self.closing.ended();
            }
            return;
        }
        let now = Instant::now();
        self.seen = now;
        self.pinged = false;
        let mut out = BytesMut::new();
        let mut pong = None;
        loop {
            match self.decoder.decode(&mut read) {
                Ok(Some(Incoming::Text(text))) => self.commands.push_back(Command::parse(text.as_bytes())),
                Ok(Some(Incoming::Binary(_))) => self.commands.push_back(Err(CommandError::binary())),
                // Only the last of several needs an answer (RFC 6455 §5.5.3).
                Ok(Some(Incoming::Ping(payload))) => pong = Some(payload.into_owned()),
                Ok(Some(Incoming::Pong(_))) => {}
                Ok(Some(Incoming::Close(frame))) => {
                    if let Some(echo) = self.closing.receive(now.into_std(), &frame) {
                        put(&echo, &mut out);
                    }
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    if let Some(frame) = self.closing.fail(now.into_std(), &error) {
                        put(&frame, &mut out);
                    }
                    break;
                }
            }
        }
        if let Some(payload) = pong
            && self.closing.phase() == Phase::Open
        {
            let mut frame = BytesMut::new();
            put_pong(&payload, None, &mut frame);
            self.out.push_back(frame.freeze());
        }
        if !out.is_empty() {
            // A command that came with the close frame has nobody to answer to.
            self.commands.clear();
            self.out.push_back(out.freeze());
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if self.closing.close(Instant::now().into_std()) {
            let code = match reason {
                CloseReason::Drain => CloseCode::Restart,
                CloseReason::Slow => CloseCode::Again,
                CloseReason::Expired => CloseCode::Policy,
                _ => CloseCode::Away,
            };
            let mut out = BytesMut::new();
            put(&CloseFrame::new(code, reason.to_string()), &mut out);
            self.out.push_back(out.freeze());
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        if self.timer.as_mut().poll(cx).is_pending() {
            let deadline = self.closing.deadline().map(Instant::from_std);
            // Set when the close began, which may be sooner than the next heartbeat.
            if let Some(deadline) = deadline.filter(|deadline| *deadline < self.timer.deadline()) {
                self.timer.as_mut().reset(deadline);
                return true;
            }
            return false;
        }
        let now = Instant::now();
        self.closing.tick(now.into_std());
        let silent = now.saturating_duration_since(self.seen);
        if silent >= self.idle {
            // Gone without a word; nothing that we could send would reach it.
            self.closing.ended();
        }
        if silent >= self.heartbeat && !self.pinged && self.closing.phase() == Phase::Open {
            self.pinged = true;
            let mut out = BytesMut::new();
            put_ping(b"", None, &mut out);
            self.out.push_back(out.freeze());
        }
        let due = self.seen + if self.pinged { self.idle } else { self.heartbeat };
        let next = self.closing.deadline().map_or(due, |deadline| due.min(Instant::from_std(deadline)));
        self.timer.as_mut().reset(next.max(now + TICK));
        true
    }
}

fn put(frame: &CloseFrame, out: &mut BytesMut) {
    put_close(frame.code, &frame.reason, None, out);
}

thread_local! {
    /// One read buffer a thread: an idle connection holds none.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 << 10]);
}

/// Slices of one write.
const SLICES: usize = 64;
/// Frames that may wait to be written before reading waits for them.
const ANSWERS: usize = 64;
/// What is read and thrown away while a peer takes our close frame.
const DISCARD: usize = 64 << 10;
/// The least time between two looks at the clock.
const TICK: Duration = Duration::from_millis(1);
