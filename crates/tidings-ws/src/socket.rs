//! A WebSocket over any stream of bytes, for whoever wants WebSocket alone.

mod drive;
mod wakers;

use self::{
    drive::HIGH,
    wakers::{Half, Wakers},
};
use crate::{
    close::{CloseFrame, Closing, Outcome, Phase},
    decode::{Decoder, Limits, ProtocolError, Role},
    deflate::Window,
    extension::Agreed,
    message::Message,
};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_sink::Sink;
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use thiserror::Error;
use tidings_http::Outgoing;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};
use tungstenite::protocol::frame::coding::CloseCode;

/// A WebSocket: a `Stream` of the messages that come and a `Sink` for those that go, over any tokio stream.
///
/// [`upgrade`](crate::upgrade) and [`connect`](crate::connect) give one after the handshake. Methods such as
/// `next`, `send` and `split` come with the extension traits of `futures`. All of them are cancel-safe: a future
/// of `next` or `send` which is dropped loses no message and cuts none in two.
///
/// Pings are answered while the stream is polled, the latest one if the peer does not take its answers, and are
/// given to the caller too. While a `send` waits for a peer that does not read, nothing is read either, unless the
/// socket is split. While nothing is under way, it holds no buffer.
///
/// # The end
///
/// The close handshake goes on while the stream is polled, for at most 5 seconds
/// ([`CLOSE_TIMEOUT`](crate::close::CLOSE_TIMEOUT)), so read until `None`. After a [`Message::Close`] from the peer
/// the rest is done before the `None`. An error is the last item; if the peer broke the protocol, it comes when
/// the peer has been told why.
///
/// Closing the sink (`SinkExt::close`) sends a close frame with 1000 and returns when it is written, while the
/// stream still gives what is in flight; [`close`](Self::close) does all of it. Dropping a socket drops the
/// connection without a word.
#[derive(Debug)]
pub struct Socket<S> {
    io: S,
    role: Role,
    /// The window to compress with, if anything is to be compressed.
    window: Option<Window>,
    decoder: Decoder,
    closing: Closing,
    /// What followed a message in one read, if that was whole as well. Of a message that was not the decoder has what
    /// came.
    ahead: Option<Result<Message, ProtocolError>>,
    /// What was read behind that, and not decoded yet.
    rest: BytesMut,
    out: Outgoing,
    unflushed: bool,
    /// The answer to the latest ping.
    pong: Option<Bytes>,
    /// The last item of the stream, to be given when all is done.
    failure: Option<SocketError>,
    /// There since the close began.
    timer: Option<Pin<Box<Sleep>>>,
    /// What was discarded while lingering.
    discarded: usize,
    /// The peer has ended its half of the stream, behind its close frame or its fault.
    deserted: bool,
    shut: bool,
    begun: bool,
    protocol: Option<Box<str>>,
    wakers: Wakers,
}

/// Why a [`Socket`] gives or takes no more messages.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The peer broke the protocol or a limit, and has been told.
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The connection ended without a close frame.
    #[error("the connection ended without a close frame")]
    Aborted,
    /// What was to be sent comes after the close frame, ours or the peer's.
    #[error("the WebSocket is closed")]
    Closed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A socket over a stream whose opening handshake is done, for one that is done elsewhere. Nothing that came
    /// after the handshake may have been read.
    pub fn new(io: S, role: Role) -> Self {
        Self {
            io,
            role,
            window: None,
            decoder: Decoder::new(role, LIMITS),
            closing: Closing::new(),
            ahead: None,
            rest: BytesMut::new(),
            out: Outgoing::default(),
            unflushed: false,
            pong: None,
            failure: None,
            timer: None,
            discarded: 0,
            deserted: false,
            shut: false,
            begun: false,
            protocol: None,
            wakers: Wakers::default(),
        }
    }

    /// Limits for what the peer may send, instead of 1 MiB for a message and for each of its frames.
    ///
    /// # Panics
    ///
    /// If anything was read already: that was judged by other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        assert!(!self.begun, "limits are set before the first read");
        self.decoder = self.decoder.limits(limits);
        self
    }

    /// Compression as it was agreed, for a handshake that is done elsewhere; [`Upgrade`](crate::Upgrade) and
    /// [`Connect`](crate::Connect) do this by themselves. Messages of 128 bytes or more are then sent compressed if
    /// that makes them shorter.
    ///
    /// # Panics
    ///
    /// If anything was read already.
    #[must_use]
    pub fn deflate(mut self, agreed: Agreed) -> Self {
        assert!(!self.begun, "compression is set before the first read");
        self.window = agreed.window();
        self.decoder = self.decoder.deflate(true);
        self
    }

    /// What the handshake has left: what was read behind it, and the subprotocol.
    pub(crate) fn after_handshake(mut self, rest: BytesMut, protocol: Option<Box<str>>) -> Self {
        self.rest = rest;
        self.protocol = protocol;
        self
    }

    /// The subprotocol that the two sides agreed on (RFC 6455 §1.9).
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Closes: writes what was sent and a close frame, drops what still comes, and waits for the peer's close
    /// frame and the end of the connection, for at most 5 seconds. If a close frame went out before, this only
    /// waits.
    ///
    /// A reason is cut to 123 bytes. Dropping the future leaves the handshake where it is; calling again goes on.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Outcome {
        self.begin_close(CloseFrame::new(code, reason));
        loop {
            let _ = poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await;
            if let Some(outcome) = self.closing.outcome() {
                return outcome;
            }
        }
    }

    /// Whether more of what was read waits to be given, so that the next item is at hand or almost.
    ///
    /// Who answers messages one by one makes one write of many answers by `feed`, and by `flush` only when this is
    /// false:
    ///
    /// ```
    /// # use tidings_ws::{Message, Socket, SocketError};
    /// # use tokio::io::{AsyncRead, AsyncWrite};
    /// use futures_util::{SinkExt, StreamExt};
    ///
    /// async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: Socket<S>) -> Result<(), SocketError> {
    ///     while let Some(message) = socket.next().await.transpose()? {
    ///         if matches!(message, Message::Text(_) | Message::Binary(_)) {
    ///             socket.feed(message).await?;
    ///         }
    ///         if !socket.has_more() {
    ///             socket.flush().await?;
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn has_more(&self) -> bool {
        self.ahead.is_some() || !self.rest.is_empty()
    }

    /// How the connection ended, once the stream has ended.
    pub fn outcome(&self) -> Option<Outcome> {
        self.closing.outcome()
    }

    /// The stream underneath, for a look at its addresses.
    pub fn io(&self) -> &S {
        &self.io
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Socket<S> {
    type Item = Result<Message, SocketError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.begun = true;
        let shared = this.wakers.wait(Half::Reader, cx.waker());
        let cx = &mut Context::from_waker(shared.as_ref().unwrap_or(cx.waker()));
        loop {
            // What is answered to messages of one read may go out at once.
            let at_hand = this.has_more() && this.closing.phase() == Phase::Open;
            if !at_hand && !this.is_quiet() {
                this.write_on(cx);
                this.poll_timer(cx);
                if this.closing.phase() == Phase::Done {
                    return Poll::Ready(this.failure.take().map(Err));
                }
            }
            let message = if this.has_more() { this.next_at_hand() } else { ready!(this.poll_read(cx)) };
            if let Some(message) = message {
                // The caller may be done with the socket, so the answer to a ping or close goes out first.
                if this.pong.is_some() || this.closing.phase() != Phase::Open {
                    this.write_on(cx);
                }
                return Poll::Ready(Some(Ok(message)));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for Socket<S> {
    type Error = SocketError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        let this = self.get_mut();
        if this.closing.phase() == Phase::Open && this.out.len() >= HIGH {
            ready!(this.poll_written(cx))?;
        }
        Poll::Ready(if this.closing.phase() == Phase::Open { Ok(()) } else { Err(SocketError::Closed) })
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), SocketError> {
        let this = self.get_mut();
        if this.closing.phase() != Phase::Open {
            return Err(SocketError::Closed);
        }
        match message {
            Message::Close(frame) => this.begin_close(frame),
            message => this.put(message),
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.get_mut().poll_written(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        let this = self.get_mut();
        this.begin_close(CloseFrame::new(CloseCode::Normal, ""));
        this.poll_written(cx)
    }
}

/// Limits where none are set: 1 MiB.
const LIMITS: Limits = Limits::new(1 << 20, 1 << 20);

#[cfg(test)]
mod tests;
