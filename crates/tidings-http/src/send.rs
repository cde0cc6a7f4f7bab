//! The upstream of event streams and long-polling.

use crate::{
    Answering, Body, Endpoint, Peer, Refusal, Request, RequestBody,
    refusal::{json, status},
};
use http::{Method, Response, StatusCode, request::Parts};
use std::time::Duration;
use tidings_core::{Command, Hub, Notice};
use tokio::time::timeout;

/// `POST …/send`: one command or an array of them up, the replies down, in order.
///
/// A lone command that fails has the status of its error; in an array each reply speaks for itself.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Upstream;

impl Upstream {
    /// The endpoint.
    pub fn new() -> Self {
        Self
    }
}

impl Endpoint for Upstream {
    fn path(&self) -> &'static str {
        "send"
    }

    fn method(&self) -> Method {
        Method::POST
    }

    fn answer(&self, hub: Hub, request: Request) -> Answering {
        let Request { head, mut body } = request;
        Box::pin(async move {
            match send(hub, &head, &mut body).await {
                Ok(response) => response,
                Err(refusal) => {
                    body.discard(&head.headers).await;
                    refusal.into_response()
                }
            }
        })
    }
}

async fn send(hub: Hub, head: &Parts, body: &mut RequestBody) -> Result<Response<Body>, Refusal> {
    let who = hub.connect(head).await?;
    let body = timeout(BODY_TIME, body.collect(hub.limits().message))
        .await
        .map_err(|_| Refusal::of("timeout", "the body did not come in time"))??;
    let address = Peer::of(head).and_then(Peer::address);
    let lone = body.trim_ascii_start().first() != Some(&b'[');
    let mut replies = Vec::new();
    // One after the other: a client's commands are done in its order.
    for command in Command::parse_many(&body, hub.limits().commands)? {
        replies.push(match command {
            Ok(command) => hub.perform(who.clone(), address, command).await,
            Err(error) => {
                hub.note_refused(error.code);
                error.into()
            }
        });
    }
    if lone && let [reply] = &replies[..] {
        let status = match reply {
            Notice::Error { code, .. } => status(code),
            _ => StatusCode::OK,
        };
        return Ok(json(status, reply.to_json()));
    }
    let replies: Vec<_> = replies.iter().map(Notice::to_json).collect();
    Ok(json(StatusCode::OK, format!("[{}]", replies.join(","))))
}

/// A body that takes longer is an attack or a lost client.
const BODY_TIME: Duration = Duration::from_secs(30);
