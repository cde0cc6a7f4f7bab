//! The endpoint.

use crate::{
    body::Stream,
    drive::Connection,
    encode::{Format, Life, Sse, put_retry},
};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE},
    request::Parts,
};
use http_body::Frame;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use tidings_core::Hub;
use tidings_http::{
    Answering, Asked, Body, Bypass, Endpoint, Progress, Query, Refusal, Request, Takeover, no_content,
};

/// `GET …/sse?room=…`: an event stream.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct EventStream;

impl EventStream {
    /// The endpoint.
    pub fn new() -> Self {
        Self
    }
}

impl Endpoint for EventStream {
    fn path(&self) -> &'static str {
        "sse"
    }

    fn refuse(&self, head: &Parts, refusal: Refusal) -> Response<Body> {
        refuse(is_browser(head), refusal)
    }

    fn answer(&self, hub: Hub, request: Request) -> Answering {
        Box::pin(async move {
            let browser = is_browser(&request.head);
            open(hub, request).await.unwrap_or_else(|refusal| refuse(browser, refusal))
        })
    }
}

fn is_browser(head: &Parts) -> bool {
    head.headers.get_all(ACCEPT).iter().any(|accept| accept == "text/event-stream")
}

/// A browser takes any error for final; what is over soon must not be one.
fn refuse(browser: bool, refusal: Refusal) -> Response<Body> {
    match refusal.status() {
        StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::INTERNAL_SERVER_ERROR
        | StatusCode::TOO_MANY_REQUESTS
            if browser =>
        {
            refusal.told_as(later())
        }
        _ => refusal.into_response(),
    }
}

async fn open(hub: Hub, request: Request) -> Result<Response<Body>, Refusal> {
    let head = request.head;
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    let asked = Asked::parse(&head, &query, hub.limits().rooms)?.some()?;
    let format = match query.one("format")? {
        None | Some("plain") => Format::Plain,
        Some("json") => Format::Json,
        Some(_) => return Err(Refusal::of("bad_query", "\"format\" is plain or json")),
    };
    let who = asked.identify(&hub, &head, &query).await?;
    let (takeover, bypass) = (Takeover::of(&head).cloned(), Bypass::of(&head).cloned());
    let transport = Sse::shared(format, asked.rooms.len(), takeover.is_some() || bypass.is_some());
    let session = asked.open(&hub, transport, who).await?;
    if asked.is_over(&session) {
        // The one answer after which a browser does not come back (WHATWG HTML §9.2.3).
        return Ok(no_content());
    }
    let life = if asked.hello && format == Format::Json { Life::EVENT } else { Life::COMMENT };
    let Some(takeover) = takeover else {
        let progress = Progress::of(&head).cloned();
        return Ok(answer(Body::stream(Stream::new(
            session,
            &hub,
            life,
            opening().freeze(),
            progress,
            bypass,
        ))));
    };
    takeover.by(move |tcp, _| {
        tokio::spawn(Connection::new(tcp, session, &hub, &opening(), life));
    });
    Ok(answer(Body::stream(Elsewhere)))
}

/// What every client gets at once: one that sees no byte believes that it is still connecting. The time to come back
/// is each client's own.
fn opening() -> BytesMut {
    let mut opening = BytesMut::from(&b": tidings\n"[..]);
    put_retry(RETRY, &mut opening);
    opening.extend_from_slice(b"\n");
    opening
}

/// The body of an answer that another writes.
struct Elsewhere;

impl http_body::Body for Elsewhere {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// An event stream that says when to come back, and ends.
fn later() -> Response<Body> {
    let mut text = BytesMut::from(&b": not now\n"[..]);
    put_retry(LATER, &mut text);
    text.extend_from_slice(b"\n");
    answer(Body::from(text.freeze()))
}

fn answer(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Also no transformation: a proxy that compresses would hold events back until its buffer is full.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Milliseconds after which a browser that lost the connection comes back.
const RETRY: [u32; 2] = [1_000, 3_000];
/// The same where the server has too much to do.
const LATER: [u32; 2] = [5_000, 15_000];
