//! The endpoint.

use crate::{
    drive::Connection,
    encode::Ws,
    handshake::{self, HandshakeError},
};
use http::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tidings_core::Hub;
use tidings_http::{Answering, Asked, Body, Endpoint, Query, Refusal, Request};

/// `GET …/ws` with an upgrade: a WebSocket. Rooms named in the query are entered before the handshake is answered,
/// so that a refusal is an HTTP answer; more may be joined later.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct WebSocket;

impl WebSocket {
    /// The endpoint.
    pub fn new() -> Self {
        Self
    }
}

impl Endpoint for WebSocket {
    fn path(&self) -> &'static str {
        "ws"
    }

    fn answer(&self, hub: Hub, request: Request) -> Answering {
        Box::pin(async move { upgrade(hub, request).await.unwrap_or_else(Refusal::into_response) })
    }
}

async fn upgrade(hub: Hub, request: Request) -> Result<Response<Body>, Refusal> {
    let head = request.head;
    let accept = handshake::check(&head, PROTOCOLS).map_err(refuse)?;
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    let asked = Asked::parse(&head, &query, hub.limits().rooms)?;
    let who = hub.connect(&head).await?;
    let session = asked.open(&hub, Arc::new(Ws), who).await?;
    let upgraded = hyper::upgrade::on(http::Request::from_parts(head, ()));
    let limits = *hub.limits();
    tokio::spawn(async move {
        // It fails when the client goes away before the answer has reached it; the session goes with it.
        if let Ok(upgraded) = upgraded.await {
            Connection::new(TokioIo::new(upgraded), session, &limits).run().await;
        }
    });
    Ok(accept.response().map(|()| Body::empty()))
}

fn refuse(error: HandshakeError) -> Refusal {
    let code = match error.status() {
        StatusCode::METHOD_NOT_ALLOWED => "method",
        StatusCode::UPGRADE_REQUIRED => "upgrade",
        _ => "handshake",
    };
    Refusal::new(error.status(), code, error.to_string()).headers(error.headers())
}

/// Subprotocols, for clients that name one; none is needed.
const PROTOCOLS: &[&str] = &["tidings.v1"];
