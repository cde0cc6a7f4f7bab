//! Writing the body of an answer to its connection past a server that keeps the connection.
//!
//! hyper, and what is made with it, gives no connection away before its end. But it writes nothing to one while the
//! body of an answer has nothing for it, so that somebody else can, if hyper has written all that it had to and in a framing
//! that is known.

use crate::{Tcp, TcpOutlet, serve::set_up};
use bytes::Bytes;
use http::{Version, request::Parts};
use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A TCP connection for a server that is made with hyper, such as axum's, which lets others write the bodies of answers
/// past it. Put its [`Bypass`] into the extensions of its requests.
#[derive(Debug)]
pub struct Lane {
    tcp: Tcp,
    shared: Arc<Shared>,
    handed_over: bool,
}

/// The right to write the body of an answer past the server. It is good for requests of HTTP/1.1, each in its turn.
#[derive(Clone)]
pub struct Bypass(Arc<Shared>);

/// A way past the server for the body of one answer. While it is open nobody else may write: a server that does loses the connection.
/// Dropped, it is the server's turn again.
#[derive(Debug)]
pub struct Way {
    shared: Arc<Shared>,
    turn: u64,
}

struct Shared {
    /// Not kept: whoever keeps the right is not to keep the connection.
    outlet: Weak<TcpOutlet>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    /// Whose turn it is: that of the last who has asked.
    turn: u64,
}

#[derive(Default)]
enum Stage {
    /// The server writes.
    #[default]
    Shut,
    /// It opens when all that the server had to write has gone out, and ends like this.
    Waits { ending: Bytes, written: Vec<u8>, waker: Option<Waker> },
    /// Somebody writes past the server.
    Open,
}

impl Lane {
    /// A connection of which nobody else has a part. Small writes will not wait (`TCP_NODELAY`), and of what is written the kernel
    /// takes no more before it is sent than below [`serve`](crate::serve()).
    pub fn new(stream: TcpStream) -> Self {
        set_up(&stream);
        let tcp = Tcp::new(stream);
        let shared = Shared { outlet: Arc::downgrade(tcp.outlet()), state: Mutex::default() };
        Self { tcp, shared: Arc::new(shared), handed_over: false }
    }

    /// The right to write past the server.
    pub fn bypass(&self) -> Bypass {
        Bypass(Arc::clone(&self.shared))
    }

    /// The stream, for its options and addresses.
    pub fn stream(&self) -> &TcpStream {
        self.tcp.stream()
    }

    /// The connection, when the server has handed it over.
    pub fn into_tcp(mut self) -> Tcp {
        self.handed_over = true;
        Tcp::shared(Arc::clone(self.tcp.outlet()))
    }

    /// Has the server write, if it is its turn.
    fn write<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]>,
        write: impl FnOnce(Pin<&mut Tcp>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if matches!(self.shared.state().stage, Stage::Open) {
            // What it writes could come into the middle of what another has written in part.
            tracing::warn!("a body was added to while it was written past the server: the connection ends");
            self.tcp.abort();
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = write(Pin::new(&mut self.tcp));
        if let Poll::Ready(Ok(count)) = written {
            self.shared.state().stage.note(count, parts);
        }
        written
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // The server has done with it, and whoever writes past it does not know.
        if !self.handed_over && Arc::strong_count(self.tcp.outlet()) > 1 {
            self.tcp.abort();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    /// Keeps the end of what is written, as long as what is waited for.
    fn note<'a>(&mut self, mut count: usize, parts: impl Iterator<Item = &'a [u8]>) {
        let Self::Waits { ending, written, .. } = self else { return };
        for part in parts {
            let part = &part[..part.len().min(count)];
            count -= part.len();
            written.extend_from_slice(&part[part.len().saturating_sub(ending.len())..]);
            written.drain(..written.len().saturating_sub(ending.len()));
        }
    }

    /// All that there was has gone out.
    fn flushed(&mut self) -> Option<Waker> {
        let Self::Waits { ending, written, waker } = self else { return None };
        if written.is_empty() {
            return None;
        }
        let (open, waker) = (written[..] == ending[..], waker.take());
        *self = if open { Self::Open } else { Self::Shut };
        waker
    }
}

impl Bypass {
    /// The right, if it came with this request and the request's answer can be written past the server.
    pub fn of(head: &Parts) -> Option<&Self> {
        // hyper frames the answers to others in another way.
        head.extensions.get().filter(|_| head.version == Version::HTTP_11)
    }

    /// Asks for a way, before the request is answered. It opens when the server has written the head of the answer and what the body
    /// has had for it so far, and if that ends with `chunk` in the framing of chunks (RFC 9112 §7.1): then the body comes to the
    /// connection as it is. Whoever changes bodies on the way, to compress them for example, changes the chunk too if it
    /// is no chunk like others.
    ///
    /// Of several who ask for the same answer, the last may get it.
    pub fn ask(&self, chunk: &[u8]) -> Way {
        let mut ending = format!("{:X}\r\n", chunk.len()).into_bytes();
        ending.extend_from_slice(chunk);
        ending.extend_from_slice(b"\r\n");
        let wait = Stage::Waits { ending: ending.into(), written: Vec::new(), waker: None };
        let mut state = self.0.state();
        let mut turn = 0; // nobody's
        let mut other = None;
        if !matches!(state.stage, Stage::Open) {
            state.turn += 1;
            turn = state.turn;
            if let Stage::Waits { waker, .. } = std::mem::replace(&mut state.stage, wait) {
                other = waker;
            }
        }
        drop(state);
        other.into_iter().for_each(Waker::wake);
        Way { shared: Arc::clone(&self.0), turn }
    }
}

impl Way {
    /// Whether it is open, when that is known. From then on the server writes nothing before the body has something for it, which it
    /// must not, or this is dropped: the end of the body, in its framing, is the server's.
    pub fn poll_open(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.shared.state();
        if state.turn != self.turn {
            return Poll::Ready(false);
        }
        match &mut state.stage {
            Stage::Shut => Poll::Ready(false),
            Stage::Open => Poll::Ready(true),
            Stage::Waits { waker, .. } => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The connection, to write to while the way is open; none if it has gone. Not to be read from.
    pub fn tcp(&self) -> Option<Tcp> {
        self.shared.outlet.upgrade().map(Tcp::shared)
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if state.turn == self.turn {
            state.stage = Stage::Shut;
        }
    }
}

impl fmt::Debug for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bypass").finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl AsyncRead for Lane {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lane {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(std::iter::once(buf), |tcp| tcp.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(bufs.iter().map(|buf| &**buf), |tcp| tcp.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.tcp).poll_flush(cx);
        // hyper flushes only what it has written in full.
        let waker = flushed.is_ready().then(|| self.shared.state().stage.flushed()).flatten();
        waker.into_iter().for_each(Waker::wake);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
