//! A WebSocket on the server's side: the answer to a request, and the socket that follows it.

use crate::{
    decode::Role,
    handshake::{self, HandshakeError},
    socket::Socket,
};
use http::{Request, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::future::Future;

/// Takes a request that hyper has received, and gives the answer and the socket to come.
///
/// The future is to be spawned, for it is ready after the answer was sent; the connection must be served with
/// upgrades. Who may connect, from which origin for example, is for the caller to say before.
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
/// answer. The future fails if the client goes away before the answer has reached it.
#[allow(clippy::type_complexity)] // a future cannot be named
pub fn upgrade<B>(
    request: &mut Request<B>,
) -> Result<
    (Response<()>, impl Future<Output = hyper::Result<Socket<TokioIo<Upgraded>>>> + Send + 'static + use<B>),
    HandshakeError,
> {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = request.method().clone();
    head.version = request.version();
    head.headers = request.headers().clone();
    let accept = handshake::check(&head, &[])?;
    let upgraded = hyper::upgrade::on(request);
    let socket = async move { Ok(Socket::new(TokioIo::new(upgraded.await?), Role::Server)) };
    Ok((accept.response(), socket))
}
