//! A WebSocket on the client's side: the opening handshake over a stream that is ready (RFC 6455 §4.1).

mod dial;

use crate::{
    decode::Role,
    extension::{self, Agreed, OFFER},
    socket::Socket,
};
use bytes::BytesMut;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE},
    uri::{Authority, PathAndQuery},
};
use std::{io, time::Duration};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tungstenite::handshake::{client::generate_key, derive_accept_key};

/// Why a client has no WebSocket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host or the path cannot stand in a request.
    #[error("no such address: {0}")]
    Address(#[from] http::uri::InvalidUri),
    /// The host has a user or a password before it. They have no place in a request's `Host` (RFC 9110 §4.2.4); give them as
    /// a header field, such as `Authorization`.
    #[error("the host has a user name before it")]
    UserInfo,
    /// The connection broke, or ended before the answer did.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The answer is not HTTP/1.1, or its head is larger than 16 KiB or 64 fields.
    #[error("the answer is not HTTP/1.1")]
    Http,
    /// The server answers, but not with 101.
    #[error("the server answers {0}")]
    Status(StatusCode),
    /// The answer is 101 without `Upgrade: websocket` and `Connection: Upgrade`.
    #[error("the server does not upgrade to WebSocket")]
    Upgrade,
    /// `Sec-WebSocket-Accept` does not belong to our key: the answer is not to us, or not from a WebSocket server.
    #[error("`Sec-WebSocket-Accept` is missing or wrong")]
    Accept,
    /// The server chose an extension or a subprotocol that was not offered.
    #[error("the server chose an extension or subprotocol that was not offered")]
    NotOffered,
    /// The handshake takes longer than it may.
    #[error("the handshake has taken too long")]
    TimedOut,
}

impl From<extension::NotOffered> for ConnectError {
    fn from(_: extension::NotOffered) -> Self {
        Self::NotOffered
    }
}

/// A client's opening handshake.
///
/// ```no_run
/// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
/// use tidings_ws::Connect;
///
/// let socket = Connect::new("127.0.0.1:3000", "/realtime/ws?room=news")?
///     .header(http::header::AUTHORIZATION, "Bearer token".parse()?)
///     .protocols(["tidings.v1"])
///     .tcp()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Connect {
    host: Authority,
    path: PathAndQuery,
    headers: HeaderMap,
    protocols: Vec<&'static str>,
    compression: bool,
    timeout: Duration,
}

impl Connect {
    /// A handshake that offers compression and no subprotocols, and may take 10 seconds.
    ///
    /// `host` is what the server is called, with its port if that is not the usual one, an address of IPv6 in brackets; `path`
    /// begins with `/` and may have a query.
    ///
    /// # Errors
    ///
    /// The host or the path cannot stand in a request, or the host has a user before it.
    pub fn new(host: &str, path: &str) -> Result<Self, ConnectError> {
        let (headers, protocols) = (HeaderMap::new(), Vec::new());
        let (host, path): (Authority, _) = (host.parse()?, path.parse()?);
        if host.as_str().contains('@') {
            return Err(ConnectError::UserInfo);
        }
        Ok(Self { host, path, headers, protocols, compression: true, timeout: TIMEOUT })
    }

    /// Adds a header field to the request, such as `Authorization`, `Cookie` or `Origin`. Those of the handshake
    /// itself are not to be set.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The subprotocols to offer, the best first; [`Socket::protocol`] tells which the server has chosen. Each must
    /// be a token (RFC 9110 §5.6.2).
    #[must_use]
    pub fn protocols(mut self, protocols: impl IntoIterator<Item = &'static str>) -> Self {
        self.protocols = protocols.into_iter().collect();
        self
    }

    /// Whether to offer compression (`permessage-deflate`, RFC 7692). What it costs says
    /// [`Upgrade::compression`](crate::Upgrade::compression).
    #[must_use]
    pub fn compression(mut self, compression: bool) -> Self {
        self.compression = compression;
        self
    }

    /// How long the handshake may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Connects to the host, at its port or at 80, and does the handshake. Of several addresses, one that does not answer for a
    /// quarter of a second is left to itself while the next is tried. Dropping the future drops what it has begun.
    ///
    /// # Errors
    ///
    /// The host is not known or not there, the server does not agree to a WebSocket, or it takes too long.
    pub async fn tcp(&self) -> Result<Socket<TcpStream>, ConnectError> {
        let connecting = async {
            let stream = dial::dial(self.host.host(), self.host.port_u16().unwrap_or(80)).await?;
            // Messages are small and wait for nothing. A socket that refuses works all the same.
            let _ = stream.set_nodelay(true);
            self.shake_hands(stream).await
        };
        timeout(self.timeout, connecting).await.map_err(|_| ConnectError::TimedOut)?
    }

    /// Does the handshake over a `TcpStream` or a TLS stream that is connected, and gives the socket. Dropping the
    /// future drops the connection.
    ///
    /// # Errors
    ///
    /// The connection breaks, the server does not agree to a WebSocket, or it takes too long.
    pub async fn over<S>(&self, stream: S) -> Result<Socket<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        timeout(self.timeout, self.shake_hands(stream)).await.map_err(|_| ConnectError::TimedOut)?
    }

    async fn shake_hands<S>(&self, mut stream: S) -> Result<Socket<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let key = generate_key();
        stream.write_all(&self.request(&key)).await?;
        stream.flush().await?;
        let mut read = BytesMut::new();
        let (answer, rest) = loop {
            if let Some((answer, head)) = self.check(&read, &key)? {
                break (answer, read.split_off(head));
            }
            if read.len() > HEAD {
                return Err(ConnectError::Http);
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        let mut socket = Socket::new(stream, Role::Client);
        if let Some(agreed) = answer.deflate {
            socket = socket.deflate(agreed);
        }
        Ok(socket.after_handshake(rest, answer.protocol.map(Box::from)))
    }

    fn request(&self, key: &str) -> BytesMut {
        let Self { host, path, .. } = self;
        let mut request = BytesMut::from(
            format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            )
            .as_bytes(),
        );
        let mut field = |name: &str, value: &[u8]| {
            for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
                request.extend_from_slice(piece);
            }
        };
        if self.compression {
            field("Sec-WebSocket-Extensions", OFFER.as_bytes());
        }
        if !self.protocols.is_empty() {
            field("Sec-WebSocket-Protocol", self.protocols.join(", ").as_bytes());
        }
        for (name, value) in &self.headers {
            field(name.as_str(), value.as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request
    }

    /// Judges the answer. Gives what it says and the length of its head, or `None` while that is not all there.
    fn check(&self, read: &[u8], key: &str) -> Result<Option<(Answer, usize)>, ConnectError> {
        let Some((headers, length)) = parse(read)? else { return Ok(None) };
        if !names(&headers, &UPGRADE, "websocket") || !names(&headers, &CONNECTION, "upgrade") {
            return Err(ConnectError::Upgrade);
        }
        if headers.get(SEC_WEBSOCKET_ACCEPT).is_none_or(|accept| *accept != derive_accept_key(key.as_bytes()))
        {
            return Err(ConnectError::Accept);
        }
        let deflate = extension::accepted(&headers)?;
        if deflate.is_some() && !self.compression {
            return Err(ConnectError::NotOffered);
        }
        let mut chosen = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
        let protocol = match (chosen.next(), chosen.next()) {
            (None, _) => None,
            // One that we have offered, and one alone (RFC 6455 §4.1).
            (Some(chosen), None) => {
                let offered = self.protocols.iter().find(|offered| offered.as_bytes() == chosen.as_bytes());
                Some(*offered.ok_or(ConnectError::NotOffered)?)
            }
            _ => return Err(ConnectError::NotOffered),
        };
        Ok(Some((Answer { deflate, protocol }, length)))
    }
}

/// Does the opening handshake over `stream`, a `TcpStream` or a TLS stream that is connected: [`Connect`] with what is
/// usual.
///
/// # Errors
///
/// Those of [`Connect::new`] and [`Connect::over`].
pub async fn connect<S>(stream: S, host: &str, path: &str) -> Result<Socket<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    Connect::new(host, path)?.over(stream).await
}

/// What a server has agreed to.
#[derive(Debug)]
struct Answer {
    deflate: Option<Agreed>,
    protocol: Option<&'static str>,
}

/// The header fields of an answer with 101, and the length of its head.
fn parse(read: &[u8]) -> Result<Option<(HeaderMap, usize)>, ConnectError> {
    let mut interim = 0;
    // Before the answer there may be others, which say that it is to come (RFC 9110 §15.2).
    while let Some(length) = interim_length(&read[interim..]) {
        interim += length;
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) =
        answer.parse(&read[interim..]).map_err(|_| ConnectError::Http)?
    else {
        return Ok(None);
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(ConnectError::Http)?;
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ConnectError::Status(status));
    }
    if answer.version != Some(1) {
        return Err(ConnectError::Http);
    }
    let mut headers = HeaderMap::new();
    for field in answer.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| ConnectError::Http)?;
        headers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| ConnectError::Http)?);
    }
    Ok(Some((headers, interim + length)))
}

/// The length of an interim answer's head, if one is there as a whole.
fn interim_length(read: &[u8]) -> Option<usize> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = answer.parse(read).ok()? else { return None };
    matches!(answer.code, Some(100 | 102..=199)).then_some(length)
}

/// Whether a list, which may span several fields, names a token, in any case.
fn names(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).into_iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|member| member.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// The largest head of an answer, in bytes.
const HEAD: usize = 16 << 10;
/// The most fields of an answer.
const FIELDS: usize = 64;
/// How long a handshake may take unless something else is said.
const TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
