//! What axum's own server needs so that the hub can write to its connections.

use crate::{Bypass, Lane, Peer, serve::after_failure};
use axum::{
    extract::{ConnectInfo, connect_info::Connected},
    serve::{IncomingStream, TapIo},
};
use http::{Extensions, Request};
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
/// Middleware sees of an event stream what it begins with, and its end. Where it changes that, as one that compresses does, the stream
/// goes through the server; middleware that would change no more than some of the events, that looks at them, or ends bodies in
/// which nothing happens, has to be given a service that keeps to the server:
/// [`Service::through_server`](crate::Service::through_server). Where it adds something of its own to a stream that is written past it,
/// the connection ends.
///
/// Of the bounds that [`Serve`](crate::Serve) has on connections none holds here: how many there are, and how long a head may take, is
/// axum's to say.
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

impl<F: FnMut(&mut Lane) + Send + 'static> Connected<IncomingStream<'_, TapIo<Listener, F>>> for Connection {
    fn connect_info(stream: IncomingStream<'_, TapIo<Listener, F>>) -> Self {
        Self { address: *stream.remote_addr(), bypass: stream.io().bypass() }
    }
}

/// Tells handlers and layers that know axum's own listener alone where a request comes from, so that they can extract
/// `ConnectInfo<SocketAddr>`: `app.layer(axum::middleware::map_request(with_address))`, as the last layer, for that is the first to
/// see a request.
pub async fn with_address<B>(mut request: Request<B>) -> Request<B> {
    if let Some(ConnectInfo(connection)) = request.extensions().get::<ConnectInfo<Connection>>() {
        let address = ConnectInfo(connection.address);
        request.extensions_mut().insert(address);
    }
    request
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
