//! A server to test.

use crate::{Shared, brokers};
use hyper::{
    Request,
    body::Incoming,
    service::{Service as HyperService, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use socket2::SockRef;
use std::{future::Future, net::SocketAddr, time::Duration};
use tidings::{
    Event, Hub, Position, Rooms, Service, gate,
    http::{Bypass, Lane},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// A server on a free port of the loopback. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    hub: Hub,
    address: SocketAddr,
    task: JoinHandle<()>,
    /// Held until its end.
    shared: Option<Shared>,
}

impl Server {
    /// A server whose rooms keep 20 000 events, with an open gate.
    pub async fn start() -> Self {
        Self::with_rooms(Rooms::log(20_000, Duration::from_secs(3_600))).await
    }

    /// A server whose rooms are all of this class, with an open gate, on a broker of its own: see [`Shared`].
    pub async fn with_rooms(rooms: Rooms) -> Self {
        let shared = Shared::new();
        let mut server = Self::with_hub(brokers::hub(shared.broker().await, rooms)).await;
        server.shared = Some(shared);
        server
    }

    /// The same in memory whatever nodes share else, for what is about that.
    pub async fn in_memory(rooms: Rooms) -> Self {
        Self::with_hub(Hub::builder().gate(gate::open()).rooms("*", rooms).build()).await
    }

    /// A server for a hub.
    pub async fn with_hub(hub: Hub) -> Self {
        Self::with_service(tidings::service(hub)).await
    }

    /// A server for a service: ours, or one as an application may have its own, with `TIDINGS_SERVER` set: `hyper`, of
    /// whose connections nobody knows the sockets, or `lanes`, past which the bodies of answers are written.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn with_service(service: Service) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let hub = service.hub().clone();
        let task = tokio::spawn(async move {
            match Foreign::asked() {
                Some(foreign) => serve_by_hyper(listener, service, foreign).await,
                None => tidings::serve(listener, service).await.expect("the server runs"),
            }
        });
        Self { hub, address, task, shared: None }
    }

    /// The hub.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Publishes a number as the event `n`.
    ///
    /// # Panics
    /// If it cannot be published.
    pub async fn publish(&self, room: &str, number: u64) -> Position {
        let event = Event::json("n", &number).expect("a number is JSON");
        self.hub.publish(room, event).await.expect("the broker takes it")
    }

    /// Sessions, all transports together.
    pub fn sessions(&self) -> usize {
        self.hub.stats().sessions.values().sum()
    }

    /// Waits until there are so many sessions.
    ///
    /// # Panics
    /// If there are not within `limit`.
    pub async fn until_sessions(&self, count: usize, limit: Duration) {
        within(limit, "the number of sessions", async {
            while self.sessions() != count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether servers leave all writing to hyper, so that what is written is pulled from the sessions: with `TIDINGS_SERVER=hyper`.
/// Else the hub writes to the sockets itself wherever it can. What is promised about delivery holds for both.
pub fn pulls() -> bool {
    Foreign::asked() == Some(Foreign::Hyper)
}

/// A server as an application may have its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Foreign {
    Hyper,
    Lanes,
}

impl Foreign {
    fn asked() -> Option<Self> {
        match std::env::var("TIDINGS_SERVER").ok()?.as_str() {
            "hyper" => Some(Self::Hyper),
            "lanes" => Some(Self::Lanes),
            other => panic!("TIDINGS_SERVER is hyper or lanes, and not {other}"),
        }
    }
}

async fn serve_by_hyper(listener: TcpListener, service: Service, foreign: Foreign) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a listener that listens");
        match foreign {
            Foreign::Hyper => {
                stream.set_nodelay(true).expect("a connection");
                // Who takes nothing is not noticed before the kernel is full.
                SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER).expect("a connection");
                let (read, write) = stream.into_split();
                connections.spawn(serve_one(tokio::io::join(read, write), service.clone(), None));
            }
            Foreign::Lanes => {
                let lane = Lane::new(stream);
                let bypass = lane.bypass();
                connections.spawn(serve_one(lane, service.clone(), Some(bypass)));
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_one(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Service,
    bypass: Option<Bypass>,
) {
    let answer = service_fn(move |mut request: Request<Incoming>| {
        bypass.iter().for_each(|bypass| drop(request.extensions_mut().insert(bypass.clone())));
        HyperService::call(&service, request)
    });
    // Clients go as they like.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(io), answer)
        .await;
}

const SEND_BUFFER: usize = 64 << 10;

/// Waits for `future`, but not for ever.
///
/// # Panics
/// If it takes longer than `limit`.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}
