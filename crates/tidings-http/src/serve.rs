//! The server loop.

use crate::Service;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use std::{
    future::{Future, IntoFuture},
    io,
    pin::Pin,
    time::Duration,
};
use tidings_core::CloseReason;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// Serves HTTP/1.1 and HTTP/2 (with prior knowledge) on a listener, until the process ends or, with
/// [`until`](Serve::until), until a signal.
pub fn serve(listener: TcpListener, service: Service) -> Serve {
    Serve { listener, service, until: None, patience: PATIENCE }
}

/// A server about to run: await it.
#[must_use = "a server runs when it is awaited"]
pub struct Serve {
    listener: TcpListener,
    service: Service,
    until: Option<Signal>,
    patience: Duration,
}

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Serve {
    /// Runs until `signal` resolves. Then no connection is taken any more, every session tells its client to
    /// come back elsewhere, and the server ends when all are gone or its [`patience`](Self::patience) is.
    pub fn until(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Some(Box::pin(signal));
        self
    }

    /// How long clients may take to go once the signal has come; 10 seconds unless set.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    async fn run(self) -> io::Result<()> {
        let Self { listener, service, until, patience } = self;
        let mut until = until.unwrap_or_else(|| Box::pin(std::future::pending()));
        let graceful = GracefulShutdown::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => connection(stream, service.clone(), &graceful),
                    Err(error) => after_failure(&error).await,
                },
                () = &mut until => break,
            }
        }
        drop(listener);
        service.hub().close_sessions(CloseReason::Drain);
        let gone = async {
            // Connections first, for one that is in mid-request may yet begin a session; such a session is told
            // in its turn.
            graceful.shutdown().await;
            service.hub().close_sessions(CloseReason::Drain);
            service.hub().vacant().await;
        };
        // Whoever is still there after that has had its time; the runtime's end cuts it off.
        let _ = timeout(patience, gone).await;
        Ok(())
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

fn connection(stream: TcpStream, service: Service, graceful: &GracefulShutdown) {
    // Events are small and wait for nothing. A socket that refuses the option works all the same.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING)
        .max_header_list_size(HEADER_BYTES as u32);
    let connection =
        graceful.watch(builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned());
    tokio::spawn(async move {
        // An error here is the peer's: a reset, a bad head. It was answered where it could be.
        let _ = connection.await;
    });
}

/// A connection that failed before it was accepted is no reason to wait; no descriptors left is.
async fn after_failure(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        sleep(ACCEPT_PAUSE).await;
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
/// A head that takes longer is an attack or a lost client.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Cookies and a cursor over many rooms fit; a flood does not.
const HEADER_BYTES: usize = 64 << 10;
/// Finds HTTP/2 peers that have vanished.
const H2_PING: Duration = Duration::from_secs(20);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
