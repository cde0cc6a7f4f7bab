//! A WebSocket on the server's side: the answer to a request, and the socket that follows it.

use crate::{
    decode::Role,
    extension::{self, Agreed},
    handshake::{self, HandshakeError},
    socket::Socket,
    stream::Upgraded,
};
use http::{Request, Response};
use hyper::upgrade::OnUpgrade;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// How to answer a request for a WebSocket.
#[derive(Debug, Clone)]
pub struct Upgrade {
    compression: bool,
    protocols: Vec<&'static str>,
}

impl Default for Upgrade {
    fn default() -> Self {
        Self::new()
    }
}

impl Upgrade {
    /// With compression for clients that offer it, and no subprotocols.
    pub fn new() -> Self {
        Self { compression: true, protocols: Vec::new() }
    }

    /// Whether clients that offer compression get it (`permessage-deflate`, RFC 7692).
    ///
    /// No connection holds a context for it: a thread that compresses holds 380 KiB for each of three sizes of window
    /// in use, and one that inflates 64 KiB. How long a compressed message is tells how alike its parts are: if one
    /// holds a secret beside text of an attacker's who can see the length, switch it off.
    #[must_use]
    pub fn compression(mut self, compression: bool) -> Self {
        self.compression = compression;
        self
    }

    /// Subprotocols that are spoken, of which the client's first choice is taken; [`Socket::protocol`] tells which.
    /// A client that offers none of them gets a socket without one.
    #[must_use]
    pub fn protocols(mut self, protocols: impl IntoIterator<Item = &'static str>) -> Self {
        self.protocols = protocols.into_iter().collect();
        self
    }

    /// Answers a request that hyper has received; see [`upgrade`].
    ///
    /// # Errors
    ///
    /// Those of [`upgrade`].
    pub fn answer<B>(&self, request: &mut Request<B>) -> Result<(Response<()>, Upgrading), HandshakeError> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = request.method().clone();
        head.version = request.version();
        head.headers = request.headers().clone();
        if let Some(protocol) = request.extensions().get::<hyper::ext::Protocol>() {
            head.extensions.insert(protocol.clone());
        }
        let mut accept = handshake::check(&head, &self.protocols)?;
        accept.deflate = self.compression.then(|| extension::negotiate(&head.headers)).flatten();
        let upgrading = Upgrading {
            upgrade: hyper::upgrade::on(request),
            deflate: accept.deflate,
            protocol: accept.protocol,
        };
        Ok((accept.response(), upgrading))
    }
}

/// A socket to come: a future that is ready when the answer has been sent. It fails if the client goes away before.
#[derive(Debug)]
#[must_use = "there is a socket when it is awaited"]
pub struct Upgrading {
    upgrade: OnUpgrade,
    deflate: Option<Agreed>,
    protocol: Option<&'static str>,
}

impl Future for Upgrading {
    type Output = hyper::Result<Socket<Upgraded>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (stream, read) = Upgraded::new(ready!(Pin::new(&mut self.upgrade).poll(cx))?);
        let mut socket = Socket::new(stream, Role::Server);
        if let Some(agreed) = self.deflate {
            socket = socket.deflate(agreed);
        }
        Poll::Ready(Ok(socket.after_handshake(read.as_ref().into(), self.protocol.map(Box::from))))
    }
}

/// Takes a request that hyper has received, and gives the answer and the socket to come: [`Upgrade::answer`] with
/// what is usual.
///
/// The request is one of HTTP/1.1, whose connection must be served with upgrades; or one of HTTP/2 (RFC 8441), if the
/// server says `enable_connect_protocol`. The future is to be spawned, for it is ready after the answer was sent. Who
/// may connect, from which origin for example, is for the caller to say before.
///
/// ```
/// # use http::{Request, Response};
/// # use tidings_ws::{HandshakeError, upgrade};
/// use futures_util::{SinkExt, StreamExt};
///
/// fn echo<B>(mut request: Request<B>) -> Result<Response<()>, HandshakeError> {
///     let (response, socket) = upgrade(&mut request)?;
///     tokio::spawn(async move {
///         let Ok(mut socket) = socket.await else { return };
///         while let Some(Ok(message)) = socket.next().await {
///             let _ = socket.send(message).await;
///         }
///     });
///     Ok(response)
/// }
/// ```
///
/// # Errors
///
/// The request is no WebSocket handshake; [`HandshakeError::status`] and [`HandshakeError::headers`] are what to
/// answer.
pub fn upgrade<B>(request: &mut Request<B>) -> Result<(Response<()>, Upgrading), HandshakeError> {
    Upgrade::new().answer(request)
}
