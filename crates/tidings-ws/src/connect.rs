//! A WebSocket on the client's side: the opening handshake over a stream that is ready (RFC 6455 §4.1).

use crate::{decode::Role, socket::Socket};
use bytes::BytesMut;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, UPGRADE},
    uri::{Authority, PathAndQuery},
};
use std::io;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tungstenite::handshake::{client::generate_key, derive_accept_key};

/// Why a client has no WebSocket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host or the path cannot stand in a request.
    #[error("no such address: {0}")]
    Address(#[from] http::uri::InvalidUri),
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
    /// The server chose an extension or a subprotocol, and none was offered.
    #[error("the server chose an extension or subprotocol that was not offered")]
    NotOffered,
}

/// Does the opening handshake over `stream`, a `TcpStream` or a TLS stream that is connected, and gives the socket.
///
/// `host` is what the server is called, with its port if that is not the usual one; `path` begins with `/` and may
/// have a query. There is no time limit; dropping the future drops the connection.
///
/// # Errors
///
/// The address is malformed, the connection breaks, or the server does not agree to a WebSocket.
pub async fn connect<S>(mut stream: S, host: &str, path: &str) -> Result<Socket<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let host: Authority = host.parse()?;
    let path: PathAndQuery = path.parse()?;
    let key = generate_key();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut read = BytesMut::new();
    let rest = loop {
        if let Some(head) = check(&read, &key)? {
            break read.split_off(head);
        }
        if read.len() > HEAD {
            return Err(ConnectError::Http);
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    };
    Ok(Socket::with_rest(stream, Role::Client, rest))
}

/// Judges the answer. Gives the length of its head, or `None` while that is not all there.
fn check(read: &[u8], key: &str) -> Result<Option<usize>, ConnectError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = answer.parse(read).map_err(|_| ConnectError::Http)? else {
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
    if !names(&headers, &UPGRADE, "websocket") || !names(&headers, &CONNECTION, "upgrade") {
        return Err(ConnectError::Upgrade);
    }
    if headers.get(SEC_WEBSOCKET_ACCEPT).is_none_or(|accept| *accept != derive_accept_key(key.as_bytes())) {
        return Err(ConnectError::Accept);
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) || headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Err(ConnectError::NotOffered);
    }
    Ok(Some(length))
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

#[cfg(test)]
mod tests;
