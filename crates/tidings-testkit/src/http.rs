//! A foreign HTTP client.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{io, net::SocketAddr};
use tokio::{net::TcpStream, task::JoinHandle};

/// An answer, read to its end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// A header field as text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// One request on a connection of its own. Headers as `name: value` lines.
///
/// # Errors
/// If the connection breaks.
///
/// # Panics
/// If a header line is none.
pub async fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[&str],
    body: impl Into<Bytes>,
) -> io::Result<Answer> {
    let (head, body, _connection) = begin(address, method, target, headers, body.into()).await?;
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

/// Ends the connection when dropped.
#[derive(Debug)]
pub(crate) struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a request and gives the answer's body as it comes.
pub(crate) async fn begin(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[&str],
    body: Bytes,
) -> io::Result<(http::response::Parts, Incoming, Connection)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = Connection(tokio::spawn(async move {
        // What breaks here shows at the answer.
        let _ = connection.await;
    }));
    let mut request = Request::builder().method(method).uri(target);
    if !headers.iter().any(|line| line.to_ascii_lowercase().starts_with("host:")) {
        request = request.header("host", address.to_string());
    }
    for line in headers {
        let (name, value) = line.split_once(": ").expect("a header line is `name: value`");
        request = request.header(name, value);
    }
    let request = request.body(Full::new(body)).map_err(io::Error::other)?;
    let (head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
    Ok((head, body, connection))
}
