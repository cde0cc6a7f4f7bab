//! An echo server without Tidings: WebSocket alone. `cargo run --release -p tidings-ws --example echo -- 127.0.0.1:9002`
//!
//! It speaks HTTP/1.1 and HTTP/2 (RFC 8441) on the one port, takes messages of up to 16 MiB and sends no pings of its own. The Autobahn suite runs against it:
//! `cargo xtask autobahn`.

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Bytes, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use std::{convert::Infallible, env, future::ready};
use tidings_ws::{Message, Socket, SocketError, Upgraded, decode::Limits, upgrade};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9002".to_owned());
    let listener =
        TcpListener::bind(&address).await.with_context(|| format!("cannot listen on {address}"))?;
    println!("listening on ws://{}/", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream));
    }
}

async fn serve(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().enable_connect_protocol();
    let answer = service_fn(|request| ready(Ok::<_, Infallible>(answer(request))));
    if let Err(error) = server.serve_connection_with_upgrades(TokioIo::new(stream), answer).await {
        eprintln!("connection: {error}");
    }
}

fn answer(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    match upgrade(&mut request) {
        Ok((response, socket)) => {
            tokio::spawn(async move {
                let Ok(socket) = socket.await else { return };
                if let Err(error) = echo(socket.limits(Limits::new(LIMIT, LIMIT))).await {
                    eprintln!("socket: {error}");
                }
            });
            response.map(|()| Full::default())
        }
        Err(error) => {
            let mut response = Response::new(Full::from(format!("{error}\n")));
            *response.status_mut() = error.status();
            *response.headers_mut() = error.headers();
            response
        }
    }
}

async fn echo(mut socket: Socket<Upgraded>) -> Result<(), SocketError> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if matches!(message, Message::Text(_) | Message::Binary(_)) {
            match socket.send(message).await {
                // The peer closes: read on until that is done.
                Err(SocketError::Closed) => {}
                sent => sent?,
            }
        }
    }
    Ok(())
}

/// Bytes of a message.
const LIMIT: usize = 16 << 20;
