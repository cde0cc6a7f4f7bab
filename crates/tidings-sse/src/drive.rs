//! An event stream over HTTP/1.1 that has left hyper, or writes past a server which keeps the connection: writes chunks by
//! itself, and lends the connection to the hub while there is nothing else to do.

use crate::encode::{Life, put_chunk};
use bytes::Bytes;
use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tidings_core::{Alarm, Batch, Hub, Session, Step};
use tidings_http::{Outgoing, Tcp, lend_buffer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// One event stream on its connection.
pub(crate) struct Connection {
    tcp: Tcp,
    session: Session,
    /// Filled from the session only when empty.
    out: Outgoing,
    alarm: Alarm,
    life: &'static Life,
    /// When something was last written, in ticks of the wheel.
    quiet: u64,
    /// Bytes that the client has sent, which ask for nothing: on this connection nothing more is answered.
    discarded: usize,
    /// There since the last chunk is on its way, with the time that the client has to take it and go.
    ending: Option<Pin<Box<Sleep>>>,
    shut: bool,
    /// A server keeps the connection: it sees whether the client goes, and makes the end of the answer.
    kept: bool,
}

impl Connection {
    /// Begins with `opening`, which the client gets at once. The connection's head is written.
    pub(crate) fn new(tcp: Tcp, session: Session, hub: &Hub, opening: &[u8], life: &'static Life) -> Self {
        let mut this = Self::beside(tcp, session, hub.wheel().alarm(), life);
        this.kept = false;
        this.out.write(|out| put_chunk(opening, out));
        this
    }

    /// Goes on with an answer whose head and opening a server has written, which keeps the connection.
    pub(crate) fn beside(tcp: Tcp, session: Session, alarm: Alarm, life: &'static Life) -> Self {
        Self {
            tcp,
            session,
            out: Outgoing::default(),
            quiet: alarm.wheel().now(),
            alarm,
            life,
            discarded: 0,
            ending: None,
            shut: false,
            kept: true,
        }
    }

    /// Goes on until nothing more is to be written. If the client does not take it, the connection is ended.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ended = self.step(cx);
        if let Ok(Poll::Pending) = ended {
            return Poll::Pending;
        }
        if ended.is_err() || !self.out.is_empty() {
            self.tcp.abort();
        }
        Poll::Ready(())
    }

    /// Whoever keeps the connection may go on with it: then nothing of this comes behind. What is cut has no end that
    /// anybody could write.
    pub(crate) fn leave(&mut self) {
        if !self.session.take_back().is_empty() || !self.out.is_empty() {
            self.tcp.abort();
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        let cut = self.session.take_back();
        if !cut.is_empty() {
            self.out.push(cut);
        }
        loop {
            let mut progress = self.poll_write(cx)?;
            if self.kept && self.ending.is_some() && self.out.is_empty() {
                return Ok(Poll::Ready(()));
            }
            match self.poll_read(cx)? {
                Poll::Ready(0) => return Ok(Poll::Ready(())),
                Poll::Ready(_) => progress = true,
                Poll::Pending => {}
            }
            if let Some(ending) = &mut self.ending
                && ending.as_mut().poll(cx).is_ready()
            {
                return Ok(Poll::Ready(()));
            }
            progress |= self.poll_silence(cx)?;
            if !progress {
                break;
            }
        }
        if self.out.is_empty() && self.ending.is_none() {
            self.session.lend(self.tcp.outlet());
        }
        Ok(Poll::Pending)
    }

    /// Writes what there is, and asks the session for more when that is gone.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut progress = false;
        loop {
            if self.out.is_empty() && self.ending.is_none() {
                self.gather(cx);
            }
            if self.out.is_empty() {
                if self.ending.is_some() && !self.shut && !self.kept {
                    self.shut = true;
                    // It may be shut already, by the client's doing.
                    let _ = Pin::new(&mut self.tcp).poll_shutdown(cx);
                }
                return Ok(progress);
            }
            match self.out.poll_write(cx, Pin::new(&mut self.tcp)) {
                Poll::Ready(written) => written?,
                Poll::Pending => {
                    self.out.stall(self.alarm.wheel().now());
                    if self.ending.is_none() && self.session.poll_closing(cx).is_ready() {
                        self.end_within(ENDING);
                    }
                    return Ok(progress);
                }
            }
            self.quiet = self.alarm.wheel().now();
            progress = true;
        }
    }

    fn gather(&mut self, cx: &mut Context<'_>) {
        // Where every room has ended nothing will come; whoever comes back is told so for good.
        if self.session.has_ended() {
            return self.end();
        }
        let mut batch = Batch::new(self.session.limits().batch);
        match self.session.poll_batch(cx, &mut batch) {
            Poll::Ready(Step::Some) => batch.parts().drain(..).for_each(|part| self.out.push(part)),
            Poll::Ready(Step::End(_)) => self.end(),
            Poll::Pending => {}
        }
    }

    /// Says that the answer ends here (RFC 9112 §7.1).
    fn end(&mut self) {
        if !self.kept {
            self.out.push(Bytes::from_static(b"0\r\n\r\n"));
        }
        self.end_within(ENDING);
    }

    fn end_within(&mut self, time: Duration) {
        self.ending.get_or_insert_with(|| Box::pin(sleep(time)));
    }

    /// Reads and discards: to learn that the client goes, and to let it have what is written to it. A connection closed
    /// with bytes unread is reset.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<usize>> {
        if self.kept {
            return Ok(Poll::Pending);
        }
        let count = lend_buffer(|buffer| {
            let mut read = ReadBuf::new(buffer);
            match Pin::new(&mut self.tcp).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) => Ok(Poll::Ready(read.filled().len())),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Pending => Ok(Poll::Pending),
            }
        })?;
        if let Poll::Ready(count) = count {
            self.discarded += count;
            if self.discarded > DISCARD {
                return Ok(Poll::Ready(0));
            }
        }
        Ok(count)
    }

    /// Says something when nothing was said for long, and gives up a client that takes nothing.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.ending.is_some() {
            return Ok(false);
        }
        // A sign of life after so long a silence; the end of a client that takes nothing for so long.
        let stalled = self.out.stalled();
        let (since, time) = match stalled {
            Some(since) => (since, self.session.limits().idle),
            None => (self.quiet, self.session.limits().heartbeat),
        };
        let next = since + self.alarm.wheel().ticks(time);
        if self.alarm.poll(cx, next).is_pending() {
            return Ok(false);
        }
        if stalled.is_some() {
            self.session.note_stalled();
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.quiet = self.alarm.wheel().now();
        self.out.push(Bytes::from_static(self.life.chunk));
        Ok(true)
    }
}

/// Runs the stream to its end. Dropping it drops the connection and ends the session.
impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // An error is the client's going.
        self.get_mut().step(cx).unwrap_or(Poll::Ready(()))
    }
}

/// How long a client may take to go once it was told that the stream ends.
const ENDING: Duration = Duration::from_secs(4);
/// More than a pipelined request or two.
const DISCARD: usize = 64 << 10;

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// What tokio keeps of a task comes to 104 bytes more, and the whole to a multiple of 128.
    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Connection>() + 104 <= 384, "{}", size_of::<Connection>());
    }
}
