//! The opening handshake, the server's side: an upgrade of HTTP/1.1 (RFC 6455 §4.2), or an extended CONNECT of
//! HTTP/2 (RFC 8441 §5), which turns one stream of a connection into a WebSocket.
//!
//! Header fields that are lists are read as lists: over several lines, in any case where the specification
//! says so, among other members ("Connection: keep-alive, Upgrade").

use crate::extension::Agreed;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version,
    header::{
        ALLOW, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
    request::Parts,
};
use hyper::ext::Protocol;
use thiserror::Error;
use tungstenite::handshake::derive_accept_key;

/// A request that may become a WebSocket, and what to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accept {
    /// The value of `Sec-WebSocket-Accept` (RFC 6455 §4.2.2); over HTTP/2 there is none (RFC 8441 §5).
    pub key: Option<String>,
    /// The value of `Sec-WebSocket-Protocol`: the client's first choice among what we support. If there is
    /// none, the header must be absent (§4.2.2), and the connection stands without a subprotocol.
    pub protocol: Option<&'static str>,
    /// Compression, if it is agreed; [`check`] leaves it out, for it is the caller's to
    /// [`negotiate`](crate::extension::negotiate). `Sec-WebSocket-Extensions` is in the answer only with it.
    pub deflate: Option<Agreed>,
}

impl Accept {
    /// The answer that turns the connection over, 101, or the stream of an HTTP/2 connection, 200. It has no body.
    pub fn response(&self) -> Response<()> {
        let mut response = Response::new(());
        if self.key.is_some() {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        let headers = response.headers_mut();
        if let Some(key) = &self.key {
            headers.insert(UPGRADE, WEBSOCKET);
            headers.insert(CONNECTION, CONNECTION_UPGRADE);
            let key = HeaderValue::from_str(key).expect("base64 is a header value");
            headers.insert(SEC_WEBSOCKET_ACCEPT, key);
        }
        if let Some(protocol) = self.protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        if let Some(deflate) = self.deflate {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, deflate.header());
        }
        response
    }
}

/// Why a request does not become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Another method than `GET`, or `CONNECT` over HTTP/2.
    #[error("a WebSocket handshake is a GET request, or an extended CONNECT over HTTP/2")]
    Method,
    /// A `GET` over another version than HTTP/1.1.
    #[error("a WebSocket handshake by GET needs HTTP/1.1")]
    HttpVersion,
    /// An extended CONNECT (RFC 8441 §4) for another protocol than `websocket`.
    #[error("`:protocol` must be websocket")]
    Protocol,
    /// No `Upgrade: websocket`: an ordinary request, or a proxy on the way took it off.
    #[error("this address speaks WebSocket: `Upgrade: websocket` is missing")]
    NoUpgrade,
    /// `Upgrade: websocket` without `Connection: Upgrade`: most often a proxy that passes on one of them.
    #[error("`Connection: Upgrade` is missing")]
    Connection,
    /// `Sec-WebSocket-Version` is not 13.
    #[error("`Sec-WebSocket-Version` must be 13")]
    Version,
    /// `Sec-WebSocket-Key` is missing, doubled, or not 16 bytes in base64.
    #[error("`Sec-WebSocket-Key` must be there once and hold 16 bytes in base64")]
    Key,
}

impl HandshakeError {
    /// The status to refuse with: 426 where another request at the same address would do (RFC 9110 §15.5.22,
    /// RFC 6455 §4.4), 405 for the method, 501 for a protocol we do not know (RFC 9220 §3), 400 for a malformed
    /// handshake.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Protocol => StatusCode::NOT_IMPLEMENTED,
            Self::HttpVersion | Self::Connection | Self::Key => StatusCode::BAD_REQUEST,
        }
    }

    /// The header fields which the refusal must have: what to upgrade to with 426, the version with a wrong
    /// version, the allowed method with 405.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.status() == StatusCode::UPGRADE_REQUIRED {
            headers.insert(UPGRADE, WEBSOCKET);
            headers.insert(CONNECTION, CONNECTION_UPGRADE);
        }
        match self {
            Self::Version => headers.insert(SEC_WEBSOCKET_VERSION, VERSION_13),
            Self::Method => headers.insert(ALLOW, HeaderValue::from_static("GET")),
            _ => None,
        };
        headers
    }
}

/// Judges a request by RFC 6455 §4.2.1, or RFC 8441 §5.
///
/// `supported` are the subprotocols we speak, of which the client's first choice is taken; names are compared
/// exactly, and each must be a token (§4.1), that is, printable ASCII without separators.
///
/// # Errors
///
/// The first requirement that is not met, in the order of [`HandshakeError`]'s variants.
pub fn check(parts: &Parts, supported: &[&'static str]) -> Result<Accept, HandshakeError> {
    let headers = &parts.headers;
    let extended = is_extended_connect(parts);
    if parts.method != Method::GET && !extended {
        return Err(HandshakeError::Method);
    }
    if extended {
        let protocol = parts.extensions.get::<Protocol>();
        protocol.filter(|protocol| protocol.as_str() == "websocket").ok_or(HandshakeError::Protocol)?;
    } else {
        if parts.version != Version::HTTP_11 {
            return Err(HandshakeError::HttpVersion);
        }
        if !names(headers, &UPGRADE, b"websocket") {
            return Err(HandshakeError::NoUpgrade);
        }
        if !names(headers, &CONNECTION, b"upgrade") {
            return Err(HandshakeError::Connection);
        }
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some(VERSION_13.as_bytes()) {
        return Err(HandshakeError::Version);
    }
    let key = match extended {
        true => None,
        false => {
            let key = only(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
            Some(derive_accept_key(key.ok_or(HandshakeError::Key)?))
        }
    };
    Ok(Accept { key, protocol: choose_protocol(headers, supported), deflate: None })
}

/// Whether a request is a CONNECT that names a protocol (RFC 8441 §4), as hyper hands it on.
pub fn is_extended_connect(parts: &Parts) -> bool {
    parts.method == Method::CONNECT && parts.extensions.get::<Protocol>().is_some()
}

/// The first subprotocol offered that is supported: the order of the offer is the client's preference (§4.1).
fn choose_protocol(headers: &HeaderMap, supported: &[&'static str]) -> Option<&'static str> {
    list(headers, &SEC_WEBSOCKET_PROTOCOL)
        .find_map(|offered| supported.iter().find(|name| name.as_bytes() == offered).copied())
}

/// Whether a list names a token, in any case.
fn names(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    list(headers, name).any(|member| member.eq_ignore_ascii_case(token))
}

/// The members of a list, over all lines of the header (RFC 9110 §5.6.1).
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// The value of a header that must not be there twice.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut lines = headers.get_all(name).into_iter();
    let line = lines.next()?;
    lines.next().is_none().then(|| line.as_bytes().trim_ascii())
}

/// Whether a key is 16 bytes in base64 (§4.1): 22 digits and two signs of padding. What the digits say is of
/// no concern, so they are not decoded.
fn is_key(key: &[u8]) -> bool {
    key.strip_suffix(b"==").is_some_and(|digits| {
        digits.len() == 22 && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte))
    })
}

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const CONNECTION_UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");
const VERSION_13: HeaderValue = HeaderValue::from_static("13");

#[cfg(test)]
mod tests;
