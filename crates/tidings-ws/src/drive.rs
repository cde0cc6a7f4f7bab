//! The coat around the machines: owns the connection's stream and its timer.

mod ending;
mod inbox;

use self::{
    ending::{Ending, LastWord},
    inbox::Inbox,
};
use crate::{
    close::{CloseFrame, Phase},
    decode::{Decoder, Incoming, Limits, Role},
    frame::{put_close, put_ping, put_pong},
    stream::Io,
};
use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tidings_core::{Alarm, Batch, CloseReason, Command, CommandError, Hub, Session, Step};
use tidings_http::{Outgoing, lend_buffer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};
use tungstenite::protocol::frame::coding::CloseCode;

/// One WebSocket: its stream, its session, and the machines between them. While nothing happens it holds no buffer
/// and no timer, and what only a busy or an ending one needs is boxed: it is there when it is needed.
pub(crate) struct Connection {
    io: Io,
    session: Session,
    decoder: Decoder,
    /// Filled from the session only when empty, so it is bounded by a batch and the answers to a read.
    out: Outgoing,
    inbox: Inbox,
    /// There since the end began.
    ending: Option<Box<Ending>>,
    alarm: Alarm,
    /// When the peer last sent anything, or had no chance to because we did not read; in ticks of the wheel.
    seen: u64,
    pinged: bool,
    /// The session was given something, and was not asked for the answer since.
    unanswered: bool,
}

impl Connection {
    /// A connection of which `read` was read already.
    pub(crate) fn new(io: Io, read: &[u8], session: Session, hub: &Hub, deflate: bool) -> Self {
        let (limits, wheel) = (hub.limits(), hub.wheel());
        Self {
            io,
            session,
            decoder: Decoder::new(Role::Server, Limits::new(limits.message, limits.message)).deflate(deflate),
            out: Outgoing::default(),
            inbox: Inbox::new(read),
            ending: None,
            alarm: wheel.alarm(),
            seen: wheel.now(),
            pinged: false,
            unanswered: false,
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A session that is lent to a tray stays so for as long as there is nothing but what is in the tray.
        if self.io.tray().is_none() || self.ending.is_some() {
            self.take_back(cx);
        }
        for _ in 0..TURNS {
            let mut progress = self.give_commands();
            match self.poll_write(cx) {
                Ok(wrote) => progress |= wrote,
                Err(_) => self.end(),
            }
            match self.poll_read(cx) {
                Ok(read) => progress |= read,
                Err(_) => self.end(),
            }
            progress |= self.leave();
            progress |= self.ending.as_mut().is_some_and(|ending| ending.poll(cx));
            progress |= self.poll_silence(cx);
            if self.phase() == Phase::Done {
                return Poll::Ready(());
            }
            if !progress && !self.lend(cx) {
                return Poll::Pending;
            }
        }
        // There is always more, of which the runtime, that counts reads, would let through megabytes.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn phase(&self) -> Phase {
        self.ending.as_ref().map_or(Phase::Open, |ending| ending.closing.phase())
    }

    fn ending(&mut self) -> &mut Ending {
        self.ending.get_or_insert_default()
    }

    /// The connection broke, or is over.
    fn end(&mut self) {
        self.ending().closing.ended();
    }

    /// Lets the hub write while there is nothing else to do. Answers whether there is again.
    fn lend(&mut self, cx: &mut Context<'_>) -> bool {
        if self.session.is_lent() || self.ending.is_some() || !self.out.is_empty() {
            return false;
        }
        self.io.lend(&mut self.session);
        if self.session.is_lent() && self.io.tray().is_some() {
            // Something may be there already.
            self.gather(cx);
        }
        !self.out.is_empty()
    }

    /// Takes the session back from the hub, and what the hub has not finished or has left.
    fn take_back(&mut self, cx: &mut Context<'_>) {
        if self.session.is_lent() {
            self.out.push(self.session.take_back());
            self.take_left(cx);
        }
    }

    /// Takes what the hub has left in the tray. If there is nothing, the task is woken when there is.
    fn take_left(&mut self, cx: &mut Context<'_>) {
        let left = self.io.tray().and_then(|tray| tray.take(cx.waker()));
        self.out.push(left.unwrap_or_default());
    }

    /// Gives the session what waits for it.
    fn give_commands(&mut self) -> bool {
        let mut given = false;
        while self.session.is_idle() {
            let Some(command) = self.inbox.pop() else { break };
            self.give(command);
            given = true;
        }
        given
    }

    /// Gives the session a command; it must be idle.
    fn give(&mut self, command: Result<Command, CommandError>) {
        self.unanswered = true;
        match command {
            Ok(command) => self.session.receive(command),
            Err(error) => self.session.refuse(error),
        }
    }

    /// Writes what there is, and asks the session for more when that is gone.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut progress = false;
        loop {
            if self.out.is_empty() && self.phase() == Phase::Open {
                self.gather(cx);
            }
            if self.out.is_empty() {
                return self.poll_flushed(cx).map(|()| progress);
            }
            match self.out.poll_write(cx, Pin::new(&mut self.io)) {
                Poll::Ready(written) => written?,
                Poll::Pending => {
                    self.out.stall(self.alarm.wheel().now());
                    if self.phase() == Phase::Open && self.session.poll_closing(cx).is_ready() {
                        self.ending().lose_patience();
                    }
                    return Ok(progress);
                }
            }
            progress = true;
        }
    }

    /// Asks the session for what it has. Answers to commands that came together go out together.
    fn gather(&mut self, cx: &mut Context<'_>) {
        if self.session.is_lent() {
            // It is asked first: a tray that always has something must not keep from it that it is out of a room.
            if self.session.poll_call(cx).is_pending() {
                self.take_left(cx);
                return;
            }
            self.take_back(cx);
        }
        loop {
            self.unanswered = false;
            let mut batch = Batch::new(self.session.limits().batch);
            match self.session.poll_batch(cx, &mut batch) {
                Poll::Ready(Step::Some) => batch.parts().drain(..).for_each(|part| self.out.push(part)),
                Poll::Ready(Step::End(reason)) => return self.close(reason),
                Poll::Pending => {}
            }
            if self.out.len() > ANSWERS || !self.give_commands() {
                return;
            }
        }
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Poll::Ready(flushed) = Pin::new(&mut self.io).poll_flush(cx) {
            flushed?;
            self.ending.iter_mut().for_each(|ending| ending.closing.flushed());
        }
        if let Some(ending) = self.ending.as_mut().filter(|ending| ending.is_to_shut())
            && let Poll::Ready(shut) = Pin::new(&mut self.io).poll_shutdown(cx)
        {
            shut?;
            ending.shut = true;
        }
        Ok(())
    }

    /// Whether nothing is read now: a client that sends faster than its commands are done, or that does not take
    /// its answers, waits.
    fn is_held_up(&self) -> bool {
        self.phase() == Phase::Open && (self.inbox.is_full() || self.out.len() > ANSWERS || self.is_leaving())
    }

    /// Whether the peer has said its last word.
    fn is_leaving(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.leaving.is_some())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.is_held_up() {
            return Ok(false);
        }
        if let Some(ending) = self.ending.as_mut().filter(|ending| ending.deserted) {
            // The writing before this has seen to the wake-up.
            let ends = !ending.has_last_word();
            if ends {
                ending.closing.ended();
            }
            return Ok(ends);
        }
        if let Some(mut unread) = self.inbox.take_unread() {
            self.take(&mut unread);
            return Ok(true);
        }
        lend_buffer(|buffer| {
            let mut read = ReadBuf::new(buffer);
            match Pin::new(&mut self.io).poll_read(cx, &mut read) {
                Poll::Pending => Ok(false),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) => {
                    // What it is answered comes after what was left.
                    self.take_back(cx);
                    let read = read.filled_mut();
                    if !read.is_empty() {
                        self.take(read);
                    } else {
                        self.ending().desert();
                    }
                    Ok(true)
                }
            }
        })
    }

    /// Takes what was read. The decoder keeps what is not finished.
    fn take(&mut self, mut read: &mut [u8]) {
        if matches!(self.phase(), Phase::Flushing | Phase::Lingering) {
            self.ending().discard(read.len());
            return;
        }
        let (mut pong, mut whole) = (None, false);
        while !self.inbox.is_full() && !self.is_leaving() {
            match self.decoder.decode(&mut read) {
                // After our own close frame nothing is answered any more.
                Ok(Some(Incoming::Text(_) | Incoming::Binary(_))) if self.phase() != Phase::Open => {}
                Ok(Some(Incoming::Text(text))) => {
                    whole = true;
                    self.receive(Command::parse(text.as_bytes()), text.len());
                }
                Ok(Some(Incoming::Binary(_))) => {
                    whole = true;
                    self.receive(Err(CommandError::binary()), 0);
                }
                // Only the last of several needs an answer (RFC 6455 §5.5.3).
                Ok(Some(Incoming::Ping(payload))) => pong = Some(payload.into_owned()),
                Ok(Some(Incoming::Pong(_))) => {}
                Ok(Some(Incoming::Close(frame))) => self.ending().leave(LastWord::Close(frame)),
                Ok(None) => {
                    read = &mut [];
                    break;
                }
                // What came before it was right, and is done.
                Err(error) => self.ending().leave(LastWord::Wrong(error)),
            }
        }
        // A close has a time of its own.
        if whole || self.decoder.held() <= UNFINISHED || self.phase() != Phase::Open {
            self.seen = self.alarm.wheel().now();
            self.pinged = false;
        }
        if !self.is_leaving() {
            self.inbox.keep(read);
        }
        if let (Some(payload), Phase::Open) = (pong, self.phase()) {
            self.out.write(|out| put_pong(&payload, None, out));
        }
    }

    /// Takes a command: mostly the session can do it at once.
    fn receive(&mut self, command: Result<Command, CommandError>, len: usize) {
        if self.session.is_idle() && !self.inbox.has_commands() {
            self.give(command);
        } else {
            self.inbox.push(command, len);
        }
    }

    /// Lets a peer go once what it asked for is done and answered, or has taken too long. Answers may go out before
    /// our close frame (RFC 6455 §5.5.1).
    fn leave(&mut self) -> bool {
        let idle = !self.inbox.has_commands() && self.session.is_idle() && !self.unanswered;
        let done = idle || self.phase() != Phase::Open;
        // Who only ends its half of the stream may still read the rest.
        let written = self.out.is_empty();
        let Some(ending) = &mut self.ending else { return false };
        let Some(leaving) = ending.leaving.take_if(|leaving| {
            let waits = matches!(leaving.word, LastWord::Nothing) && !written;
            (done && !waits) || leaving.is_late()
        }) else {
            return false;
        };
        let now = Instant::now().into_std();
        let answer = match leaving.word {
            LastWord::Nothing => {
                ending.closing.ended();
                None
            }
            LastWord::Close(frame) => ending.closing.receive(now, &frame),
            LastWord::Wrong(error) => {
                self.inbox.drop_commands();
                ending.closing.fail(now, &error)
            }
        };
        if let Some(frame) = answer {
            self.put_close(&frame);
        }
        true
    }

    fn close(&mut self, reason: CloseReason) {
        let code = match reason {
            CloseReason::Drain => CloseCode::Restart,
            CloseReason::Slow => CloseCode::Again,
            CloseReason::Expired | CloseReason::Revoked | CloseReason::Rate => CloseCode::Policy,
            _ => CloseCode::Away,
        };
        self.begin_to_close(code, &reason.to_string());
    }

    fn begin_to_close(&mut self, code: CloseCode, reason: &str) {
        if self.ending().closing.close(Instant::now().into_std()) {
            self.put_close(&CloseFrame::new(code, reason));
            self.inbox.drop_commands();
        }
    }

    fn put_close(&mut self, frame: &CloseFrame) {
        self.out.write(|out| put_close(frame.code, &frame.reason, None, out));
    }

    /// Asks a silent peer whether it is there, and gives up one that does not answer or takes nothing.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> bool {
        let phase = self.phase();
        if phase == Phase::Done {
            return false;
        }
        if self.is_held_up() {
            // The silence is ours: whatever the peer has sent waits to be read.
            self.seen = self.alarm.wheel().now();
        }
        let (limits, wheel) = (self.session.limits(), self.alarm.wheel());
        let (heartbeat, idle) = (wheel.ticks(limits.heartbeat), wheel.ticks(limits.idle));
        let asks = !self.pinged && phase == Phase::Open;
        let next = self.seen + if asks { heartbeat } else { idle };
        let stalled = self.out.stalled();
        let next = stalled.map_or(next, |since| next.min(since + idle));
        if self.alarm.poll(cx, next).is_pending() {
            return false;
        }
        let now = self.alarm.wheel().now();
        let silent = !asks && now >= self.seen + idle;
        let stuck = stalled.is_some_and(|since| now >= since + idle);
        if stuck {
            self.session.note_stalled();
        }
        if silent && !stuck && phase == Phase::Open && self.decoder.held() > UNFINISHED {
            // It is there, and to learn that it is of no use to send the same again as slowly.
            self.seen = now;
            // What the hub has left goes out before the close frame, and nothing after it.
            self.take_back(cx);
            self.begin_to_close(CloseCode::Policy, "a message took too long to come");
        } else if silent || stuck {
            // Gone without a word, or taking nothing; no close frame would reach it.
            self.end();
        } else {
            // It has the time to answer from here on: if this node was stopped for a while, its peers are not to blame.
            self.seen = self.seen.max(now.saturating_sub(heartbeat));
            self.pinged = true;
            self.out.write(|out| put_ping(b"", None, out));
        }
        true
    }
}

/// Runs the connection to its end. Dropping it drops the stream and ends the session.
impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().step(cx)
    }
}

/// Bytes of a message that has begun and not ended, which may be held for as long as anything comes. Of more, only whole messages
/// are signs of life: else a mebibyte would be held for each peer that sends a byte of it now and then.
const UNFINISHED: usize = 16 << 10;
/// Bytes that may wait to be written before reading waits for them.
const ANSWERS: usize = 16 << 10;
/// Times that a peer is read from, or is done some of its commands, before others on the thread have their turn.
const TURNS: usize = 8;

#[cfg(test)]
mod tests;
