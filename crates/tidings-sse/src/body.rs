//! An event stream as the body of an answer, for a server that keeps the connection.

use crate::{
    drive::Connection,
    encode::{Life, unchunk},
};
use bytes::Bytes;
use http_body::Frame;
use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tidings_core::{Alarm, Batch, Hub, Session, Step, Tray, Wheel};
use tidings_http::{Bypass, Progress, Way};
use tokio::task::AbortHandle;

/// The body: asked by a server whenever that has place for more. One whose client takes nothing does not ask, and so cannot
/// be told by the answer; a task sees to it that the session ends then. If there is a way past the server, the body has nothing for
/// it but the opening and the end.
pub(crate) struct Stream {
    shared: Arc<Mutex<Shared>>,
    guard: AbortHandle,
    /// There until it is known that it is shut, or for as long as it is used.
    way: Option<Way>,
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
    /// Begins with `opening`, which the client gets at once. What comes after it is in chunks if there is a way past the server.
    pub(crate) fn new(
        session: Session,
        hub: &Hub,
        life: &'static Life,
        opening: Bytes,
        progress: Option<Progress>,
        bypass: Option<Bypass>,
    ) -> Self {
        let way = bypass.map(|bypass| bypass.ask(&opening));
        let pull = Some(Pull::new(session, hub, life, opening, way.is_some()));
        let idle = hub.wheel().ticks(hub.limits().idle);
        let shared = Arc::new(Mutex::new(Shared { pull, handed: None, idle, progress }));
        let guard = tokio::spawn(guard(Arc::clone(&shared), hub.wheel().alarm())).abort_handle();
        Self { shared, guard, way, beside: None }
    }

    /// Goes past the server from here on, if it can.
    fn poll_way(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(way) = &self.way else { return Poll::Ready(()) };
        let mut shared = lock(&self.shared);
        // What it begins with is the server's to write; and it may have been given up.
        let Some(pull) = shared.pull.as_mut().filter(|pull| pull.opening.is_none()) else {
            return Poll::Ready(());
        };
        let open = match way.poll_open(cx) {
            Poll::Ready(open) => open,
            Poll::Pending => {
                // Whoever asks for the body may want more of it before anything is written.
                let due = pull.quiet + pull.wheel.ticks(PATIENCE);
                ready!(pull.alarm.poll(cx, due));
                false
            }
        };
        if open
            && let Some(tcp) = way.tcp()
            && let Some(Pull { session, wheel, life, .. }) = shared.pull.take()
        {
            self.guard.abort();
            // An alarm of its own: what was waited for here would wake it for nothing.
            self.beside = Some(Box::new(Connection::beside(tcp, session, wheel.alarm(), life)));
        } else {
            self.way = None;
        }
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
                // It is asked first: a tray that always has something must not keep from it that it is out of a room.
                let called = self.session.poll_call(cx).is_ready();
                if called {
                    let cut = self.session.take_back();
                    debug_assert!(cut.is_empty(), "a tray takes all or nothing");
                }
                if let Some(left) = self.tray.take(cx.waker()) {
                    self.quiet = self.wheel.now();
                    return Poll::Ready(Some(left));
                }
                if !called {
                    return self.poll_silence(cx);
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
        if this.beside.is_none() {
            ready!(this.poll_way(cx));
        }
        match &mut this.beside {
            Some(connection) => {
                ready!(connection.poll_end(cx));
                // What is to be written yet is the server's.
                this.way = None;
                Poll::Ready(None)
            }
            None => lock(&this.shared).poll_bytes(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }
}

/// How long the server may take to write what the stream begins with before the rest goes the same way.
const PATIENCE: Duration = Duration::from_secs(1);
