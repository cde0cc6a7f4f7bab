//! The stream below a connection that hyper has handed over.

use bytes::Bytes;
use hyper_util::{
    rt::TokioIo,
    server::conn::auto::upgrade::{Parts, downcast},
};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tidings_core::{Session, Tray};
use tidings_http::{Lane, Tcp};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A stream that a server has handed over: the TCP connection itself where there is one, and what hyper makes of TLS
/// or of a stream of HTTP/2 otherwise.
#[derive(Debug)]
pub struct Upgraded(Inner);

#[derive(Debug)]
enum Inner {
    Tcp(Tcp),
    /// Boxed, so that the usual case is small.
    Other(Box<TokioIo<hyper::upgrade::Upgraded>>),
}

impl Upgraded {
    /// The stream, and what was read from it already.
    pub(crate) fn new(upgraded: hyper::upgrade::Upgraded) -> (Self, Bytes) {
        // What hyper boxes costs an allocation for each connection, and an indirect call for each read and write.
        let taken = take::<TcpStream>(upgraded).map(|(stream, read)| (Tcp::new(stream), read));
        let taken =
            taken.or_else(|upgraded| take::<Lane>(upgraded).map(|(lane, read)| (lane.into_tcp(), read)));
        let (tcp, read) = match taken {
            Ok(taken) => taken,
            Err(upgraded) => return (Self(Inner::Other(Box::new(TokioIo::new(upgraded)))), Bytes::new()),
        };
        // Not every server has done so, and a message must not wait until the one before was acknowledged. It fails
        // where the peer has gone, which reading tells.
        let _ = tcp.stream().set_nodelay(true);
        (Self(Inner::Tcp(tcp)), read)
    }

    /// Takes it apart for the endpoint, which lends the writing half.
    pub(crate) fn into_io(self) -> Io {
        match self.0 {
            Inner::Tcp(stream) => Io::Tcp(stream),
            Inner::Other(stream) => Io::Other(stream, Arc::default()),
        }
    }

    /// The peer's address, if this is a TCP connection of its own. Behind a proxy it is the proxy's.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Inner::Tcp(stream) => stream.stream().peer_addr().ok(),
            Inner::Other(_) => None,
        }
    }
}

/// What a server has made its connection from, and what was read from it, if it is of this kind.
fn take<T>(upgraded: hyper::upgrade::Upgraded) -> Result<(T, Bytes), hyper::upgrade::Upgraded>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match downcast::<TokioIo<T>>(upgraded) {
        Ok(Parts { io, read_buf, .. }) => Ok((io.into_inner(), read_buf)),
        Err(upgraded) => {
            upgraded.downcast::<TokioIo<T>>().map(|parts| (parts.io.into_inner(), parts.read_buf))
        }
    }
}

/// What the endpoint reads from and writes to.
#[derive(Debug)]
pub(crate) enum Io {
    /// Written to by the hub as well.
    Tcp(Tcp),
    /// What the hub has for it is in the tray.
    Other(Box<TokioIo<hyper::upgrade::Upgraded>>, Arc<Tray>),
}

impl Io {
    /// Where the hub leaves what it cannot write itself.
    pub(crate) fn tray(&self) -> Option<&Tray> {
        match self {
            Self::Tcp(_) => None,
            Self::Other(_, tray) => Some(tray),
        }
    }

    /// Lends a session to the hub.
    pub(crate) fn lend(&self, session: &mut Session) {
        match self {
            Self::Tcp(stream) => session.lend(stream.outlet()),
            Self::Other(_, tray) => session.lend(tray),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Other(stream, _) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Other(stream, _) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Other(stream, _) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Other(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Other(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Other(stream, _) => Pin::new(stream).poll_shutdown(cx),
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
