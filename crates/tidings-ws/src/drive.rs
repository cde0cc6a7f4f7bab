//! The coat around the machines: owns the connection's stream and its timer.

use crate::{
    close::{CLOSE_TIMEOUT, CloseFrame, Closing, Phase},
    decode::{Decoder, Incoming, Limits, ProtocolError, Role},
    frame::{put_close, put_ping, put_pong},
    stream::Io,
};
use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tidings_core::{Alarm, Batch, CloseReason, Command, CommandError, Hub, Session, Step};
use tidings_http::{Outgoing, lend_buffer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tungstenite::protocol::frame::coding::CloseCode;

/// One WebSocket: its stream, its session, and the machines between them. While nothing happens it holds no buffer
/// and no timer.
pub(crate) struct Connection {
    io: Io,
    session: Session,
    decoder: Decoder,
    closing: Closing,
    /// Bytes that a batch may have.
    batch: usize,
    /// Filled from the session only when empty, so it is bounded by a batch and the answers to a read.
    out: Outgoing,
    /// Commands that were read and that the session has not taken yet, with the length of each.
    commands: VecDeque<(Result<Command, CommandError>, usize)>,
    /// Bytes of the commands.
    waiting: usize,
    /// The session was given something, and was not asked for the answer since.
    unanswered: bool,
    /// What was read behind the commands, not yet decoded: at most one read.
    unread: Vec<u8>,
    /// The peer has said its last word. What it asked for before that is still done.
    leaving: Option<Box<Leaving>>,
    /// How long the peer may be silent before it is asked whether it is there, and before it is given up; in ticks
    /// of the wheel, as are the times below.
    heartbeat: u64,
    idle: u64,
    alarm: Alarm,
    /// When the peer last sent anything, or had no chance to because we did not read.
    seen: u64,
    /// Since when the peer has taken nothing of what waits to be written.
    stuck: Option<u64>,
    pinged: bool,
    /// Until when a peer that took nothing, as the session was to end, has to have taken everything.
    ending: Option<Instant>,
    /// There since the end began, which has a time of its own.
    timer: Option<Pin<Box<Sleep>>>,
    /// What was discarded while lingering.
    discarded: usize,
    /// The peer has ended its half of the stream, behind its close frame or its fault.
    deserted: bool,
    shut: bool,
}

/// How the peer leaves, and until when it is waited for what it has asked for.
struct Leaving {
    word: LastWord,
    deadline: Instant,
}

/// The last that came of a peer.
enum LastWord {
    /// It ended its half of the stream.
    Nothing,
    Close(CloseFrame),
    /// What came broke a rule, and so nothing counts that follows it.
    Wrong(ProtocolError),
}

impl Connection {
    /// A connection of which `read` was read already.
    pub(crate) fn new(io: Io, read: &[u8], session: Session, hub: &Hub, deflate: bool) -> Self {
        let (limits, wheel) = (hub.limits(), hub.wheel());
        Self {
            io,
            session,
            decoder: Decoder::new(Role::Server, Limits::new(limits.message, limits.message)).deflate(deflate),
            closing: Closing::new(),
            batch: limits.batch,
            out: Outgoing::default(),
            commands: VecDeque::new(),
            waiting: 0,
            unanswered: false,
            unread: read.to_vec(),
            leaving: None,
            heartbeat: wheel.ticks(limits.heartbeat),
            idle: wheel.ticks(limits.idle),
            alarm: wheel.alarm(),
            seen: wheel.now(),
            stuck: None,
            pinged: false,
            ending: None,
            timer: None,
            discarded: 0,
            deserted: false,
            shut: false,
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let cut = self.session.take_back();
        if !cut.is_empty() {
            self.out.push(cut);
        }
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
            progress |= self.poll_end(cx);
            progress |= self.poll_silence(cx);
            if self.closing.phase() == Phase::Done {
                return Poll::Ready(());
            }
            if !progress {
                self.lend();
                return Poll::Pending;
            }
        }
    }

    /// Lets the hub write while there is nothing else to do.
    fn lend(&mut self) {
        let idle = self.closing.phase() == Phase::Open && self.out.is_empty() && self.leaving.is_none();
        if let (true, Some(outlet)) = (idle, self.io.outlet()) {
            self.session.lend(outlet);
        }
    }

    fn give_commands(&mut self) -> bool {
        let before = self.commands.len();
        while self.session.is_idle() {
            let Some((command, len)) = self.commands.pop_front() else { break };
            self.waiting -= len;
            self.unanswered = true;
            match command {
                Ok(command) => self.session.receive(command),
                Err(error) => self.session.refuse(error),
            }
        }
        if self.commands.is_empty() {
            self.commands = VecDeque::new();
        }
        self.commands.len() < before
    }

    /// Writes what there is, and asks the session for more when that is gone.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut progress = false;
        loop {
            if self.out.is_empty() && self.closing.phase() == Phase::Open {
                self.unanswered = false;
                let mut batch = Batch::new(self.batch);
                match self.session.poll_batch(cx, &mut batch) {
                    Poll::Ready(Step::Some) => batch.parts().drain(..).for_each(|part| self.out.push(part)),
                    Poll::Ready(Step::End(reason)) => self.close(reason),
                    Poll::Pending => {}
                }
            }
            if self.out.is_empty() {
                return self.poll_flushed(cx).map(|()| progress);
            }
            match self.out.poll_write(cx, Pin::new(&mut self.io)) {
                Poll::Ready(written) => written?,
                Poll::Pending => {
                    self.stuck.get_or_insert_with(|| self.alarm.wheel().now());
                    if self.closing.phase() == Phase::Open && self.session.poll_closing(cx).is_ready() {
                        self.ending.get_or_insert_with(|| Instant::now() + CLOSE_TIMEOUT);
                    }
                    return Ok(progress);
                }
            }
            self.stuck = None;
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

    /// Whether nothing is read now: a client that sends faster than its commands are done, or that does not take
    /// its answers, waits.
    fn is_held_up(&self) -> bool {
        self.closing.phase() == Phase::Open
            && (self.is_full() || self.out.len() > ANSWERS || self.leaving.is_some())
    }

    /// Whether as many commands wait as may.
    fn is_full(&self) -> bool {
        self.commands.len() >= COMMANDS || self.waiting >= WAITING
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.is_held_up() {
            return Ok(false);
        }
        if self.deserted {
            // The writing before this has seen to the wake-up.
            let ends = !self.has_last_word();
            if ends {
                self.closing.ended();
            }
            return Ok(ends);
        }
        if !self.unread.is_empty() {
            let mut unread = std::mem::take(&mut self.unread);
            self.take(&mut unread);
            return Ok(true);
        }
        lend_buffer(|buffer| {
            let mut read = ReadBuf::new(buffer);
            match Pin::new(&mut self.io).poll_read(cx, &mut read) {
                Poll::Pending => Ok(false),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) => {
                    let read = read.filled_mut();
                    if !read.is_empty() {
                        self.take(read);
                    } else if self.closing.phase() == Phase::Open {
                        self.begin_to_leave(LastWord::Nothing);
                    } else if self.has_last_word() {
                        self.deserted = true;
                    } else {
                        self.closing.ended();
                    }
                    Ok(true)
                }
            }
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

    /// Takes what was read. The decoder keeps what is not finished.
    fn take(&mut self, mut read: &mut [u8]) {
        if matches!(self.closing.phase(), Phase::Flushing | Phase::Lingering) {
            self.discarded += read.len();
            if self.discarded > DISCARD {
                self.closing.ended();
            }
            return;
        }
        self.seen = self.alarm.wheel().now();
        self.pinged = false;
        let mut pong = None;
        while !self.is_full() && self.leaving.is_none() {
            match self.decoder.decode(&mut read) {
                // After our own close frame nothing is answered any more.
                Ok(Some(Incoming::Text(_) | Incoming::Binary(_))) if self.closing.phase() != Phase::Open => {}
                Ok(Some(Incoming::Text(text))) => self.queue(Command::parse(text.as_bytes()), text.len()),
                Ok(Some(Incoming::Binary(_))) => self.queue(Err(CommandError::binary()), 0),
                // Only the last of several needs an answer (RFC 6455 §5.5.3).
                Ok(Some(Incoming::Ping(payload))) => pong = Some(payload.into_owned()),
                Ok(Some(Incoming::Pong(_))) => {}
                Ok(Some(Incoming::Close(frame))) => self.begin_to_leave(LastWord::Close(frame)),
                Ok(None) => {
                    read = &mut [];
                    break;
                }
                // What came before it was right, and is done.
                Err(error) => self.begin_to_leave(LastWord::Wrong(error)),
            }
        }
        if self.leaving.is_none() {
            self.unread = read.to_vec();
        }
        if let (Some(payload), Phase::Open) = (pong, self.closing.phase()) {
            self.out.write(|out| put_pong(&payload, None, out));
        }
    }

    fn queue(&mut self, command: Result<Command, CommandError>, len: usize) {
        self.waiting += len;
        self.commands.push_back((command, len));
    }

    /// What waits will not be done any more.
    fn drop_commands(&mut self) {
        self.commands = VecDeque::new();
        self.waiting = 0;
    }

    /// The peer sends nothing any more. Whoever publishes and closes at once means both.
    fn begin_to_leave(&mut self, word: LastWord) {
        self.leaving
            .get_or_insert_with(|| Box::new(Leaving { word, deadline: Instant::now() + CLOSE_TIMEOUT }));
    }

    /// Lets a peer go once what it asked for is done and answered, or has taken too long. Answers may go out before
    /// our close frame (RFC 6455 §5.5.1).
    fn leave(&mut self) -> bool {
        let done = self.closing.phase() != Phase::Open
            || (self.commands.is_empty() && self.session.is_idle() && !self.unanswered);
        // Who only ends its half of the stream may still read the rest.
        let written = self.out.is_empty();
        let Some(leaving) = self.leaving.take_if(|leaving| {
            let waits = matches!(leaving.word, LastWord::Nothing) && !written;
            (done && !waits) || leaving.deadline <= Instant::now()
        }) else {
            return false;
        };
        let now = Instant::now().into_std();
        let answer = match leaving.word {
            LastWord::Nothing => {
                self.closing.ended();
                None
            }
            LastWord::Close(frame) => self.closing.receive(now, &frame),
            LastWord::Wrong(error) => {
                self.drop_commands();
                self.closing.fail(now, &error)
            }
        };
        if let Some(frame) = answer {
            self.put_close(&frame);
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
            self.drop_commands();
        }
    }

    fn put_close(&mut self, frame: &CloseFrame) {
        self.out.write(|out| put_close(frame.code, &frame.reason, None, out));
    }

    /// Ends what has taken too long to end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> bool {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.deadline);
        let deadlines = [leaving, self.closing.deadline().map(Instant::from_std), self.ending];
        let Some(deadline) = deadlines.into_iter().flatten().min() else {
            return false;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        if self.ending == Some(deadline) {
            self.closing.ended();
        }
        self.closing.tick(deadline.into_std());
        true
    }

    /// Asks a silent peer whether it is there, and gives up one that does not answer or takes nothing.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> bool {
        if self.closing.phase() == Phase::Done {
            return false;
        }
        if self.is_held_up() {
            // The silence is ours: whatever the peer has sent waits to be read.
            self.seen = self.alarm.wheel().now();
        }
        let asks = !self.pinged && self.closing.phase() == Phase::Open;
        let next = self.seen + if asks { self.heartbeat } else { self.idle };
        let next = self.stuck.map_or(next, |since| next.min(since + self.idle));
        if self.alarm.poll(cx, next).is_pending() {
            return false;
        }
        let now = self.alarm.wheel().now();
        let silent = !asks && now >= self.seen + self.idle;
        if silent || self.stuck.is_some_and(|since| now >= since + self.idle) {
            // Gone without a word, or taking nothing; no close frame would reach it.
            self.closing.ended();
        } else {
            // It has the time to answer from here on: if this node was stopped for a while, its peers are not to blame.
            self.seen = self.seen.max(now.saturating_sub(self.heartbeat));
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

/// Bytes that may wait to be written before reading waits for them.
const ANSWERS: usize = 16 << 10;
/// Commands that may wait for the one under way, so that what comes behind them, such as the answer to a ping, is
/// heard.
const COMMANDS: usize = 64;
/// Bytes of such commands, passed by at most one.
const WAITING: usize = 64 << 10;
/// What is read and thrown away while a peer takes our close frame, for at most as long as a close may take. Closed
/// with bytes unread, the connection is reset, and who sends a large message never sees why it is refused.
const DISCARD: usize = 16 << 20;

#[cfg(test)]
mod tests;
