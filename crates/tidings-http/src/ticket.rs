//! Tickets, for clients that can show who they are in no other way when they connect.

use crate::{Answering, Endpoint, Peer, Refusal, Request, refusal::json};
use http::{Method, StatusCode};
use tidings_core::Hub;

/// `POST …/ticket`: a ticket for whoever asks, if the gate knows it. With `?ticket=` a WebSocket, an event stream or a poll is then
/// begun as the same, once and within half a minute.
///
/// It is the memory of this node that knows the ticket, and no other's.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Tickets;

impl Tickets {
    /// The endpoint.
    pub fn new() -> Self {
        Self
    }
}

impl Endpoint for Tickets {
    fn path(&self) -> &'static str {
        "ticket"
    }

    fn method(&self) -> Method {
        Method::POST
    }

    fn answer(&self, hub: Hub, request: Request) -> Answering {
        let Request { head, body } = request;
        Box::pin(async move {
            let address = Peer::of(&head).and_then(Peer::address);
            let issued = async {
                let who = hub.connect(&head).await?;
                Ok::<_, Refusal>(hub.ticket(who, address)?)
            };
            let issued = issued.await;
            // It asks for nothing, whatever is in it.
            body.discard(&head.headers).await;
            match issued {
                // A ticket holds nothing that JSON would escape.
                Ok(ticket) => json(
                    StatusCode::OK,
                    format!("{{\"ticket\":\"{ticket}\",\"expires_in\":{}}}", Hub::TICKET_AGE.as_secs()),
                ),
                Err(refusal) => refusal.into_response(),
            }
        })
    }
}
