//! Bodies of requests and answers.

use bytes::{Buf, Bytes};
use http::{HeaderMap, header::EXPECT};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout;

/// Any error, where only its text matters.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer: all there, or a stream.
pub struct Body(Kind);

enum Kind {
    Whole(Option<Bytes>),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Infallible> + Send>>),
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self(Kind::Whole(None))
    }

    /// A body that comes as it comes. Dropping it is how a stream learns that the client has gone.
    pub fn stream(body: impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static) -> Self {
        Self(Kind::Stream(Box::pin(body)))
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self(Kind::Whole(Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty())))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Stream(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Whole(_) => "Body::Whole",
            Kind::Stream(_) => "Body::Stream",
        })
    }
}

/// The body of a request, from whatever server.
pub struct RequestBody {
    body: UnsyncBoxBody<Bytes, BoxError>,
    /// What its head says of its length, which mapping its frames forgets.
    announced: SizeHint,
    /// Whether any of it was asked for.
    begun: bool,
}

/// Why a body could not be taken.
#[derive(Debug)]
pub(crate) enum BodyError {
    TooLarge,
    /// The client broke it off, or its framing is wrong.
    Broken,
}

impl RequestBody {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let announced = body.size_hint();
        let body = body.map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())));
        Self { body: body.map_err(Into::into).boxed_unsync(), announced, begun: false }
    }

    /// Whether there is nothing in it, or nothing more.
    pub(crate) fn is_at_end(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    /// The whole body, if it has at most `max` bytes; of more, no more than that is kept.
    pub(crate) async fn collect(&mut self, max: usize) -> Result<Bytes, BodyError> {
        if self.announced.lower() > max as u64 {
            return Err(BodyError::TooLarge);
        }
        // Memory follows what came, at most doubling, and never goes past what the body may become.
        let longest = self.announced.upper().map_or(max, |upper| max.min(upper as usize));
        let mut whole = Vec::new();
        self.begun = true;
        while let Some(frame) = self.body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            let needed = whole.len() + data.len();
            if needed > max {
                return Err(BodyError::TooLarge);
            }
            if needed > whole.capacity() {
                let capacity = whole.capacity().saturating_mul(2).min(longest).max(needed);
                whole.reserve_exact(capacity - whole.len());
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.into())
    }

    /// Takes in what still comes of a body that is refused. A connection that is closed with bytes unread is reset,
    /// and a client which sends everything before it reads would never see why. What comes is bounded in bytes and in
    /// time; a client that waits to be asked for its body (RFC 9110 §10.1.1) is not asked.
    pub(crate) async fn discard(mut self, head: &HeaderMap) {
        if !self.begun && head.contains_key(EXPECT) {
            return;
        }
        let discarding = async {
            let mut left = DISCARD;
            while !self.is_at_end()
                && let Ok(Some(Ok(frame))) = timeout(DISCARD_PAUSE, self.body.frame()).await
            {
                let len = frame.data_ref().map_or(0, Bytes::len);
                if len > left {
                    break;
                }
                left -= len;
            }
        };
        // Whoever sends for longer is let go with a reset.
        let _ = timeout(DISCARD_TIME, discarding).await;
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestBody")
    }
}

/// Bytes of a refused body that are taken in.
const DISCARD: usize = 16 << 20;
/// How long they may take, and how long nothing may come.
const DISCARD_TIME: Duration = Duration::from_secs(5);
const DISCARD_PAUSE: Duration = Duration::from_secs(1);
