//! The endpoint.

use crate::{
    drive::Connection,
    encode::Ws,
    extension,
    handshake::{self, HandshakeError},
    stream::{Io, Upgraded},
    token,
};
use http::{Response, StatusCode, request::Parts};
use tidings_core::Hub;
use tidings_http::{Answering, Asked, Body, Endpoint, Query, Refusal, Request, Takeover};

/// `GET …/ws` with an upgrade, or over HTTP/2 an extended CONNECT (RFC 8441): a WebSocket. Rooms named in the query are entered before the handshake is answered,
/// so that a refusal is an HTTP answer; more may be joined later.
///
/// A page shows a token as a subprotocol, `tidings.token.` and the token in base64url, beside `tidings.v1`; the gate finds it where all
/// others are, as the request's [`bearer`](tidings_core::gate::bearer) token. With `auth=1` in the query the gate is asked by
/// the first message instead, the command `auth`.
///
/// Clients that offer compression get it (`permessage-deflate`, RFC 7692): a message is compressed once for all of
/// them, and a thread that does so holds 380 KiB for each window in use and 64 KiB to inflate; a connection holds
/// nothing. What is compressed tells by its length how alike its parts are: where one message holds a secret beside
/// text of an attacker's who can see the length, switch [`compression`](Self::compression) off.
#[derive(Debug)]
pub struct WebSocket {
    compression: bool,
}

impl WebSocket {
    /// The endpoint.
    pub fn new() -> Self {
        Self { compression: true }
    }

    /// Whether clients that offer compression get it; they do unless told otherwise.
    pub fn compression(self, compression: bool) -> Self {
        Self { compression }
    }
}

impl Default for WebSocket {
    fn default() -> Self {
        Self::new()
    }
}

impl Endpoint for WebSocket {
    fn path(&self) -> &'static str {
        "ws"
    }

    fn takes(&self, head: &Parts) -> bool {
        head.method == self.method() || handshake::is_extended_connect(head)
    }

    fn answer(&self, hub: Hub, request: Request) -> Answering {
        let compression = self.compression;
        Box::pin(async move { open(hub, request, compression).await.unwrap_or_else(Refusal::into_response) })
    }
}

async fn open(hub: Hub, request: Request, compression: bool) -> Result<Response<Body>, Refusal> {
    let mut head = request.head;
    let mut accept = handshake::check(&head, PROTOCOLS).map_err(refuse)?;
    accept.deflate = compression.then(|| extension::negotiate(&head.headers)).flatten();
    let deflate = accept.deflate;
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    let asked = Asked::parse(&head, &query, hub.limits().rooms)?;
    let who = if query.one("auth")?.is_some_and(|auth| auth == "1") {
        if !asked.rooms.is_empty() {
            return Err(Refusal::of("bad_query", "who shows a token first joins its rooms after that"));
        }
        hub.stranger()
    } else {
        token::unpack(&mut head.headers)?;
        asked.identify(&hub, &head, &query).await?
    };
    let session = asked.open(&hub, Ws::shared(deflate), who).await?;
    if let Some(takeover) = Takeover::of(&head) {
        takeover.by(move |tcp, read| {
            tokio::spawn(Connection::new(Io::Tcp(tcp), &read, session, &hub, deflate.is_some()));
        });
        return Ok(accept.response().map(|()| Body::empty()));
    }
    let upgraded = hyper::upgrade::on(http::Request::from_parts(head, ()));
    tokio::spawn(async move {
        // It fails when the client goes away before the answer has reached it; the session goes with it.
        if let Ok(upgraded) = upgraded.await {
            let (stream, read) = Upgraded::new(upgraded);
            // A task of its own, for this one has place for all that came before.
            tokio::spawn(Connection::new(stream.into_io(), &read, session, &hub, deflate.is_some()));
        }
    });
    Ok(accept.response().map(|()| Body::empty()))
}

fn refuse(error: HandshakeError) -> Refusal {
    let code = match error.status() {
        StatusCode::METHOD_NOT_ALLOWED => "method",
        StatusCode::NOT_IMPLEMENTED => "protocol",
        StatusCode::UPGRADE_REQUIRED => "upgrade",
        _ => "handshake",
    };
    Refusal::new(error.status(), code, error.to_string()).headers(error.headers())
}

/// Subprotocols, for clients that name one; none is needed.
const PROTOCOLS: &[&str] = &["tidings.v1"];
