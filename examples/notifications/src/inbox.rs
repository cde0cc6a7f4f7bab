//! The inboxes: a room for each user, with what was sent and what was read.

use crate::sign_in::{Cookies, NAME_RULE, now, user_name};
use serde::{Deserialize, Serialize};
use tidings::{
    CallError, Denied, Event, Gate, Hub, Identity, Position, RoomName,
    gate::{Decision, RequestHead},
};

/// How the names of inboxes begin; a user's name follows.
pub(crate) const INBOXES: &str = "user/";
/// Characters of a notification.
const LONGEST_TEXT: usize = 280;
/// Characters of what names a notification that may be sent twice.
const LONGEST_KEY: usize = 64;
/// Notifications that are read at once: as many as an inbox holds.
const MOST_READ: usize = 200;

/// A user reads their own inbox, and no other. What others write into it goes through [`notify`], so that nobody can
/// write in another's name; only what was read, its reader says directly.
pub(crate) struct OwnInbox(pub(crate) Cookies);

/// The call `notify`.
#[derive(Deserialize)]
struct Notify {
    to: String,
    text: String,
    /// Whoever sends the same again with the same key has sent it once.
    key: String,
}

/// The event `notification`.
#[derive(Serialize)]
struct Notification<'a> {
    from: &'a str,
    text: &'a str,
    at: u64,
}

/// The event `read`: notifications by their positions.
#[derive(Deserialize)]
struct Read {
    ids: Vec<String>,
}

impl Gate for OwnInbox {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        Box::pin(async move {
            let user = self.0.user(&head.headers).ok_or_else(|| Denied::unauthorized("sign in first"))?;
            Ok(Identity::user(&user))
        })
    }

    fn join<'a>(&'a self, who: &'a Identity, room: &'a RoomName) -> Decision<'a> {
        Box::pin(async move { owns(who, room) })
    }

    fn publish<'a>(&'a self, who: &'a Identity, room: &'a RoomName, event: &'a Event) -> Decision<'a> {
        Box::pin(async move {
            owns(who, room)?;
            let is_read = event.name().as_str() == "read"
                && event.parse::<Read>().is_ok_and(|Read { ids }| {
                    ids.len() <= MOST_READ && ids.iter().all(|id| id.parse::<Position>().is_ok())
                });
            if is_read { Ok(()) } else { Err(Denied::forbidden("you can only say what you have read")) }
        })
    }
}

fn owns(who: &Identity, room: &RoomName) -> Result<(), Denied> {
    let own = who.name().is_some_and(|name| room.strip_prefix(INBOXES) == Some(name));
    if own { Ok(()) } else { Err(Denied::forbidden("this is not your inbox")) }
}

/// Answers the call `notify`. From here the hub holds itself, as long as the program runs.
pub(crate) fn answer_calls(hub: &Hub) {
    let inside = hub.clone();
    hub.on_call("notify", move |who, message| notify(inside.clone(), who, message));
}

/// Puts a notification into somebody's inbox. An application calls it from wherever it has something to tell.
async fn notify(hub: Hub, who: Identity, Notify { to, text, key }: Notify) -> Result<(), CallError> {
    let from = who.name().ok_or_else(|| CallError::new("unauthorized", "sign in first"))?;
    let to = user_name(&to).ok_or_else(|| CallError::new("bad_name", NAME_RULE))?;
    let text = text.trim();
    if !(1..=LONGEST_TEXT).contains(&text.chars().count()) {
        return Err(CallError::new("bad_text", format!("a notification has 1 to {LONGEST_TEXT} characters")));
    }
    if key.len() > LONGEST_KEY {
        return Err(CallError::new("bad_key", format!("a key has at most {LONGEST_KEY} characters")));
    }
    let event = Event::json("notification", &Notification { from, text, at: now() })
        .map_err(|error| CallError::new("internal", error.to_string()))?;
    // The key is the sender's own: nobody can use up another's.
    hub.publish_once(format!("{INBOXES}{to}"), event, &format!("{from} {key}"))
        .await
        .map_err(|error| CallError::new(error.code(), error.to_string()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::{From, gate};

    async fn may(event: &str, data: serde_json::Value, room: &str) -> bool {
        let gate = OwnInbox(Cookies::new(None).unwrap());
        let event = Event::json(event, &data).unwrap();
        gate.publish(&Identity::user("alice"), &RoomName::new(room).unwrap(), &event).await.is_ok()
    }

    #[tokio::test]
    async fn an_inbox_is_its_users_alone() {
        let gate = OwnInbox(Cookies::new(None).unwrap());
        for (user, room, open) in [
            (Identity::user("alice"), "user/alice", true),
            (Identity::user("alice"), "user/alice2", false),
            (Identity::user("alice"), "user/", false),
            (Identity::user("alice"), "alice", false),
            (Identity::user(""), "user/alice", false),
            (Identity::anonymous(), "user/", false),
        ] {
            let joined = gate.join(&user, &RoomName::new(room).unwrap()).await;
            assert_eq!(joined.is_ok(), open, "{user:?} in {room}");
        }
    }

    #[tokio::test]
    async fn a_user_can_say_what_was_read_and_nothing_else() {
        let ids = serde_json::json!({"ids": ["p1.2.3"]});
        assert!(may("read", ids.clone(), "user/alice").await);
        assert!(!may("read", ids.clone(), "user/bob").await);
        assert!(!may("notification", ids, "user/alice").await);
        assert!(!may("read", serde_json::json!({"ids": ["<b>"]}), "user/alice").await);
        assert!(!may("read", serde_json::json!({"ids": vec!["p1.2.3"; 201]}), "user/alice").await);
        assert!(!may("read", serde_json::json!(1), "user/alice").await);
    }

    #[tokio::test]
    async fn what_is_sent_twice_with_one_key_is_there_once_and_names_its_sender() {
        let hub = Hub::builder().gate(gate::open()).build();
        let send = |from: &str, text: &str, key: &str| {
            let message = Notify { to: "Bob".to_owned(), text: text.to_owned(), key: key.to_owned() };
            notify(hub.clone(), Identity::user(from), message)
        };
        send("alice", "one", "1").await.unwrap();
        send("alice", "one", "1").await.unwrap();
        send("carol", "two", "1").await.unwrap();
        assert_eq!(send("alice", " ", "2").await.unwrap_err().code, "bad_text");
        assert_eq!(send("alice", &"é".repeat(281), "2").await.unwrap_err().code, "bad_text");
        let mut inbox = hub.subscribe("user/bob", From::Start).await.unwrap();
        for (from, text) in [("alice", "one"), ("carol", "two")] {
            let message = inbox.next().await.unwrap().into_message().expect("no gap");
            let data: serde_json::Value = message.event().parse().unwrap();
            assert_eq!((data["from"].as_str(), data["text"].as_str()), (Some(from), Some(text)));
        }
    }
}
