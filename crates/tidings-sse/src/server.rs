//! The endpoint.

use crate::{
    drive::Connection,
    encode::{Format, Life, Sse, put_retry, unchunk},
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
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};
use tidings_core::{Alarm, Batch, Hub, Session, Step, Tray, Wheel};
use tidings_http::{
    Answering, Asked, Body, Bypass, Endpoint, Progress, Query, Refusal, Request, Takeover, no_content,
};
use tokio::task::AbortHandle;

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
        return Ok(answer(Body::stream(Stream::new(session, &hub, life, progress, bypass))));
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

/// The body: asked by a server whenever that has place for more. One whose client takes nothing does not ask, and so cannot
/// be told by the answer; a task sees to it that the session ends then. If there is a way past the server, the body has nothing for
/// it but the opening and the end.
struct Stream {
    shared: Arc<Mutex<Shared>>,
    guard: AbortHandle,
    /// There until it is known whether it is open.
    bypass: Option<Bypass>,
    /// What goes past the server.
    beside: Option<Box<Connection>>,
}

struct Shared {
    /// None: given up.
    pull: Option<Pull>,
    /// Since when the server has had something without asking for more; in ticks of the wheel.
    handed: Option<u64>,
    /// For how many ticks that may be so.
    idle: u64,
    /// That of the connection, where it is known.
    progress: Option<Progress>,
}

impl Stream {
    fn new(
        session: Session,
        hub: &Hub,
        life: &'static Life,
        progress: Option<Progress>,
        bypass: Option<Bypass>,
    ) -> Self {
        let opening = opening();
        bypass.iter().for_each(|bypass| bypass.ask(&opening));
        let pull = Some(Pull::new(session, hub, life, opening.freeze(), bypass.is_some()));
        let idle = hub.wheel().ticks(hub.limits().idle);
        let shared = Arc::new(Mutex::new(Shared { pull, handed: None, idle, progress }));
        let guard = tokio::spawn(guard(Arc::clone(&shared), hub.wheel().alarm())).abort_handle();
        Self { shared, guard, bypass, beside: None }
    }

    /// Goes past the server from here on, if it can.
    fn poll_bypass(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(bypass) = &self.bypass else { return Poll::Ready(()) };
        let mut shared = lock(&self.shared);
        // What it begins with is the server's to write.
        if shared.pull.as_ref().is_some_and(|pull| pull.opening.is_some()) {
            return Poll::Ready(());
        }
        if ready!(bypass.poll_open(cx))
            && let Some(tcp) = bypass.tcp()
            && let Some(Pull { session, alarm, life, .. }) = shared.pull.take()
        {
            self.guard.abort();
            self.beside = Some(Box::new(Connection::beside(tcp, session, alarm, life)));
        }
        self.bypass = None;
        Poll::Ready(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.guard.abort();
        self.beside.iter_mut().for_each(|connection| connection.leave());
        // A server may see to its connections itself.
        let mut shared = lock(&self.shared);
        let given_up = shared.progress.take().is_some_and(|progress| progress.is_given_up());
        shared.pull.take_if(|_| given_up).inspect(|pull| pull.session.note_stalled());
    }
}

/// Ends the session when nothing was taken for as long as may be.
async fn guard(shared: Arc<Mutex<Shared>>, mut alarm: Alarm) {
    loop {
        let due = {
            let shared = lock(&shared);
            shared.handed.unwrap_or_else(|| alarm.wheel().now()) + shared.idle
        };
        poll_fn(|cx| alarm.poll(cx, due)).await;
        if lock(&shared).give_up() {
            return;
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Ends the session if nothing was taken for as long as may be.
    fn give_up(&mut self) -> bool {
        let idle = self.idle;
        let is_late = |pull: &mut Pull| self.handed.is_some_and(|since| pull.wheel.now() >= since + idle);
        let Some(pull) = self.pull.take_if(is_late) else { return false };
        pull.session.note_stalled();
        true
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.handed = None;
        let Some(pull) = &mut self.pull else { return Poll::Ready(None) };
        let bytes = ready!(pull.poll_bytes(cx));
        if bytes.is_some() {
            self.handed = Some(pull.wheel.now());
        }
        Poll::Ready(bytes)
    }
}

/// Pulls from the session, and says that it is alive when there is nothing to say. While the session has nothing else to do, it
/// is lent, and what is new is in the tray.
struct Pull {
    session: Session,
    tray: Arc<Tray>,
    batch: Batch,
    opening: Option<Bytes>,
    /// How long there may be silence, and since when there is; in ticks of the wheel.
    heartbeat: u64,
    quiet: u64,
    wheel: Wheel,
    alarm: Alarm,
    life: &'static Life,
    ended: bool,
    /// What comes is in chunks, for it was to go past the server, which makes its own.
    chunked: bool,
}

impl Pull {
    fn new(session: Session, hub: &Hub, life: &'static Life, opening: Bytes, chunked: bool) -> Self {
        let wheel = hub.wheel().clone();
        Self {
            session,
            tray: Arc::default(),
            batch: Batch::new(hub.limits().batch),
            opening: Some(opening),
            heartbeat: wheel.ticks(hub.limits().heartbeat),
            quiet: wheel.now(),
            alarm: wheel.alarm(),
            life,
            ended: false,
            chunked,
            wheel,
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(opening));
        }
        let bytes = ready!(self.poll_new(cx));
        Poll::Ready(bytes.map(|bytes| if self.chunked { unchunk(&bytes) } else { bytes }))
    }

    fn poll_new(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(part) = self.batch.parts().pop_front() {
            return Poll::Ready(Some(part));
        }
        loop {
            if self.session.is_lent() {
                if let Some(left) = self.tray.take(cx.waker()) {
                    self.quiet = self.wheel.now();
                    return Poll::Ready(Some(left));
                }
                if self.session.poll_call(cx).is_pending() {
                    return self.poll_silence(cx);
                }
                let cut = self.session.take_back();
                debug_assert!(cut.is_empty(), "a tray takes all or nothing");
                // Before it was taken back, more may have been left.
                if let Some(left) = self.tray.take(cx.waker()) {
                    self.quiet = self.wheel.now();
                    return Poll::Ready(Some(left));
                }
            }
            // Where every room has ended nothing will come; whoever comes back is told so for good.
            if self.ended || self.session.has_ended() {
                return Poll::Ready(None);
            }
            match self.session.poll_batch(cx, &mut self.batch) {
                Poll::Ready(Step::Some) => {
                    self.quiet = self.wheel.now();
                    return Poll::Ready(self.batch.parts().pop_front());
                }
                Poll::Ready(Step::End(_)) => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    self.session.lend(&self.tray);
                    if !self.session.is_lent() {
                        return self.poll_silence(cx);
                    }
                }
            }
        }
    }

    /// Says something when nothing was said for long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        ready!(self.alarm.poll(cx, self.quiet + self.heartbeat));
        self.quiet = self.wheel.now();
        Poll::Ready(Some(Bytes::from_static(if self.chunked { self.life.chunk } else { self.life.plain })))
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        ready!(this.poll_bypass(cx));
        match &mut this.beside {
            Some(connection) => connection.poll_end(cx).map(|()| None),
            None => lock(&this.shared).poll_bytes(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }
}

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Milliseconds after which a browser that lost the connection comes back.
const RETRY: [u32; 2] = [1_000, 3_000];
/// The same where the server has too much to do.
const LATER: [u32; 2] = [5_000, 15_000];
