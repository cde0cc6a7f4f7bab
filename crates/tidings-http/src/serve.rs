//! The server loop.

use crate::{
    Listener, Peer, Service, Tcp,
    door::{Door, Permit},
    takeover::{Progress, Takeover, Watched},
};
use http::Version;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service as _, service_fn},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use std::{
    convert::Infallible,
    future::{Future, IntoFuture, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};
use tidings_core::{Buckets, Rate};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// Serves HTTP/1.1 and HTTP/2 (with prior knowledge) on a listener, until the process ends or, with
/// [`until`](Serve::until), until a signal. The listener is one of tokio's, for TCP or a Unix socket, or
/// [`bind_unix`](crate::bind_unix)'s.
pub fn serve(listener: impl Into<Listener>, service: Service) -> Serve {
    Serve {
        listener: listener.into(),
        service,
        until: None,
        patience: PATIENCE,
        connections: CONNECTIONS,
        address_connections: ADDRESS_CONNECTIONS,
        accepts: Rate::unlimited(),
    }
}

/// A server about to run: await it.
///
/// Beside what can be set, a connection is bounded by this: the head of a request, with all that comes before it, has 10 seconds,
/// 64 KiB, and over HTTP/1 100 fields; a connection of HTTP/1 that is kept for the next request is kept for 9 seconds; one of
/// HTTP/2 has 200 requests at once at most, and is ended when pings are not answered; a client that takes nothing of
/// an answer for [`Limits::idle`](tidings_core::Limits) is given up.
#[must_use = "a server runs when it is awaited"]
pub struct Serve {
    listener: Listener,
    service: Service,
    until: Option<Signal>,
    patience: Duration,
    connections: usize,
    address_connections: usize,
    accepts: Rate,
}

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Serve {
    /// Runs until `signal` resolves, [`shutdown_signal`](crate::shutdown_signal()) say. Then the hub is
    /// [drained](tidings_core::Hub::drain): it is not ready any more, clients that come are refused with 503, those that are there are told to
    /// come back elsewhere, and each connection ends with what it is asked. When all have gone, or the
    /// [`patience`](Self::patience) is at its end, nobody is listened to any more, and the server ends.
    pub fn until(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Some(Box::pin(signal));
        self
    }

    /// How long clients may take to go once the signal has come; 10 seconds unless set. With many clients choose more: it is
    /// the time over which they come to other servers.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Connections at once; 100 000 unless set, and never more than the process may have descriptors, with a margin of 128.
    /// What comes when there are as many is closed at once.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Connections of one [`Address`](tidings_core::Address) at once; 1 000 unless set, for an office is one. Those of this
    /// machine, and of the [`Proxies`](crate::Proxies) that the service knows, are counted only among all.
    pub fn address_connections(mut self, connections: usize) -> Self {
        self.address_connections = connections;
        self
    }

    /// How often connections are taken; as they come unless set. Those that have to wait do so in the system's queue, so that
    /// clients which all come back at once, after a restart, are let in one after the other.
    pub fn accepts(mut self, rate: Rate) -> Self {
        self.accepts = rate;
        self
    }

    async fn run(self) -> io::Result<()> {
        let Self { listener, service, until, patience, connections, address_connections, accepts } = self;
        let door = Door::new(connections, address_connections, Arc::clone(service.counts()));
        listener.lengthen();
        let accepts = Buckets::new(accepts);
        let until = until.unwrap_or_else(|| Box::pin(std::future::pending()));
        let (phase, _) = watch::channel(Phase::Open);
        let rest = {
            let mut taking = pin!(take(&listener, &accepts, &door, &service, &phase));
            tokio::select! {
                never = &mut taking => match never {},
                () = until => {}
            }
            let begun = Instant::now();
            phase.send_replace(Phase::Draining);
            // Whoever comes is answered until the end, so that a balancer sees why it should send nobody.
            let drained = tokio::select! {
                never = &mut taking => match never {},
                _ = service.hub().drain(patience) => begun.elapsed(),
            };
            patience.saturating_sub(drained)
        };
        drop(listener);
        phase.send_replace(Phase::Over);
        // Each connection listens until it is gone. Whoever is still there after that has had its time; the runtime's end
        // cuts it off.
        let _ = timeout(rest, phase.closed()).await;
        Ok(())
    }
}

/// What connections are told of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// A connection ends with what it is asked.
    Draining,
    /// Nothing is answered that was not asked yet.
    Over,
}

/// Resolves when the server is in a phase, or has ended.
async fn reached(mut phase: watch::Receiver<Phase>, least: Phase) {
    // There is nobody who says so any more if the server's future was dropped.
    let _ = phase.wait_for(|phase| *phase >= least).await;
}

/// Takes connections, for ever.
async fn take(
    listener: &Listener,
    accepts: &Buckets,
    door: &Door,
    service: &Service,
    phase: &watch::Sender<Phase>,
) -> Infallible {
    loop {
        match accept(listener, accepts).await {
            Ok((stream, peer)) => {
                if let Some(permit) = door.enter(peer, service.is_proxy(peer)) {
                    connection(stream, peer, permit, service.clone(), phase.subscribe());
                }
            }
            Err(error) => after_failure(&error).await,
        }
    }
}

impl IntoFuture for Serve {
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl std::fmt::Debug for Serve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// The next connection, when it may be taken.
async fn accept(listener: &Listener, accepts: &Buckets) -> io::Result<(TcpStream, Peer)> {
    while let Err(wait) = accepts.take(()) {
        sleep(wait).await;
    }
    listener.accept().await
}

/// Serves one connection, in a task of its own.
fn connection(
    stream: TcpStream,
    peer: Peer,
    permit: Permit,
    service: Service,
    phase: watch::Receiver<Phase>,
) {
    set_up(&stream);
    tokio::spawn(async move {
        let begun = Instant::now();
        let http2 = tokio::select! {
            // A peer that says nothing must not wait for ever, nor hold up the end.
            spoken = timeout(HEADER_TIME, speaks_http2(&stream)) => match spoken {
                Ok(Ok(http2)) => http2,
                Ok(Err(_)) | Err(_) => return,
            },
            () = reached(phase.clone(), Phase::Over) => return,
        };
        if http2 {
            serve_http2(stream, peer, service, phase).await;
            drop(permit);
        } else {
            // What the first bytes took counts, or a peer could have the time twice.
            let header_time = HEADER_TIME.saturating_sub(begun.elapsed()).max(LEAST_HEADER_TIME);
            serve_http1(stream, peer, permit, service, header_time, phase).await;
        }
    });
}

/// A socket that refuses an option works all the same.
pub(crate) fn set_up(stream: &TcpStream) {
    // Events are small and wait for nothing.
    let _ = stream.set_nodelay(true);
    // What a client does not take waits in its room, which all share, and not in the kernel, which would make place for
    // megabytes. Unlike a small send buffer this takes nothing from a client that is far away.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
}

async fn serve_http2(stream: TcpStream, peer: Peer, service: Service, phase: watch::Receiver<Phase>) {
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        service.call(request)
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING)
        .max_header_list_size(HEADER_BYTES as u32)
        .max_concurrent_streams(H2_STREAMS)
        .max_send_buf_size(H2_BUFFER)
        .initial_stream_window_size(H2_WINDOW)
        .initial_connection_window_size(2 * H2_WINDOW)
        // WebSockets as streams of a connection (RFC 8441).
        .enable_connect_protocol();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // An error here is the peer's: a reset, a bad head. It was answered where it could be.
    tokio::select! {
        _ = &mut connection => return,
        () = reached(phase.clone(), Phase::Draining) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn serve_http1(
    stream: TcpStream,
    peer: Peer,
    permit: Permit,
    service: Service,
    header_time: Duration,
    phase: watch::Receiver<Phase>,
) {
    let takeover = Takeover::new();
    let asked = AtomicBool::new(false);
    let answer = service_fn(|mut request: http::Request<Incoming>| {
        asked.store(true, Relaxed);
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(Progress::new(&takeover));
        // Of HTTP/1.0 hyper makes another framing.
        if request.version() == Version::HTTP_11 {
            request.extensions_mut().insert(takeover.clone());
        }
        service.call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(HEADER_BYTES);
    let mut connection = builder.serve_connection(Watched::new(stream, takeover.clone()), answer);
    let mut next = pin!(reached(phase.clone(), Phase::Draining));
    let mut now = Phase::Open;
    // What the first bytes took counts for the first head alone.
    let mut first = pin!(sleep(header_time));
    let (mut alarm, mut stalled) = (service.hub().wheel().alarm(), None);
    let idle = alarm.wheel().ticks(service.hub().limits().idle);
    let ended = poll_fn(|cx| {
        if now == Phase::Open && next.as_mut().poll(cx).is_ready() {
            now = Phase::Draining;
            next.set(reached(phase.clone(), Phase::Over));
            // hyper would end one that has asked nothing yet, whose request may be there; the answer to that says that it
            // is the last.
            if asked.load(Relaxed) {
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
        if now == Phase::Draining && next.as_mut().poll(cx).is_ready() {
            now = Phase::Over;
        }
        if !asked.load(Relaxed) && now == Phase::Over {
            return Poll::Ready(None);
        }
        if !asked.load(Relaxed) && first.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        match connection.poll_without_shutdown(cx) {
            // Another has the rest, with the head written and nothing of the body there yet.
            Poll::Pending if takeover.is_due() => Poll::Ready(Some(())),
            Poll::Pending => {
                let Some(writes) = takeover.blocked() else { return Poll::Pending };
                if stalled.is_none_or(|(then, _)| then != writes) {
                    stalled = Some((writes, alarm.wheel().now()));
                }
                let since = stalled.map_or(0, |(_, since)| since);
                alarm.poll(cx, since + idle).map(|()| {
                    takeover.give_up();
                    None
                })
            }
            // An error here is the peer's: a reset, a bad head. It was answered where it could be.
            polled => polled.map(Result::ok),
        }
    })
    .await;
    if ended.is_none() {
        return;
    }
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    match takeover.take() {
        Some(taker) => taker(Tcp::permitted(stream, permit), parts.read_buf),
        None => _ = stream.shutdown().await,
    }
}

/// Whether the connection begins with the preface of HTTP/2 (RFC 9113 §3.4). Nothing is taken from it.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    let mut pause = PEEK_PAUSE;
    loop {
        let count = stream.peek(&mut seen).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if seen[..count] != PREFACE[..count] {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        // An end behind what was peeked at shows only here.
        if stream.ready(Interest::READABLE).await?.is_read_closed() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // What was peeked at stays, so the socket would be readable at once.
        sleep(pause).await;
        pause *= 2;
    }
}

/// A connection that failed before it was accepted is no reason to wait; no descriptors left is.
pub(crate) async fn after_failure(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    static LINES: LazyLock<Buckets> = LazyLock::new(|| Buckets::new(Rate::per_second(1)));
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        if LINES.take(()).is_ok() {
            tracing::warn!("no connection can be taken: {error}");
        }
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Bytes that the kernel takes from us before it can send them: a batch, and the next one.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 << 10;
/// Half of what fits the memory of a small machine, with a session in each.
const CONNECTIONS: usize = 100_000;
const ADDRESS_CONNECTIONS: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(10);
/// A head that takes longer is an attack or a lost client. With the least it is given, 10 seconds.
const HEADER_TIME: Duration = Duration::from_secs(9);
const LEAST_HEADER_TIME: Duration = Duration::from_secs(1);
/// Cookies and a cursor over many rooms fit; a flood does not.
const HEADER_BYTES: usize = 64 << 10;
/// Finds HTTP/2 peers that have vanished.
const H2_PING: Duration = Duration::from_secs(20);
/// Event streams of one connection: a browser's tabs share one.
const H2_STREAMS: u32 = 200;
/// Bytes that wait in a stream whose peer takes nothing.
const H2_BUFFER: usize = 64 << 10;
/// Bytes of a request's body that come before anybody reads them; all requests of a connection have twice that. hyper would
/// hold a mebibyte for each connection with a poll that waits.
const H2_WINDOW: u32 = 64 << 10;
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PEEK_PAUSE: Duration = Duration::from_millis(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
