//! The endpoint.

use crate::encode::{Poll, answer};
use http::{HeaderValue, Response, header};
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task,
    time::Duration,
};
use tidings_core::{Batch, Hub};
use tidings_http::{Answering, Asked, Body, Endpoint, Query, Refusal, Request, no_content};
use tokio::time::timeout;

/// `GET …/poll?room=…&cursor=…&wait=25`: what is new, or, after so many seconds, that nothing is.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct LongPoll {
    /// Polls under way.
    pending: Arc<AtomicUsize>,
}

/// A poll's place among those under way.
struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn take(pending: &Arc<AtomicUsize>, most: usize) -> Result<Self, Refusal> {
        let turn = Self(Arc::clone(pending));
        if pending.fetch_add(1, Relaxed) >= most {
            return Err(Refusal::of("busy", "as many polls wait as this server takes"));
        }
        Ok(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl LongPoll {
    /// The endpoint.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Endpoint for LongPoll {
    fn path(&self) -> &'static str {
        "poll"
    }

    fn answer(&self, hub: Hub, request: Request) -> Answering {
        let turn = Turn::take(&self.pending, hub.limits().polls);
        Box::pin(async move {
            let _turn = match turn {
                Ok(turn) => turn,
                Err(refusal) => return refusal.into_response(),
            };
            poll(hub, request).await.unwrap_or_else(Refusal::into_response)
        })
    }
}

async fn poll(hub: Hub, request: Request) -> Result<Response<Body>, Refusal> {
    let head = request.head;
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    let asked = Asked::parse(&head, &query, hub.limits().rooms)?.some()?;
    let wait = match query.one("wait")? {
        None => WAIT,
        Some(text) => {
            let seconds: u64 = text
                .parse()
                .map_err(|_| Refusal::of("bad_query", "\"wait\" is a whole number of seconds"))?;
            Duration::from_secs(seconds).min(hub.limits().poll_wait)
        }
    };
    let who = asked.identify(&hub, &head, &query).await?;
    let mut session = asked.open(&hub, Arc::new(Poll { hello: asked.hello }), who).await?;
    if asked.is_over(&session) {
        return Ok(no_content());
    }
    if asked.resumed && !asked.hello {
        // Or a poll over an ended room and a live one would be answered at once for ever.
        session.skip_ends();
    }
    let mut batch = Batch::new(hub.limits().batch);
    // Whoever comes without a cursor is given one at once, for nothing could be asked for without it.
    let wait = if asked.resumed && !asked.hello { wait } else { Duration::ZERO };
    let kind = match timeout(wait, poll_fn(|cx| more(&mut session, &mut batch, cx))).await {
        Ok(()) => "events",
        Err(_) if asked.resumed => "timeout",
        Err(_) => "events",
    };
    let (rooms, cursor) = session.standing().cursor();
    let body = answer(kind, &cursor.display(&rooms), batch.parts());
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Resolves when there is something to answer. A notice that this transport does not tell is not worth it.
fn more(
    session: &mut tidings_core::Session,
    batch: &mut Batch,
    cx: &mut task::Context<'_>,
) -> task::Poll<()> {
    session.poll_batch(cx, batch).map(drop)
}

/// How long a poll waits unless it says otherwise: below the 30 s after which common proxies give up.
const WAIT: Duration = Duration::from_secs(25);
