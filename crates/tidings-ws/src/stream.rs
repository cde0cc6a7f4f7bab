//! The stream below a connection that hyper has handed over.

use bytes::Bytes;
use hyper_util::{
    rt::TokioIo,
    server::conn::auto::upgrade::{Parts, downcast},
};
use socket2::SockRef;
use std::{
    io,
    net::{Shutdown, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tidings_core::Outlet;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// A stream that a server has handed over: the TCP connection itself where there is one, and what hyper makes of TLS
/// or of a stream of HTTP/2 otherwise.
#[derive(Debug)]
pub struct Upgraded(Inner);

#[derive(Debug)]
enum Inner {
    Tcp(TcpStream),
    /// Boxed, so that the usual case is small.
    Other(Box<TokioIo<hyper::upgrade::Upgraded>>),
}

impl Upgraded {
    /// The stream, and what was read from it already.
    pub(crate) fn new(upgraded: hyper::upgrade::Upgraded) -> (Self, Bytes) {
        // What hyper boxes costs an allocation for each connection, and an indirect call for each read and write.
        let (stream, read) = match downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(Parts { io, read_buf, .. }) => (io.into_inner(), read_buf),
            Err(upgraded) => match upgraded.downcast::<TokioIo<TcpStream>>() {
                Ok(parts) => (parts.io.into_inner(), parts.read_buf),
                Err(upgraded) => return (Self(Inner::Other(Box::new(TokioIo::new(upgraded)))), Bytes::new()),
            },
        };
        (Self(Inner::Tcp(stream)), read)
    }

    /// Takes it apart for the endpoint, which lends the writing half.
    pub(crate) fn into_io(self) -> Io {
        match self.0 {
            Inner::Tcp(stream) => {
                let (read, write) = stream.into_split();
                Io::Tcp { read, write: Arc::new(Tcp(write)) }
            }
            Inner::Other(stream) => Io::Other(stream),
        }
    }

    /// The peer's address, if this is a TCP connection of its own. Behind a proxy it is the proxy's.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Inner::Tcp(stream) => stream.peer_addr().ok(),
            Inner::Other(_) => None,
        }
    }
}

/// What the endpoint reads from and writes to.
#[derive(Debug)]
pub(crate) enum Io {
    /// Written to by the hub as well.
    Tcp {
        read: OwnedReadHalf,
        write: Arc<Tcp>,
    },
    Other(Box<TokioIo<hyper::upgrade::Upgraded>>),
}

/// The writing half of a TCP connection.
#[derive(Debug)]
pub(crate) struct Tcp(OwnedWriteHalf);

impl Outlet for Tcp {
    fn offer(&self, bytes: &[u8]) -> io::Result<usize> {
        none_if_blocked(self.0.try_write(bytes))
    }
}

/// Nothing was written because nothing could be.
fn none_if_blocked(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}

impl Tcp {
    /// Writes by a shared reference, and waits as `poll_write` does.
    fn poll(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&OwnedWriteHalf) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.as_ref().poll_write_ready(cx))?;
            match write(&self.0) {
                // It is not ready any more, which the next turn finds.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl Io {
    /// What may be lent.
    pub(crate) fn outlet(&self) -> Option<&Arc<Tcp>> {
        match self {
            Self::Tcp { write, .. } => Some(write),
            Self::Other(_) => None,
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp { read, .. } => Pin::new(read).poll_read(cx, buf),
            Self::Other(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp { write, .. } => write.poll(cx, |half| half.try_write(buf)),
            Self::Other(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp { write, .. } => write.poll(cx, |half| half.try_write_vectored(bufs)),
            Self::Other(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp { .. } => true,
            Self::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // TCP keeps nothing back.
            Self::Tcp { .. } => Poll::Ready(Ok(())),
            Self::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp { write, .. } => Poll::Ready(SockRef::from(write.0.as_ref()).shutdown(Shutdown::Write)),
            Self::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Inner::Other(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Inner::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Inner::Other(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Inner::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Inner::Other(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Inner::Tcp(stream) => stream.is_write_vectored(),
            Inner::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
