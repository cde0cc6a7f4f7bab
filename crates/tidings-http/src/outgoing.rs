//! Bytes on their way out of a connection.

use bytes::{Buf, Bytes, BytesMut};
use std::{
    cell::Cell,
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncWrite;

/// A queue of bytes. What is shared stays shared; small frames are put together. Empty, it holds no memory.
#[derive(Debug, Default)]
pub struct Outgoing(Option<Box<Queue>>);

/// What waits, if anything does.
#[derive(Debug, Default)]
struct Queue {
    parts: VecDeque<Bytes>,
    /// What follows the parts.
    tail: BytesMut,
    len: usize,
    stalled: Option<u64>,
}

impl Outgoing {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.len)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Appends what is shared, without a copy.
    pub fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.queue().push(part);
        }
    }

    /// Appends what `write` appends.
    pub fn write(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let queue = self.queue();
        queue.write(write);
        if queue.len == 0 {
            self.clear();
        }
    }

    /// Writes some of what waits; there must be something.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        io: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        let written = ready!(self.queue().poll_write(cx, io))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        if written == self.len() {
            self.clear();
        } else {
            self.queue().advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing can be written: notes the time, by the caller's clock, unless it stalls already.
    pub fn stall(&mut self, now: u64) {
        if let Some(queue) = &mut self.0 {
            queue.stalled.get_or_insert(now);
        }
    }

    /// Since when nothing could be written of what waits.
    pub fn stalled(&self) -> Option<u64> {
        self.0.as_ref()?.stalled
    }

    /// Drops what waits.
    pub fn clear(&mut self) {
        if let Some(mut queue) = self.0.take() {
            queue.clear();
            SPARE.set(Some(queue));
        }
    }

    fn queue(&mut self) -> &mut Queue {
        self.0.get_or_insert_with(|| SPARE.take().unwrap_or_default())
    }
}

impl Queue {
    fn push(&mut self, part: Bytes) {
        if !self.tail.is_empty() {
            self.parts.push_back(self.tail.split().freeze());
        }
        self.len += part.len();
        self.parts.push_back(part);
    }

    fn write(&mut self, write: impl FnOnce(&mut BytesMut)) {
        if self.tail.capacity() == 0 {
            self.tail.reserve(4 * SPARED);
        }
        let before = self.tail.len();
        write(&mut self.tail);
        self.len += self.tail.len() - before;
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, io: Pin<&mut impl AsyncWrite>) -> Poll<io::Result<usize>> {
        // A stream that takes pieces one by one, such as one of HTTP/2, makes a copy of each, and may keep it for as
        // long as its peer likes.
        let most = if io.is_write_vectored() { usize::MAX } else { GATHERED };
        if most == GATHERED {
            self.gather();
        }
        match (self.parts.front(), self.parts.len(), self.tail.is_empty()) {
            // The kernel takes one piece for less.
            (None, ..) => io.poll_write(cx, &self.tail[..self.tail.len().min(most)]),
            (Some(part), 1, true) => io.poll_write(cx, &part[..part.len().min(most)]),
            (Some(part), ..) if most == GATHERED => io.poll_write(cx, &part[..part.len().min(most)]),
            _ => self.poll_write_vectored(cx, io),
        }
    }

    fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        io: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<usize>> {
        let waiting = self.parts.iter().map(|part| &part[..]).chain([&self.tail[..]]);
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(waiting.filter(|part| !part.is_empty())) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        io.poll_write_vectored(cx, &slices[..count])
    }

    /// Puts the parts in front together, for a stream that would write them one by one: a stream of HTTP/2 makes a
    /// frame of each write.
    fn gather(&mut self) {
        let fits = |(sum, count): (usize, usize), part: &Bytes| {
            (sum + part.len() <= GATHERED).then_some((sum + part.len(), count + 1)).ok_or((sum, count))
        };
        let (Ok((sum, count)) | Err((sum, count))) = self.parts.iter().try_fold((0, 0), fits);
        if count > 1 {
            let mut gathered = BytesMut::with_capacity(sum);
            self.parts.drain(..count).for_each(|part| gathered.extend_from_slice(&part));
            self.parts.push_front(gathered.freeze());
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.len -= written;
        self.stalled = None;
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
    }

    /// Empties it, and keeps of its memory what is worth keeping.
    fn clear(&mut self) {
        (self.len, self.stalled) = (0, None);
        self.parts.clear();
        self.parts.shrink_to(SLICES);
        self.tail.clear();
        if !(SPARED..=16 * SPARED).contains(&self.tail.capacity()) {
            self.tail = BytesMut::new();
        }
    }
}

thread_local! {
    /// For whoever writes next: an idle connection has none, and a busy one need not ask for memory.
    static SPARE: Cell<Option<Box<Queue>>> = const { Cell::new(None) };
}

/// The least capacity that is worth keeping.
const SPARED: usize = 1 << 10;
/// Slices of one write.
const SLICES: usize = 64;
/// Bytes put together for one write.
const GATHERED: usize = 16 << 10;
