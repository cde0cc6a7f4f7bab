//! Taking a connection over from hyper, which holds 18 KiB for a stream and is asked at each write.

use crate::Tcp;
use bytes::Bytes;
use http::request::Parts;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tokio::net::TcpStream;

/// The right to take over the connection that a request came on, as soon as the head of its answer is written. It
/// comes with requests of HTTP/1.1 that [`serve`](crate::serve()) has received.
///
/// The body of an answer whose connection is taken over must be one that never has anything; what it would have had
/// is written to the connection, in the framing that hyper has announced: in chunks (RFC 9112 §7.1), or after 101 the
/// new protocol's.
#[derive(Clone)]
pub struct Takeover {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    taker: Mutex<Option<Taker>>,
    /// Something was written since there was a taker, and everything has gone out.
    written: AtomicBool,
    flushed: AtomicBool,
    /// How often something was written, and whether the last attempt has to wait.
    writes: AtomicUsize,
    blocked: AtomicBool,
    given_up: AtomicBool,
}

/// Tells the body of an answer that is dropped whether that is because its client took nothing. It comes with requests
/// of HTTP/1 that [`serve`](crate::serve()) has received.
#[derive(Debug, Clone)]
pub struct Progress(Takeover);

impl Progress {
    pub(crate) fn new(connection: &Takeover) -> Self {
        Self(connection.clone())
    }

    /// That of a request's connection, if it came with the request.
    pub fn of(head: &Parts) -> Option<&Self> {
        head.extensions.get()
    }

    /// Whether the connection was given up, because its client took nothing for as long as it may.
    pub fn is_given_up(&self) -> bool {
        self.0.shared.given_up.load(Relaxed)
    }
}

/// Gets the connection, and what was read from it behind the request.
type Taker = Box<dyn FnOnce(Tcp, Bytes) + Send>;

impl Takeover {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// The right, if it came with this request.
    pub fn of(head: &Parts) -> Option<&Self> {
        head.extensions.get()
    }

    /// Uses the right: `taker` gets the connection, and what was read from it behind the request. It is called on the
    /// connection's task, and not at all if the client goes away before.
    pub fn by(&self, taker: impl FnOnce(Tcp, Bytes) + Send + 'static) {
        self.shared.written.store(false, Relaxed);
        self.shared.flushed.store(false, Relaxed);
        *self.taker() = Some(Box::new(taker));
    }

    /// Who takes over, if anybody does.
    pub(crate) fn take(&self) -> Option<Taker> {
        self.taker().take()
    }

    /// Whether somebody takes over and the head has gone out. hyper flushes only what it has written in full.
    pub(crate) fn is_due(&self) -> bool {
        self.shared.flushed.load(Relaxed) && self.taker().is_some()
    }

    /// If what is to be written has to wait: how often something was written before.
    pub(crate) fn blocked(&self) -> Option<usize> {
        let blocked = self.shared.blocked.load(Relaxed);
        blocked.then(|| self.shared.writes.load(Relaxed))
    }

    /// The client takes nothing, and is waited for no more.
    pub(crate) fn give_up(&self) {
        self.shared.given_up.store(true, Relaxed);
    }

    fn taker(&self) -> std::sync::MutexGuard<'_, Option<Taker>> {
        self.shared.taker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Takeover").finish_non_exhaustive()
    }
}

/// A connection that notes what has gone out.
pub(crate) struct Watched {
    io: TokioIo<TcpStream>,
    takeover: Takeover,
}

impl Watched {
    pub(crate) fn new(stream: TcpStream, takeover: Takeover) -> Self {
        Self { io: TokioIo::new(stream), takeover }
    }

    pub(crate) fn into_inner(self) -> TcpStream {
        self.io.into_inner()
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        self.takeover.shared.blocked.store(written.is_pending(), Relaxed);
        if let Poll::Ready(Ok(1..)) = written {
            self.takeover.shared.writes.fetch_add(1, Relaxed);
            self.takeover.shared.written.store(true, Relaxed);
            self.takeover.shared.flushed.store(false, Relaxed);
        }
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if let (Poll::Ready(Ok(())), true) = (&flushed, self.takeover.shared.written.load(Relaxed)) {
            self.takeover.shared.flushed.store(true, Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
