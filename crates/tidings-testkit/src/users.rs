//! What nodes must do about users, whatever broker they share.

use crate::{Client, Heard, Kind, Server, within};
use std::{sync::Arc, time::Duration};
use tidings::{
    Broker, CloseReason, Event, Gate, Hub, Identity,
    gate::{Decision, RequestHead},
};

/// A gate for which everybody is one user.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "a name, and made by naming it")]
pub struct As(pub &'static str);

impl Gate for As {
    fn connect<'a>(&'a self, _: &'a RequestHead) -> Decision<'a, Identity> {
        Box::pin(std::future::ready(Ok(Identity::user(self.0))))
    }
}

/// A node on a broker, on which everybody is one user.
pub async fn node_of(user: &'static str, broker: Arc<dyn Broker>) -> Server {
    Server::with_hub(Hub::builder().gate(As(user)).broker(broker).build()).await
}

/// The next thing that a client hears that is no event, and not about one.
///
/// # Panics
/// If there is none within `limit`.
pub async fn word(limit: Duration, client: &mut Client) -> serde_json::Value {
    within(limit, "a word", async {
        loop {
            match client.next().await.expect("still open") {
                Heard::Other(value) => return value,
                Heard::Joined { .. } | Heard::Event { .. } | Heard::Gap { .. } => {}
            }
        }
    })
    .await
}

/// A user loses a room, and then all sessions, on every node within a second.
///
/// # Panics
/// If not.
pub async fn a_user_loses_a_room_and_then_its_sessions(brokers: [Arc<dyn Broker>; 3]) {
    let [one, two, other] = brokers;
    let (one, two, other) =
        (node_of("ann", one).await, node_of("ann", two).await, node_of("bob", other).await);
    let connect = async |node: &Server, rooms: &[&str]| {
        Client::connect_many(Kind::Ws, node.address(), rooms, "now").await.expect("let in")
    };
    let mut anns = [connect(&one, &["a", "b"]).await, connect(&two, &["a", "b"]).await];
    let mut bob = connect(&other, &["a"]).await;
    other.hub().revoke("ann", "a").await.expect("stored");
    for ann in &mut anns {
        let word = word(SOON, ann).await;
        assert_eq!((word["type"].as_str(), word["room"].as_str()), (Some("error"), Some("a")));
    }
    one.publish("a", 1).await;
    one.publish("b", 2).await;
    for ann in &mut anns {
        assert_eq!(ann.number().await, 2);
    }
    two.hub().disconnect("ann", CloseReason::Revoked).await.expect("stored");
    for ann in &mut anns {
        assert_eq!(word(SOON, ann).await["code"], "revoked");
    }
    assert_eq!(bob.number().await, 1);
}

/// An event is kept from a user on another node, also when it comes from the history.
///
/// # Panics
/// If not.
pub async fn an_event_is_kept_from_a_user(brokers: [Arc<dyn Broker>; 3]) {
    let [one, two, late] = brokers;
    let (one, two) = (node_of("ann", one).await, node_of("bob", two).await);
    let connect = async |kind, node: &Server, from| {
        Client::connect(kind, node.address(), "a", from).await.expect("let in")
    };
    let (mut ann, mut bob) = (connect(Kind::Ws, &one, "now").await, connect(Kind::Ws, &two, "now").await);
    let event = Event::json("n", &1).expect("JSON").except_user("ann");
    two.hub().publish("a", event).await.expect("stored");
    two.publish("a", 2).await;
    assert_eq!((bob.number().await, bob.number().await, ann.number().await), (1, 2, 2));
    let late = node_of("ann", late).await;
    assert_eq!(connect(Kind::Sse, &late, "start").await.number().await, 2);
}

/// By when a word is in effect on every node.
const SOON: Duration = Duration::from_secs(1);
