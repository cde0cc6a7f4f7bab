//! Who a session's client is, shown anew while the session goes on.

use super::{
    Session,
    work::{Done, ask_to_join},
};
use crate::{Denied, Identity, Notice, RoomName, Token, hub::Node};
use serde_json::value::RawValue;
use std::sync::Arc;
use tracing::Span;

/// A session's identity, shown anew.
pub(super) struct Renewed {
    pub(super) who: Identity,
    /// Rooms that are not open to it any more.
    pub(super) closed: Vec<(RoomName, Denied)>,
}

impl Session {
    pub(super) fn receive_token(&mut self, reference: Option<u64>, token: Token, span: &Span) {
        let rooms: Vec<_> = self.subscriptions.rooms().cloned().collect();
        // Each of them is a question to the gate, as a join is, and counts as one.
        if !rooms.iter().all(|_| self.may_ask(reference)) {
            return;
        }
        let before = self.identity.clone().unwrap_or_default();
        let work = renew(Arc::clone(&self.node), before, rooms, token);
        self.begin(async move { Done::Renewed { reference, result: work.await } }, span);
    }

    /// Goes on as somebody else, or as the same for longer.
    pub(super) fn take_in_identity(&mut self, reference: Option<u64>, Renewed { who, closed }: Renewed) {
        let before = self.identity.clone().unwrap_or_default();
        if let Err(crowded) = self.node.renew(self.key, &before, &who) {
            let (code, message) = (crowded.code(), crowded.to_string());
            return self.agenda.say(Notice::Error { reference, code, message });
        }
        closed.into_iter().for_each(|(room, denied)| self.leave(room, &denied));
        self.agenda.say(renewed(&self.node, &who, reference));
        self.identity = Some(who);
    }
}

/// Asks who it is by a token, for one that is somebody already, and whether its rooms are still open to it. If that cannot be
/// said nothing changes.
async fn renew(
    node: Arc<Node>,
    before: Identity,
    rooms: Vec<RoomName>,
    token: Token,
) -> Result<Renewed, Denied> {
    let who = identify(&node, &before, &token).await?;
    let mut closed = Vec::new();
    for room in rooms {
        match ask_to_join(&node, &who, &room).await {
            Ok(()) => {}
            Err(unknown @ (Denied::Unavailable(_) | Denied::Internal)) => return Err(unknown),
            Err(denied) => closed.push((room, denied)),
        }
    }
    Ok(Renewed { who: node.still(who)?, closed })
}

pub(super) async fn identify(node: &Node, before: &Identity, token: &Token) -> Result<Identity, Denied> {
    let who = node.admit(|| node.ask("token", |gate| gate.token(token.as_str()))).await?;
    if !before.is_stranger() && who.name() != before.name() {
        return Err(Denied::forbidden("the token is not this user's"));
    }
    node.still(who)
}

/// The answer to one whose token was taken: how many seconds it is good for, if not for ever.
pub(super) fn renewed(node: &Node, who: &Identity, reference: Option<u64>) -> Notice {
    let data = match node.time_left(who) {
        Some(left) => format!("{{\"expires_in\":{}}}", left.as_secs()),
        None => "{}".to_owned(),
    };
    Notice::Reply { reference, id: None, data: RawValue::from_string(data).ok() }
}
