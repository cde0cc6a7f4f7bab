//! Words to all nodes, as clients hear them: a user is disconnected, a right is taken away; and what is for one user, or
//! for all but one.

use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidings::{CloseReason, Denied, Event, Gate, Hub, Identity, RoomName, gate};
use tidings_testkit::{Client, Heard, Kind, Server, Shared, mount, within};

const SOON: Duration = Duration::from_secs(1);

/// Everybody is this user, and some rooms are closed to ann.
#[derive(Clone)]
struct As(&'static str, Closed);

/// The rooms that ann is not let into, on all nodes.
type Closed = Arc<Mutex<HashSet<String>>>;

impl Gate for As {
    fn connect<'a>(&'a self, _: &'a gate::RequestHead) -> gate::Decision<'a, Identity> {
        Box::pin(std::future::ready(Ok(Identity::user(self.0))))
    }

    fn join<'a>(&'a self, _: &'a Identity, room: &'a RoomName) -> gate::Decision<'a> {
        let closed = self.0 == "ann" && self.1.lock().expect("no panic").contains(room.as_str());
        let answer = if closed { Err(Denied::forbidden("closed")) } else { Ok(()) };
        Box::pin(std::future::ready(answer))
    }
}

/// Two nodes on which everybody is ann, and one on which everybody is bob.
struct World {
    anns: [Server; 2],
    bobs: Server,
    closed: Closed,
    _shared: Shared,
}

impl World {
    async fn new() -> Self {
        let (shared, closed) = (Shared::new(), Closed::default());
        let node = async |user| {
            let gate = As(user, Arc::clone(&closed));
            Server::with_hub(Hub::builder().gate(gate).broker(shared.broker().await).build()).await
        };
        let (anns, bobs) = ([node("ann").await, node("ann").await], node("bob").await);
        Self { anns, bobs, closed, _shared: shared }
    }

    /// The application, wherever it runs.
    fn hub(&self) -> &Hub {
        self.bobs.hub()
    }

    async fn publish(&self, room: &str, number: u64) {
        self.anns[1].publish(room, number).await;
    }
}

async fn connect(kind: Kind, node: &Server, rooms: &[&str]) -> Client {
    Client::connect_many(kind, node.address(), rooms, "now").await.expect("let in")
}

/// Listens in the background, since a poll is there only while it waits.
async fn listen(mut client: Client, node: &Server) -> tokio::task::JoinHandle<(Client, Option<Heard>)> {
    let task = tokio::spawn(async move {
        let heard = client.next().await;
        (client, heard)
    });
    node.until_sessions(1, SOON).await;
    task
}

async fn heard(task: tokio::task::JoinHandle<(Client, Option<Heard>)>) -> (Client, Value) {
    match within(SOON, "a word", task).await.expect("no panic") {
        (client, Some(Heard::Other(value))) => (client, value),
        (_, other) => panic!("{other:?}"),
    }
}

async fn a_user_is_disconnected_on_every_node(kind: Kind) {
    let world = World::new().await;
    let mut bob = connect(kind, &world.bobs, &["a"]).await;
    let mut anns = Vec::new();
    for node in &world.anns {
        anns.push(listen(connect(kind, node, &["a"]).await, node).await);
    }
    world.hub().disconnect("ann", CloseReason::Revoked).await.expect("stored");
    for ann in anns {
        let (mut ann, word) = heard(ann).await;
        assert_eq!(word, json!({"type": "close", "code": "revoked"}));
        if kind != Kind::Poll {
            assert_eq!(within(SOON, "the end", ann.next()).await, None);
        }
    }
    world.publish("a", 1).await;
    assert_eq!(bob.number().await, 1);
}

async fn a_right_taken_away_ends_one_room_and_the_others_go_on(kind: Kind) {
    let world = World::new().await;
    let mut bob = connect(kind, &world.bobs, &["a"]).await;
    let mut anns = Vec::new();
    for node in &world.anns {
        anns.push(listen(connect(kind, node, &["a", "b"]).await, node).await);
    }
    world.closed.lock().expect("no panic").insert("a".to_owned());
    world.hub().revoke("ann", "a").await.expect("stored");
    let mut heards = Vec::new();
    for ann in anns {
        let (ann, word) = heard(ann).await;
        assert_eq!(
            (&word["type"], &word["room"], &word["code"]),
            (&json!("error"), &json!("a"), &json!("forbidden"))
        );
        heards.push(ann);
    }
    world.publish("a", 1).await;
    world.publish("b", 2).await;
    for mut ann in heards {
        if kind == Kind::Poll {
            // Each poll asks for its rooms anew.
            assert_eq!(ann.next().await, None);
            ann = Client::connect(kind, world.anns[0].address(), "b", "start").await.expect("let in");
        }
        assert_eq!(ann.number().await, 2);
    }
    for (node, from) in [(&world.anns[0], "start"), (&world.anns[1], bob.cursor())] {
        let refused = Client::connect(Kind::Ws, node.address(), "a", from).await.expect_err("closed");
        assert_eq!((refused.status, &*refused.code), (403, "forbidden"));
    }
    assert_eq!(bob.number().await, 1);
}

async fn who_has_no_room_left_is_told_and_a_stream_ends(kind: Kind) {
    let world = World::new().await;
    let ann = listen(connect(kind, &world.anns[0], &["a"]).await, &world.anns[0]).await;
    world.closed.lock().expect("no panic").insert("a".to_owned());
    world.hub().revoke("ann", "*").await.expect("stored");
    let (mut ann, word) = heard(ann).await;
    assert_eq!((&word["room"], &word["code"]), (&json!("a"), &json!("forbidden")));
    if kind == Kind::Ws {
        let joined = ann.command(&json!({"type": "join", "ref": 1, "room": "b"})).await;
        assert_eq!(joined["type"], "joined");
    } else {
        assert_eq!(within(SOON, "the end", ann.next()).await, None);
    }
}

async fn what_is_for_a_user_reaches_all_of_its_sessions_and_nobody_else(kind: Kind) {
    let world = World::new().await;
    let mut anns = Vec::new();
    for node in &world.anns {
        anns.push(connect(kind, node, &["~user:ann"]).await);
    }
    let event = |number: u64| Event::json("n", &number).expect("JSON");
    world.hub().publish_to_user("ann", event(1)).await.expect("stored");
    for ann in &mut anns {
        assert_eq!(ann.number().await, 1);
    }
    let cursor = anns.pop().expect("two").cursor().to_owned();
    world.hub().publish_to_user("ann", event(2)).await.expect("stored");
    // It has a history as any room, on every node.
    let mut again =
        Client::connect(kind, world.anns[0].address(), "~user:ann", &cursor).await.expect("let in");
    assert_eq!(again.number().await, 2);
    let refused =
        Client::connect(kind, world.bobs.address(), "~user:ann", "now").await.expect_err("not hers");
    assert_eq!((refused.status, &*refused.code), (403, "forbidden"));
    let said = again.publish("n", json!(3), None).await;
    assert_eq!((&said["type"], &said["code"]), (&json!("error"), &json!("forbidden")));
    for name in ["~control", "~user:", "~"] {
        let refused =
            Client::connect(kind, world.anns[0].address(), name, "now").await.expect_err("reserved");
        assert_eq!((refused.status, &*refused.code), (400, "bad_room"), "{name}");
    }
}

async fn an_event_for_all_but_a_user_leaves_no_hole(kind: Kind) {
    let world = World::new().await;
    let mut ann = connect(kind, &world.anns[0], &["a"]).await;
    let mut bob = connect(kind, &world.bobs, &["a"]).await;
    let event = |number: u64| Event::json("n", &number).expect("JSON").except_user("ann");
    world.publish("a", 1).await;
    world.hub().publish("a", event(2)).await.expect("stored");
    world.publish("a", 3).await;
    world.hub().publish("a", event(4)).await.expect("stored");
    for number in [1, 2, 3, 4] {
        assert_eq!(bob.number().await, number);
    }
    for number in [1, 3] {
        assert_eq!(ann.number().await, number);
    }
    // Also from the history, on another node, and without a gap.
    let mut again = Client::connect(kind, world.anns[1].address(), "a", ann.cursor()).await.expect("let in");
    world.publish("a", 5).await;
    assert_eq!((again.number().await, ann.number().await, bob.number().await), (5, 5, 5));
}

mount!(
    a_user_is_disconnected_on_every_node,
    a_right_taken_away_ends_one_room_and_the_others_go_on,
    who_has_no_room_left_is_told_and_a_stream_ends,
    what_is_for_a_user_reaches_all_of_its_sessions_and_nobody_else,
    an_event_for_all_but_a_user_leaves_no_hole,
);

#[tokio::test]
async fn who_publishes_without_an_echo_hears_no_more_than_the_answer() {
    let world = World::new().await;
    let node = &world.anns[0];
    let (mut one, mut two) = (connect(Kind::Ws, node, &["a"]).await, connect(Kind::Ws, node, &["a"]).await);
    let publish = |number: u64, echo: bool| json!({"type": "publish", "ref": number, "room": "a", "event": "n", "data": number, "echo": echo});
    for (number, echo) in [(1, false), (2, true), (3, false), (4, true)] {
        assert_eq!(one.command(&publish(number, echo)).await["type"], "reply");
    }
    for number in [1, 2, 3, 4] {
        assert_eq!(two.number().await, number);
    }
    for number in [2, 4] {
        assert_eq!(one.number().await, number);
    }
    let mut stream = connect(Kind::Sse, node, &["a"]).await;
    assert_eq!(stream.command(&publish(5, false)).await["code"], "no_stream");
}
