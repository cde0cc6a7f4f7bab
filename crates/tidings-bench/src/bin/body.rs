//! The least that an event stream costs as a body of hyper's: every client has a queue of ready bytes, a wake and a frame, and
//! nothing is promised. What is published on `/pub/{room}`, a WebSocket, comes out of `/sse/{room}`.

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use clap::Parser;
use futures_util::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    future::ready,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};
use tidings_ws::{Message, Socket, Upgraded, upgrade};
use tokio::net::TcpListener;

/// The least that an event stream costs as a body of hyper's.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Have hyper copy what it writes together, instead of writing from several places at once.
    #[arg(long)]
    flat: bool,
}

/// What waits for a client.
#[derive(Default)]
struct Queue {
    bytes: VecDeque<Bytes>,
    waker: Option<Waker>,
}

type Shared<T> = Arc<Mutex<T>>;
type Rooms = Shared<HashMap<String, Vec<Shared<Queue>>>>;
type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Options { listen, flat } = Options::parse();
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let rooms = Rooms::default();
    let mut server = http1::Builder::new();
    if flat {
        server.writev(false);
    }
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let rooms = Arc::clone(&rooms);
        let service = service_fn(move |request| ready(Ok::<_, Infallible>(answer(request, &rooms))));
        let connection = server.serve_connection(TokioIo::new(stream), service).with_upgrades();
        // An error is the client's going.
        tokio::spawn(async { connection.await.ok() });
    }
}

fn answer(mut request: Request<Incoming>, rooms: &Rooms) -> Answer {
    let path = request.uri().path().to_owned();
    if let Some(room) = path.strip_prefix("/sse/") {
        let queue = Shared::default();
        lock(rooms).entry(room.to_owned()).or_default().push(Arc::clone(&queue));
        let mut response = Response::new(BodyExt::boxed_unsync(Stream(queue)));
        let kind = http::HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        return response;
    }
    match (path.strip_prefix("/pub/"), upgrade(&mut request)) {
        (Some(room), Ok((response, socket))) => {
            let (room, rooms) = (room.to_owned(), Arc::clone(rooms));
            tokio::spawn(async move {
                if let Ok(socket) = socket.await {
                    publish(&room, &rooms, socket).await;
                }
            });
            response.map(|()| Empty::new().boxed_unsync())
        }
        _ => {
            let mut response = Response::new(Empty::new().boxed_unsync());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

async fn publish(room: &str, rooms: &Rooms, mut socket: Socket<Upgraded>) {
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let mut event = BytesMut::with_capacity(text.len() + 8);
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(text.as_bytes());
        event.extend_from_slice(b"\n\n");
        let event = event.freeze();
        for queue in lock(rooms).get(room).into_iter().flatten() {
            let waker = {
                let mut queue = lock(queue);
                queue.bytes.push_back(event.clone());
                queue.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

struct Stream(Shared<Queue>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut queue = lock(&self.0);
        let all = match queue.bytes.len() {
            0 => {
                queue.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            1 => queue.bytes.pop_front().unwrap_or_default(),
            _ => {
                let mut all = BytesMut::with_capacity(queue.bytes.iter().map(Bytes::len).sum());
                queue.bytes.drain(..).for_each(|bytes| all.extend_from_slice(&bytes));
                all.freeze()
            }
        };
        Poll::Ready(Some(Ok(Frame::data(all))))
    }
}
