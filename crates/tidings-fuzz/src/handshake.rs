//! The server's side of the WebSocket handshake on requests of any kind.
//!
//! Input: a byte that says which subprotocols we speak (a bit for each of [`SPOKEN`]), a byte that chooses the
//! `:protocol` of an extended CONNECT, and the head of the request as HTTP/1.1 writes it.

use crate::{head, input::Input};
use http::{
    HeaderMap, Method, StatusCode, Version,
    header::{self, HeaderName},
    request::Parts,
};
use hyper::ext::Protocol;
use tidings_ws::{
    HandshakeError,
    handshake::{self, Accept},
};

/// What is judged as a handshake is one, and the answer says nothing that was not offered.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.byte();
    let spoken: Vec<_> =
        SPOKEN.iter().enumerate().filter(|(bit, _)| choice >> bit & 1 != 0).map(|(_, name)| *name).collect();
    let protocol = input.choose(&[None, Some("websocket"), Some("connect-udp"), Some("WebSocket")]);
    let Some(mut parts) = head::parse(input.rest()) else { return };
    if let Some(protocol) = protocol {
        parts.version = Version::HTTP_2;
        parts.extensions.insert(Protocol::from_static(protocol));
    }
    match handshake::check(&parts, &spoken) {
        Ok(accept) => accepted(&parts, &spoken, &accept),
        Err(error) => refused(&parts, error),
    }
}

/// The subprotocols that we may speak.
const SPOKEN: [&str; 8] = ["a", "b", "A", "chat", "tidings.v1", "tidings.v2", "graphql-ws", "ab"];

fn accepted(parts: &Parts, spoken: &[&str], accept: &Accept) {
    let response = accept.response();
    let headers = response.headers();
    let lists = |name| members(&parts.headers, name);
    assert_eq!(lists(header::SEC_WEBSOCKET_VERSION), [b"13"]);
    if parts.method == Method::CONNECT {
        assert_eq!(parts.extensions.get::<Protocol>().map(Protocol::as_str), Some("websocket"));
        assert_eq!(response.status(), StatusCode::OK);
        for absent in [header::UPGRADE, header::CONNECTION, header::SEC_WEBSOCKET_ACCEPT] {
            assert!(!headers.contains_key(absent));
        }
    } else {
        assert_eq!((&parts.method, parts.version), (&Method::GET, Version::HTTP_11));
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let asks = |name, token: &str| {
            lists(name).iter().any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
        };
        assert!(asks(header::UPGRADE, "websocket") && asks(header::CONNECTION, "upgrade"));
        assert_eq!(headers[header::UPGRADE], "websocket");
        assert_eq!(headers[header::CONNECTION], "Upgrade");
        let keys = lists(header::SEC_WEBSOCKET_KEY);
        let [key] = &keys[..] else { panic!("{} keys", keys.len()) };
        assert!(key.len() == 24 && key.ends_with(b"=="));
        assert_eq!(headers[header::SEC_WEBSOCKET_ACCEPT], tungstenite::handshake::derive_accept_key(key));
    }
    // The client's first choice among those we speak, or none.
    let offered = lists(header::SEC_WEBSOCKET_PROTOCOL);
    let first = offered.iter().find(|name| spoken.iter().any(|spoken| spoken.as_bytes() == **name));
    assert_eq!(accept.protocol.map(str::as_bytes), first.copied());
    assert_eq!(headers.get(header::SEC_WEBSOCKET_PROTOCOL).map(|name| name.as_bytes()), first.copied());
    assert!(!headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS), "nothing is agreed here");
}

fn refused(parts: &Parts, error: HandshakeError) {
    let (status, headers) = (error.status(), error.headers());
    assert!(status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED);
    assert_eq!(status == StatusCode::UPGRADE_REQUIRED, headers.contains_key(header::UPGRADE));
    assert_eq!(error == HandshakeError::Version, headers.contains_key(header::SEC_WEBSOCKET_VERSION));
    let extended = handshake::is_extended_connect(parts);
    let suits = match error {
        HandshakeError::Method => parts.method != Method::GET && !extended,
        HandshakeError::Protocol => extended,
        HandshakeError::Version => true,
        _ => parts.method == Method::GET,
    };
    assert!(suits, "{error:?} for {}", parts.method);
}

/// The members of a list, over all fields of its name.
fn members(headers: &HeaderMap, name: HeaderName) -> Vec<&[u8]> {
    let lines = headers.get_all(name).into_iter().map(|line| line.as_bytes());
    lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).collect()
}
