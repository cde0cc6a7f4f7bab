//! Requests as browsers, proxies and mistaken clients send them.

use super::*;
use crate::extension::negotiate;
use http::Request;

/// The request of RFC 6455 §1.3, with the headers of `change` in place of those of the same name; an empty
/// list of values takes the header out.
fn request(change: &[(&str, &[&str])]) -> Parts {
    let mut request = Request::new(());
    let headers = request.headers_mut();
    let base = [
        ("host", "server.example.com"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-version", "13"),
    ];
    for (name, value) in base {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, values) in change {
        let name: HeaderName = name.parse().unwrap();
        headers.remove(&name);
        for value in *values {
            headers.append(&name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
    }
    request.into_parts().0
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn refusal(parts: &Parts) -> HandshakeError {
    check(parts, &[]).expect_err("refused")
}

#[test]
fn the_accept_key_is_the_example_of_the_specification() {
    let accept = check(&request(&[]), &["tidings.v1"]).unwrap();
    assert_eq!(accept.key.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(accept.protocol, None);
    let response = accept.response();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert_eq!(response.headers()["connection"], "Upgrade");
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(!response.headers().contains_key("sec-websocket-protocol"));
}

#[test]
fn header_lists_are_accepted_in_every_lawful_form() {
    let cases: &[&[(&str, &[&str])]] = &[
        &[("connection", &["keep-alive, Upgrade"])],
        &[("connection", &["upgrade"])],
        &[("connection", &["UPGRADE"])],
        &[("connection", &["keep-alive", "Upgrade"])],
        &[("connection", &["keep-alive,\tupgrade ,,"])],
        &[("upgrade", &["WebSocket"])],
        &[("upgrade", &["h2c, websocket"])],
        &[("upgrade", &["h2c", "WEBSOCKET"])],
        &[("Sec-WebSocket-KEY", &[KEY])],
        &[("sec-websocket-key", &["  dGhlIHNhbXBsZSBub25jZQ==  "])],
    ];
    for change in cases {
        assert!(check(&request(change), &[]).is_ok(), "{change:?}");
    }
}

#[test]
fn a_request_without_upgrade_is_told_to_upgrade() {
    for values in [&[][..], &["h2c"], &["websockets"], &["web socket"]] {
        let refusal = refusal(&request(&[("upgrade", values)]));
        assert_eq!(refusal, HandshakeError::NoUpgrade);
        assert_eq!(refusal.status(), 426);
        assert_eq!(refusal.headers()["upgrade"], "websocket");
        assert_eq!(refusal.headers()["connection"], "Upgrade");
    }
}

#[test]
fn another_version_is_told_the_version_we_speak() {
    for values in [&[][..], &["12"], &["8"], &["013"], &["13, 8"], &["13", "8"], &["13", "13"], &[""]] {
        let refusal = refusal(&request(&[("sec-websocket-version", values)]));
        assert_eq!(refusal, HandshakeError::Version, "{values:?}");
        assert_eq!(refusal.status(), 426);
        assert_eq!(refusal.headers()["sec-websocket-version"], "13");
        assert_eq!(refusal.headers()["upgrade"], "websocket");
    }
}

#[test]
fn a_malformed_handshake_is_a_bad_request() {
    let cases: &[(&str, &[&str], HandshakeError)] = &[
        ("connection", &[], HandshakeError::Connection),
        ("connection", &["close"], HandshakeError::Connection),
        ("connection", &["upgraded"], HandshakeError::Connection),
        ("sec-websocket-key", &[], HandshakeError::Key),
        ("sec-websocket-key", &[""], HandshakeError::Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZQ=="], HandshakeError::Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ"], HandshakeError::Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZSE="], HandshakeError::Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZSEh"], HandshakeError::Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25j*Q=="], HandshakeError::Key),
        ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZSBub25jZQ=="], HandshakeError::Key),
        ("sec-websocket-key", &[KEY, KEY], HandshakeError::Key),
    ];
    for (name, values, expected) in cases {
        let refusal = refusal(&request(&[(name, values)]));
        assert_eq!(refusal, *expected, "{name}: {values:?}");
        assert_eq!(refusal.status(), 400);
        assert!(refusal.headers().is_empty());
    }
}

#[test]
fn only_get_over_http_1_1_is_a_handshake() {
    for method in [Method::POST, Method::HEAD, Method::OPTIONS, Method::CONNECT] {
        let mut parts = request(&[]);
        parts.method = method;
        assert_eq!(refusal(&parts).status(), 405);
        assert_eq!(refusal(&parts).headers()["allow"], "GET");
    }
    for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_2, Version::HTTP_3] {
        let mut parts = request(&[]);
        parts.version = version;
        assert_eq!(refusal(&parts).status(), 400, "{version:?}");
    }
}

#[test]
fn the_clients_first_supported_subprotocol_is_chosen() {
    let supported = ["tidings.v1", "tidings.v2"];
    let cases: &[(&[&str], Option<&str>)] = &[
        (&["foo, tidings.v1"], Some("tidings.v1")),
        (&["foo", "tidings.v1"], Some("tidings.v1")),
        (&["tidings.v2,tidings.v1"], Some("tidings.v2")),
        (&["tidings.v1, tidings.v2"], Some("tidings.v1")),
        (&["foo, bar"], None),
        (&["TIDINGS.V1"], None),
        (&["tidings.v11"], None),
        (&["\u{fc}, tidings.v1"], Some("tidings.v1")),
        (&[""], None),
        (&[], None),
    ];
    for (offered, expected) in cases {
        let accept = check(&request(&[("sec-websocket-protocol", offered)]), &supported).unwrap();
        assert_eq!(accept.protocol, *expected, "{offered:?}");
        let response = accept.response();
        let sent = response.headers().get("sec-websocket-protocol");
        assert_eq!(sent.map(HeaderValue::as_bytes), expected.map(str::as_bytes));
    }
}

#[test]
fn extensions_are_answered_only_when_agreed_and_never_empty() {
    for offered in [&[][..], &["x-webkit-deflate-frame"], &["permessage-deflate; bogus=1"], &[""]] {
        let parts = request(&[("sec-websocket-extensions", offered)]);
        let mut accept = check(&parts, &[]).unwrap();
        accept.deflate = negotiate(&parts.headers);
        assert!(!accept.response().headers().contains_key("sec-websocket-extensions"), "{offered:?}");
    }
    let parts =
        request(&[("sec-websocket-extensions", &["foo", "permessage-deflate; client_max_window_bits"])]);
    let mut accept = check(&parts, &[]).unwrap();
    assert_eq!(accept.deflate, None, "it is the caller's to negotiate");
    accept.deflate = negotiate(&parts.headers);
    assert_eq!(
        accept.response().headers()["sec-websocket-extensions"],
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    );
}

/// A request as hyper makes it of an extended CONNECT.
fn extended(protocol: &'static str, change: &[(&str, &[&str])]) -> Parts {
    let gone: [(&str, &[&str]); 3] = [("upgrade", &[]), ("connection", &[]), ("sec-websocket-key", &[])];
    let mut parts = request(&[&gone, change].concat());
    parts.method = Method::CONNECT;
    parts.version = Version::HTTP_2;
    parts.extensions.insert(Protocol::from_static(protocol));
    parts
}

#[test]
fn an_extended_connect_is_answered_with_200_and_no_key() {
    let parts = extended("websocket", &[("sec-websocket-protocol", &["chat, tidings.v1"])]);
    let mut accept = check(&parts, &["tidings.v1"]).unwrap();
    accept.deflate =
        negotiate(&extended("websocket", &[("sec-websocket-extensions", &["permessage-deflate"])]).headers);
    let response = accept.response();
    assert_eq!(response.status(), StatusCode::OK);
    let names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(
        names,
        ["sec-websocket-protocol", "sec-websocket-extensions"],
        "no Upgrade, Connection, Accept"
    );
}

#[test]
fn an_extended_connect_for_something_else_is_refused() {
    assert_eq!(refusal(&extended("connect-udp", &[])), HandshakeError::Protocol);
    assert_eq!(HandshakeError::Protocol.status(), StatusCode::NOT_IMPLEMENTED);
    assert_eq!(
        refusal(&extended("websocket", &[("sec-websocket-version", &["12"])])),
        HandshakeError::Version
    );
    let mut plain = extended("websocket", &[]);
    plain.extensions.clear();
    assert_eq!(refusal(&plain), HandshakeError::Method, "a CONNECT to a host");
}
