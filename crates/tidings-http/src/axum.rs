//! What axum's own server needs so that the hub can write to its connections.

use crate::{Bypass, Lane, Peer, serve::after_failure};
use axum::{
    extract::{ConnectInfo, connect_info::Connected},
    serve::IncomingStream,
};
use http::Extensions;
use std::{io, net::SocketAddr};
use tokio::net::TcpListener;

/// What axum listens on: a TCP port, whose connections the hub can write to, as it does below [`serve`](crate::serve()).
///
/// Without it an event stream goes through the server for each event, which takes half as much again; nobody knows where clients
/// are, so that no limit of one address holds; and small writes may have to wait (`TCP_NODELAY`). It works where axum is told
/// to make a [`Connection`] of each:
///
/// ```no_run
/// # use tidings_http::{Service, axum::{Connection, Listener}};
/// # async fn run(service: Service) -> std::io::Result<()> {
/// let app = axum::Router::<()>::new().nest_service("/realtime", service);
/// let listener = Listener::from(tokio::net::TcpListener::bind("127.0.0.1:3000").await?);
/// axum::serve(listener, app.into_make_service_with_connect_info::<Connection>()).await
/// # }
/// ```
///
/// What middleware does to the bodies of event streams is heeded: where one is changed on its way, it goes through the server. One
/// that only looks at bodies, or ends those in which nothing happens, sees of an event stream what it begins with.
#[derive(Debug)]
pub struct Listener(TcpListener);

/// A connection, as axum's handlers can extract it: `ConnectInfo<Connection>`.
#[derive(Debug, Clone)]
pub struct Connection {
    address: SocketAddr,
    bypass: Bypass,
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(listener)
    }
}

impl axum::serve::Listener for Listener {
    type Io = Lane;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Lane, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok((stream, address)) => return (Lane::new(stream), address),
                Err(error) => after_failure(&error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Listener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        Self { address: *stream.remote_addr(), bypass: stream.io().bypass() }
    }
}

impl Connection {
    /// Where it comes from: a client, or a proxy.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Tells the service what axum knows of a request's connection. Where the application has said whose the request is, it has said so.
pub(crate) fn introduce(extensions: &mut Extensions) {
    let Some(ConnectInfo(Connection { address, bypass })) = extensions.get().cloned() else { return };
    extensions.insert(bypass);
    if extensions.get::<Peer>().is_none() {
        extensions.insert(Peer::at(address.ip()));
    }
}
