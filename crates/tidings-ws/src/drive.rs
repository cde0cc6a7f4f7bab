//! The coat around the machines: owns the connection's stream and its timer.

use crate::{
    buffer,
    close::{CLOSE_TIMEOUT, CloseFrame, Closing, Phase},
    decode::{Decoder, Incoming, Limits, Role},
    frame::{put_close, put_ping, put_pong},
};
use bytes::{Buf, Bytes, BytesMut};
use std::{
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
    /// Commands that were read and that the session has not taken yet; nothing more is read meanwhile.
    commands: VecDeque<Result<Command, CommandError>>,
    /// What was read behind them, not yet decoded: at most one read.
    unread: Vec<u8>,
    /// The peer has said its last word. What it asked for before that is still done.
    leaving: Option<Leaving>,
    heartbeat: Duration,
    idle: Duration,
    /// When the peer last sent anything, or had no chance to because we did not read.
    seen: Instant,
    /// Since when the peer has taken nothing of what waits to be written.
    stuck: Option<Instant>,
    pinged: bool,
    timer: Pin<Box<Sleep>>,
    /// What was discarded while lingering.
    discarded: usize,
    shut: bool,
}

/// How the peer leaves, and until when it is waited for what it has asked for.
struct Leaving {
    /// Its close frame; none if it only ended its half of the stream.
    frame: Option<CloseFrame>,
    deadline: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(io: S, session: Session, limits: &tidings_core::Limits, deflate: bool) -> Self {
        let now = Instant::now();
        Self {
            io,
            session,
            decoder: Decoder::new(Role::Server, Limits::new(limits.message, limits.message)).deflate(deflate),
            closing: Closing::new(),
            batch: Batch::new(limits.batch),
            out: VecDeque::new(),
            commands: VecDeque::new(),
            unread: Vec::new(),
            leaving: None,
            heartbeat: limits.heartbeat,
            idle: limits.idle,
            seen: now,
            stuck: None,
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
            progress |= self.leave();
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
                Poll::Pending => {
                    self.stuck.get_or_insert_with(Instant::now);
                    return Ok(progress);
                }
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
        self.stuck = None;
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

    /// Whether nothing is read now: a client that sends faster than its commands are done, or that does not take
    /// its answers, waits.
    fn is_held_up(&self) -> bool {
        self.closing.phase() == Phase::Open
            && (!self.commands.is_empty()
                || !self.session.is_idle()
                || self.out.len() > ANSWERS
                || self.leaving.is_some())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.is_held_up() {
            return Ok(false);
        }
        if !self.unread.is_empty() {
            let mut unread = std::mem::take(&mut self.unread);
            self.take(&mut unread);
            return Ok(true);
        }
        buffer::lend(|buffer| {
            let mut read = ReadBuf::new(buffer);
            match Pin::new(&mut self.io).poll_read(cx, &mut read) {
                Poll::Pending => Ok(false),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) => {
                    let read = read.filled_mut();
                    if !read.is_empty() {
                        self.take(read);
                    } else if self.closing.phase() == Phase::Open {
                        self.begin_to_leave(None);
                    } else {
                        self.closing.ended();
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
        self.seen = Instant::now();
        self.pinged = false;
        let mut pong = None;
        while self.commands.len() < COMMANDS && self.leaving.is_none() {
            match self.decoder.decode(&mut read) {
                // After our own close frame nothing is answered any more.
                Ok(Some(Incoming::Text(_) | Incoming::Binary(_))) if self.closing.phase() != Phase::Open => {}
                Ok(Some(Incoming::Text(text))) => self.commands.push_back(Command::parse(text.as_bytes())),
                Ok(Some(Incoming::Binary(_))) => self.commands.push_back(Err(CommandError::binary())),
                // Only the last of several needs an answer (RFC 6455 §5.5.3).
                Ok(Some(Incoming::Ping(payload))) => pong = Some(payload.into_owned()),
                Ok(Some(Incoming::Pong(_))) => {}
                Ok(Some(Incoming::Close(frame))) => self.begin_to_leave(Some(frame)),
                Ok(None) => {
                    read = &mut [];
                    break;
                }
                Err(error) => {
                    self.commands.clear();
                    if let Some(frame) = self.closing.fail(self.seen.into_std(), &error) {
                        self.put_close(&frame);
                    }
                    return;
                }
            }
        }
        if self.leaving.is_none() {
            self.unread = read.to_vec();
        }
        if let (Some(payload), Phase::Open) = (pong, self.closing.phase()) {
            let mut frame = BytesMut::new();
            put_pong(&payload, None, &mut frame);
            self.out.push_back(frame.freeze());
        }
    }

    /// The peer sends nothing any more. Whoever publishes and closes at once means both.
    fn begin_to_leave(&mut self, frame: Option<CloseFrame>) {
        self.leaving.get_or_insert_with(|| Leaving { frame, deadline: Instant::now() + CLOSE_TIMEOUT });
    }

    /// Lets a peer go once what it asked for is done, or has taken too long. Answers may go out before our close
    /// frame (RFC 6455 §5.5.1).
    fn leave(&mut self) -> bool {
        let done =
            self.closing.phase() != Phase::Open || (self.commands.is_empty() && self.session.is_idle());
        let Some(leaving) = self.leaving.take_if(|leaving| done || leaving.deadline <= Instant::now()) else {
            return false;
        };
        match leaving.frame {
            None => self.closing.ended(),
            Some(frame) => {
                if let Some(echo) = self.closing.receive(Instant::now().into_std(), &frame) {
                    self.put_close(&echo);
                }
            }
        }
        true
    }

    fn close(&mut self, reason: CloseReason) {
        if self.closing.close(Instant::now().into_std()) {
            let code = match reason {
                CloseReason::Drain => CloseCode::Restart,
                CloseReason::Slow => CloseCode::Again,
                CloseReason::Expired => CloseCode::Policy,
                _ => CloseCode::Away,
            };
            self.put_close(&CloseFrame::new(code, reason.to_string()));
        }
    }

    fn put_close(&mut self, frame: &CloseFrame) {
        let mut out = BytesMut::new();
        put_close(frame.code, &frame.reason, None, &mut out);
        self.out.push_back(out.freeze());
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        if self.timer.as_mut().poll(cx).is_pending() {
            // A close may be due sooner than the next heartbeat.
            match self.deadline().filter(|deadline| *deadline < self.timer.deadline()) {
                Some(deadline) => self.timer.as_mut().reset(deadline),
                None => return false,
            }
            return true;
        }
        let now = Instant::now();
        self.closing.tick(now.into_std());
        if self.is_held_up() {
            // The silence is ours: whatever the peer has sent waits to be read.
            self.seen = now;
        }
        let silent = now.saturating_duration_since(self.seen);
        let stuck = self.stuck.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if silent >= self.idle || stuck >= self.idle {
            // Gone without a word, or taking nothing; no close frame would reach it.
            self.closing.ended();
        }
        if silent >= self.heartbeat && !self.pinged && self.closing.phase() == Phase::Open {
            self.pinged = true;
            let mut out = BytesMut::new();
            put_ping(b"", None, &mut out);
            self.out.push_back(out.freeze());
        }
        let mut next = self.seen + if self.pinged { self.idle } else { self.heartbeat };
        next = self.stuck.map_or(next, |since| next.min(since + self.idle));
        next = self.deadline().map_or(next, |deadline| next.min(deadline));
        self.timer.as_mut().reset(next.max(now + TICK));
        true
    }

    /// When a close has taken too long.
    fn deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.deadline);
        leaving.or_else(|| self.closing.deadline().map(Instant::from_std))
    }
}

/// Slices of one write.
const SLICES: usize = 64;
/// Frames that may wait to be written before reading waits for them.
const ANSWERS: usize = 64;
/// Commands decoded at once; the rest of a read waits as bytes, which take less.
const COMMANDS: usize = 64;
/// What is read and thrown away while a peer takes our close frame.
const DISCARD: usize = 64 << 10;
/// The least time between two looks at the clock.
const TICK: Duration = Duration::from_millis(1);
