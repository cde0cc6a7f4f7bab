//! A TCP connection that its owner lends.

use crate::{door::Permit, lend_buffer};
use bytes::Bytes;
use rustix::net::{RecvFlags, SendFlags, Shutdown, send, shutdown};
use std::{
    io::{self, ErrorKind::WouldBlock},
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};
use tidings_core::Outlet;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// A TCP connection that others may write to, when its owner lets them.
#[derive(Debug)]
pub struct Tcp(Arc<TcpOutlet>);

/// What is lent of a [`Tcp`].
#[derive(Debug)]
pub struct TcpOutlet {
    stream: TcpStream,
    /// Its place among the server's connections.
    _permit: Option<Permit>,
}

impl Tcp {
    /// A connection of which nobody else has a part.
    pub fn new(stream: TcpStream) -> Self {
        Self(Arc::new(TcpOutlet { stream, _permit: None }))
    }

    /// The same with its place among a server's connections.
    pub(crate) fn permitted(stream: TcpStream, permit: Permit) -> Self {
        Self(Arc::new(TcpOutlet { stream, _permit: Some(permit) }))
    }

    /// One that another reads from.
    pub(crate) fn shared(outlet: Arc<TcpOutlet>) -> Self {
        Self(outlet)
    }

    /// Ends it both ways, whoever else has a part of it.
    pub fn abort(&self) {
        // It fails where that has happened.
        let _ = shutdown(self.stream(), Shutdown::Both);
    }

    /// What may be lent.
    pub fn outlet(&self) -> &Arc<TcpOutlet> {
        &self.0
    }

    /// The stream.
    pub fn stream(&self) -> &TcpStream {
        &self.0.stream
    }

    /// Writes by a shared reference, and waits as `poll_write` does.
    fn poll(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream().poll_write_ready(cx))?;
            match write(self.stream()) {
                // It is not ready any more, which the next turn finds.
                Err(error) if error.kind() == WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl TcpOutlet {
    /// Writes what can be written now, which may be nothing.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        // Not by way of tokio, whose note of whether the socket is ready lies elsewhere in memory. If it is not, the
        // owner finds that out in its turn, and waits.
        match send(&self.stream, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).map_err(io::Error::from) {
            Err(error) if error.kind() == WouldBlock => Ok(0),
            written => written,
        }
    }
}

impl Outlet for TcpOutlet {
    fn offer(&self, bytes: &Bytes, _: &mut Option<Waker>) -> io::Result<usize> {
        self.write(bytes)
    }

    fn warm(&self) {
        std::hint::black_box(self.stream.as_raw_fd());
    }
}

impl Tcp {
    /// Reads what is there, into what is initialized.
    fn poll_into(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let (mut count, whole) = (None, into.len());
        loop {
            ready!(self.stream().poll_read_ready(cx))?;
            let read = self.stream().try_io(Interest::READABLE, || {
                let read = rustix::net::recv(&self.0.stream, &mut *into, RecvFlags::DONTWAIT)?.0;
                count = Some(read);
                // Who gets less than there was place for has everything: to say so saves a call that would say so too.
                if (1..whole).contains(&read) { Err(WouldBlock.into()) } else { Ok(()) }
            });
            match (read, count) {
                (_, Some(count)) => return Poll::Ready(Ok(count)),
                (Err(error), None) if error.kind() == WouldBlock => {}
                (read, None) => return Poll::Ready(read.map(|()| 0)),
            }
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // hyper asks with a buffer that has nothing in it yet, mostly for nothing: what is read is copied, rather than that all of
        // it is zeroed each time.
        if buf.initialized().len() < buf.capacity() {
            return lend_buffer(|lent| {
                let most = lent.len().min(buf.remaining());
                let count = ready!(self.poll_into(cx, &mut lent[..most]))?;
                buf.put_slice(&lent[..count]);
                Poll::Ready(Ok(()))
            });
        }
        let count = ready!(self.poll_into(cx, buf.initialize_unfilled()))?;
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // Mostly it can be written, which tokio need not be asked.
        match self.0.write(buf) {
            Ok(0) if !buf.is_empty() => self.poll(cx, |stream| stream.try_write(buf)),
            written => Poll::Ready(written),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream| stream.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TCP keeps nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(self.stream(), Shutdown::Write).map_err(io::Error::from))
    }
}
