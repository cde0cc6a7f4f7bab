//! A stream in memory that does whatever a stream may do: it takes and gives any number of bytes at a time, is not
//! ready although it could be, and shows the other end nothing before it is flushed.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a pipe behaves.
#[derive(Debug, Clone)]
pub(super) struct Manners {
    /// Bytes that one direction holds.
    pub(super) capacity: usize,
    /// Of four calls, so many are not ready, and wake at once.
    pub(super) hesitant: u8,
    /// What is written is held back until it is flushed, or until more is held than the capacity.
    pub(super) lazy: bool,
    pub(super) vectored: bool,
    pub(super) seed: u64,
}

/// One end of a pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    manners: Manners,
    random: u64,
    incoming: Arc<Mutex<Lane>>,
    outgoing: Arc<Mutex<Lane>>,
    /// What is written and not flushed.
    held: VecDeque<u8>,
}

#[derive(Debug, Default)]
struct Lane {
    bytes: VecDeque<u8>,
    /// Nothing more will be written.
    ended: bool,
    /// Nothing more will be read.
    deserted: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

pub(super) fn pipe(manners: &Manners) -> (Pipe, Pipe) {
    let lanes = [Arc::<Mutex<Lane>>::default(), Arc::default()];
    let end = |this: usize| Pipe {
        manners: manners.clone(),
        random: manners.seed.wrapping_add(this as u64),
        incoming: lanes[this].clone(),
        outgoing: lanes[1 - this].clone(),
        held: VecDeque::new(),
    };
    (end(0), end(1))
}

impl Pipe {
    fn random(&mut self) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize
    }

    /// From 1 to `most`.
    fn some(&mut self, most: usize) -> usize {
        1 + self.random() % most
    }

    fn hesitates(&mut self, cx: &Context<'_>) -> bool {
        let hesitates = self.random() % 4 < usize::from(self.manners.hesitant);
        if hesitates {
            cx.waker().wake_by_ref();
        }
        hesitates
    }

    /// Hands on some of what is held.
    fn hand_on(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let most = self.some(self.manners.capacity);
            let mut lane = lock(&self.outgoing);
            if lane.deserted {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = self.manners.capacity - lane.bytes.len();
            if room == 0 {
                lane.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let count = room.min(most).min(self.held.len());
            lane.bytes.extend(self.held.drain(..count));
            wake(&mut lane.reader);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.hesitates(cx) {
            return Poll::Pending;
        }
        let most = this.some(this.manners.capacity);
        let mut lane = lock(&this.incoming);
        if lane.bytes.is_empty() && !lane.ended {
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = most.min(lane.bytes.len()).min(buf.remaining());
        lane.bytes.drain(..count).for_each(|byte| buf.put_slice(&[byte]));
        wake(&mut lane.writer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        assert!(!lock(&this.outgoing).ended, "nothing is written after the end");
        if this.hesitates(cx) {
            return Poll::Pending;
        }
        if !this.manners.lazy || this.held.len() >= this.manners.capacity {
            match this.hand_on(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        let count = this.some(this.manners.capacity).min(buf.len());
        this.held.extend(&buf[..count]);
        if !this.manners.lazy {
            // What does not fit waits for the next write or flush, as in a kernel.
            let _ = this.hand_on(cx);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.manners.vectored {
            // As tokio does for streams that do not take slices.
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            return self.poll_write(cx, first);
        }
        let together: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.poll_write(cx, &together)
    }

    fn is_write_vectored(&self) -> bool {
        self.manners.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.hesitates(cx) { Poll::Pending } else { this.hand_on(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.hesitates(cx) {
            return Poll::Pending;
        }
        let handed = this.hand_on(cx);
        if handed.is_ready() {
            let mut lane = lock(&this.outgoing);
            lane.ended = true;
            wake(&mut lane.reader);
        }
        handed
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut lane = lock(&self.outgoing);
        lane.ended = true;
        wake(&mut lane.reader);
        drop(lane);
        let mut lane = lock(&self.incoming);
        lane.deserted = true;
        wake(&mut lane.writer);
    }
}

fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap()
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
