use super::*;
use crate::{
    Broker, Command, Gate, Hub, MemoryBroker, Notice, Session, gate,
    gate::{Decision, RequestHead},
    session::Item,
};
use std::time::Duration;

/// Lets anybody be whom it was made for, once it is allowed to answer; and counts how often it was asked.
#[derive(Clone)]
struct Slow {
    may: Arc<tokio::sync::Semaphore>,
    asked: Arc<Mutex<usize>>,
}

impl Slow {
    fn new() -> Self {
        Self { may: Arc::new(tokio::sync::Semaphore::new(0)), asked: Arc::default() }
    }

    async fn turn(&self) {
        *self.asked.lock() += 1;
        self.may.acquire().await.expect("it is never closed").forget();
    }

    /// Waits until it was asked so often.
    async fn until_asked(&self, times: usize) {
        while *self.asked.lock() < times {
            tokio::task::yield_now().await;
        }
    }
}

impl Gate for Slow {
    fn connect<'a>(&'a self, _: &'a RequestHead) -> Decision<'a, Identity> {
        Box::pin(async {
            self.turn().await;
            Ok(Identity::user("ann"))
        })
    }

    fn join<'a>(&'a self, _: &'a Identity, _: &'a RoomName) -> Decision<'a> {
        Box::pin(async {
            self.turn().await;
            Ok(())
        })
    }
}

fn hub_on(broker: &Arc<MemoryBroker>) -> Hub {
    Hub::builder().gate(gate::open()).broker(Arc::clone(broker) as Arc<dyn Broker>).build()
}

fn hub() -> Hub {
    hub_on(&Arc::default())
}

fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("a name")
}

fn enter(hub: &Hub, who: Identity) -> Session {
    hub.attach(Arc::new(Inside), who, None).expect("a place")
}

async fn session(hub: &Hub, user: &str, rooms: &[&str]) -> Session {
    let mut session = enter(hub, Identity::user(user));
    for name in rooms {
        session.join(room(name), From::Now).await.expect("let in");
        assert!(matches!(next(&mut session).await, Ok(Item::Notice(Notice::Joined { .. }))));
    }
    session
}

async fn next(session: &mut Session) -> Result<Item, CloseReason> {
    let heard = poll_fn(|cx| session.poll_item(cx));
    tokio::time::timeout(Duration::from_secs(1), heard).await.expect("within a second")
}

async fn room_left(session: &mut Session) -> String {
    match next(session).await {
        Ok(Item::Notice(Notice::Refused { room, code: "forbidden", .. })) => room.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn end(session: &mut Session) -> CloseReason {
    match next(session).await {
        Ok(Item::Notice(Notice::Close { code, .. })) => code,
        other => panic!("{other:?}"),
    }
}

/// Nothing is left to be done.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn is_live(session: &mut Session) -> bool {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    session.poll_item(&mut cx).is_pending()
}

#[tokio::test]
async fn the_sessions_of_a_user_end_on_every_node_and_nobody_elses() {
    let broker = Arc::default();
    let hubs = [hub_on(&broker), hub_on(&broker), hub_on(&broker)];
    let mut anns = Vec::new();
    let mut others = Vec::new();
    for hub in &hubs {
        anns.push(session(hub, "ann", &["a"]).await);
        anns.push(session(hub, "ann", &[]).await);
        others.push(session(hub, "bob", &["a"]).await);
        others.push(enter(hub, Identity::anonymous()));
    }
    hubs[1].disconnect("ann", CloseReason::Revoked).await.unwrap();
    for ann in &mut anns {
        assert_eq!(end(ann).await, CloseReason::Revoked);
    }
    assert!(others.iter_mut().all(is_live));
    let mut again = session(&hubs[0], "ann", &["a"]).await;
    settle().await;
    assert!(is_live(&mut again), "whoever comes after it is not meant");
}

#[tokio::test]
async fn rooms_are_left_by_name_and_by_beginning_on_every_node_and_the_others_go_on() {
    let broker = Arc::default();
    let hubs = [hub_on(&broker), hub_on(&broker)];
    let mut anns = Vec::new();
    for hub in &hubs {
        anns.push(session(hub, "ann", &["team:1", "team:2", "b"]).await);
    }
    let mut bob = session(&hubs[0], "bob", &["team:1"]).await;
    hubs[0].revoke("ann", "team:1").await.unwrap();
    for ann in &mut anns {
        assert_eq!(room_left(ann).await, "team:1");
        assert_eq!(ann.rooms(), 2);
    }
    hubs[1].revoke("ann", "team:*").await.unwrap();
    for ann in &mut anns {
        assert_eq!(room_left(ann).await, "team:2");
        assert_eq!(ann.rooms(), 1);
    }
    for name in ["team:1", "team:2", "b"] {
        hubs[0].publish(name, Event::json("e", &name).unwrap()).await.unwrap();
    }
    for ann in &mut anns {
        assert!(matches!(next(ann).await, Ok(Item::Message(message)) if message.room().as_str() == "b"));
        assert!(!ann.has_ended());
    }
    assert!(matches!(next(&mut bob).await, Ok(Item::Message(_))));
}

#[tokio::test]
async fn a_session_that_has_no_room_left_has_ended_for_those_who_cannot_join() {
    let hub = hub();
    let mut ann = session(&hub, "ann", &["a"]).await;
    hub.revoke("ann", "*").await.unwrap();
    room_left(&mut ann).await;
    assert!(ann.has_ended());
    assert!(!enter(&hub, Identity::user("ann")).has_ended(), "one that had none has not");
}

#[tokio::test]
async fn who_missed_words_ends_the_sessions_of_all_users_to_come_back() {
    let hub = hub();
    let mut ann = session(&hub, "ann", &["a"]).await;
    let mut nobody = enter(&hub, Identity::anonymous());
    // More than is kept, and nobody else has had a turn.
    for number in 0..1_100 {
        hub.disconnect(&format!("user {number}"), CloseReason::Revoked).await.unwrap();
    }
    assert_eq!(end(&mut ann).await, CloseReason::Drain);
    assert!(CloseReason::Drain.retry().is_some());
    assert!(is_live(&mut nobody));
    let mut again = session(&hub, "ann", &["a"]).await;
    hub.disconnect("ann", CloseReason::Expired).await.unwrap();
    assert_eq!(end(&mut again).await, CloseReason::Expired, "it hears again");
}

#[tokio::test]
async fn a_word_that_is_not_understood_may_have_been_about_anybody() {
    let hub = hub();
    let mut ann = session(&hub, "ann", &["a"]).await;
    let event = Event::from_json("word", r#"{"do":"something","later":"than this"}"#).unwrap();
    let room = RoomName::control();
    hub.node.broker.publish(Publish { room, event, key: None, rooms: Rooms::default() }).await.unwrap();
    assert_eq!(end(&mut ann).await, CloseReason::Drain);
}

#[tokio::test]
async fn a_right_that_is_taken_while_the_gate_looks_is_not_given() {
    let gate = Slow::new();
    let hub = Hub::builder().gate(gate.clone()).build();
    for (rooms, is_let_in) in [("other", true), ("a", false), ("*", false)] {
        *gate.asked.lock() = 0;
        let mut ann = enter(&hub, Identity::user("ann"));
        let (joined, ()) = tokio::join!(ann.join(room("a"), From::Now), async {
            gate.until_asked(1).await;
            hub.revoke("ann", rooms).await.unwrap();
            hub.revoke("bob", "a").await.unwrap();
            settle().await;
            gate.may.add_permits(1);
        });
        assert_eq!(joined.is_ok(), is_let_in, "{joined:?} with {rooms}");
        assert_eq!(ann.rooms(), usize::from(is_let_in));
    }
}

#[tokio::test]
async fn a_gate_that_looked_before_a_user_was_disconnected_is_asked_again() {
    let gate = Slow::new();
    let hub = Hub::builder().gate(gate.clone()).build();
    let (head, ()) = http::Request::new(()).into_parts();
    settle().await;
    drop(enter(&hub, Identity::anonymous()));
    hub.node.hearing().await;
    let (who, ()) = tokio::join!(hub.connect(&head), async {
        gate.until_asked(1).await;
        hub.disconnect("ann", CloseReason::Revoked).await.unwrap();
        gate.may.add_permits(2);
    });
    assert_eq!(who.unwrap().name(), Some("ann"));
    assert_eq!(*gate.asked.lock(), 2);
}

/// One thread, a gate that answers at once, and a word that is stored and not done yet.
#[tokio::test]
async fn who_comes_before_a_word_is_done_lets_it_be_done() {
    struct Ann;
    impl Gate for Ann {
        fn connect<'a>(&'a self, _: &'a RequestHead) -> Decision<'a, Identity> {
            Box::pin(std::future::ready(Ok(Identity::user("ann"))))
        }
    }
    let hub = Hub::builder().gate(Ann).build();
    let (head, ()) = http::Request::new(()).into_parts();
    drop(enter(&hub, Identity::anonymous()));
    let heard = hub.node.hearing().await;
    hub.disconnect("ann", CloseReason::Revoked).await.unwrap();
    assert_eq!(hub.node.control.mark(), heard, "it is not done yet");
    assert_eq!(hub.connect(&head).await.unwrap().name(), Some("ann"));
    assert_ne!(hub.node.control.mark(), heard);
}

#[tokio::test(start_paused = true)]
async fn where_it_cannot_be_said_what_was_said_it_is_no_for_now_and_not_for_ever() {
    let hub = hub();
    drop(enter(&hub, Identity::anonymous()));
    let heard = hub.node.hearing().await.expect("a place");
    let foreign = Position { epoch: heard.epoch ^ 1, ..heard };
    let ann = Identity::user("ann");
    let no = hub.node.holds_since(foreign, &ann, &room("r"));
    assert!(matches!(no, Err(Denied::Unavailable(_))), "{no:?}");
    hub.node.control.move_to(foreign);
    let no = hub.node.admit(async || Ok(ann.clone())).await;
    assert!(matches!(no, Err(Denied::Unavailable(_))), "{no:?}");
    hub.node.control.move_to(heard);
    assert_eq!(hub.node.admit(async || Ok(ann.clone())).await.unwrap().name(), Some("ann"));
}

#[tokio::test]
async fn a_ticket_from_before_a_user_was_disconnected_is_good_for_nothing() {
    let hub = hub();
    let tickets = ["ann", "bob"].map(|user| hub.ticket(Identity::user(user), None).unwrap());
    settle().await;
    hub.disconnect("ann", CloseReason::Revoked).await.unwrap();
    settle().await;
    assert!(hub.redeem(&tickets[0]).is_err());
    assert_eq!(hub.redeem(&tickets[1]).unwrap().name(), Some("bob"));
    assert!(hub.redeem(&hub.ticket(Identity::user("ann"), None).unwrap()).is_ok());
}

/// Whoever the gate has let in is not yet one of those that hear of their end.
#[tokio::test]
async fn who_was_let_in_before_a_user_was_disconnected_gets_no_further() {
    let gate = Slow::new();
    gate.may.add_permits(10);
    let hub = Hub::builder().gate(gate).build();
    let (head, ()) = http::Request::new(()).into_parts();
    drop(enter(&hub, Identity::anonymous()));
    let heard = hub.node.hearing().await;
    let ann = hub.connect(&head).await.unwrap();
    let ping = || Command::Ping { reference: None };
    assert!(matches!(hub.perform(ann.clone(), None, ping()).await, Notice::Pong { .. }));
    hub.disconnect("bob", CloseReason::Revoked).await.unwrap();
    hub.node.control.until(|mark| mark != heard).await;
    assert!(is_live(&mut enter(&hub, ann.clone())), "it was another user");

    hub.disconnect("ann", CloseReason::Revoked).await.unwrap();
    // Before the word is done, and after.
    for _ in 0..2 {
        assert_eq!(end(&mut enter(&hub, ann.clone())).await, CloseReason::Revoked);
        let ticket = hub.ticket(ann.clone(), None).unwrap();
        assert!(matches!(hub.redeem(&ticket), Err(Denied::Unauthorized(_))));
        let said = hub.perform(ann.clone(), None, ping()).await;
        assert!(matches!(said, Notice::Error { code: "unauthorized", .. }), "{said:?}");
        settle().await;
    }
    let again = hub.connect(&head).await.unwrap();
    assert!(is_live(&mut enter(&hub, again)), "whoever comes after it is not meant");
}

#[tokio::test]
async fn who_was_let_in_before_a_word_that_is_not_understood_comes_back() {
    let gate = Slow::new();
    gate.may.add_permits(1);
    let hub = Hub::builder().gate(gate).build();
    let (head, ()) = http::Request::new(()).into_parts();
    drop(enter(&hub, Identity::anonymous()));
    hub.node.hearing().await;
    let ann = hub.connect(&head).await.unwrap();
    let event = Event::from_json("word", r#"{"do":"something","later":"than this"}"#).unwrap();
    let room = RoomName::control();
    hub.node.broker.publish(Publish { room, event, key: None, rooms: Rooms::default() }).await.unwrap();
    assert_eq!(end(&mut enter(&hub, ann)).await, CloseReason::Drain);
}

#[tokio::test]
async fn words_that_a_session_does_not_hear_are_bounded() {
    let hub = hub();
    let mut ann = session(&hub, "ann", &["a"]).await;
    for number in 0..100 {
        hub.revoke("ann", &format!("room {number}")).await.unwrap();
        hub.revoke("ann", "the same").await.unwrap();
    }
    settle().await;
    assert!(hub.node.sessions.lock().waiting() <= 64);
    assert_eq!(end(&mut ann).await, CloseReason::Drain);
}

#[tokio::test]
async fn nothing_is_kept_of_sessions_that_have_gone() {
    let hub = hub();
    let mut anns = Vec::new();
    for _ in 0..5 {
        anns.push(session(&hub, "ann", &["a"]).await);
    }
    hub.revoke("ann", "b").await.unwrap();
    settle().await;
    drop(anns);
    let sessions = hub.node.sessions.lock();
    assert_eq!((sessions.waiting(), sessions.known_users()), (0, 0));
}

#[tokio::test]
async fn a_hub_that_is_dropped_is_gone() {
    let broker = Arc::<MemoryBroker>::default();
    let hub = hub_on(&broker);
    drop(session(&hub, "ann", &["a"]).await);
    let node = Arc::downgrade(&hub.node);
    drop(hub);
    settle().await;
    assert_eq!(node.strong_count(), 0, "who listens does not keep it");
}

#[tokio::test]
async fn an_event_is_kept_from_a_user_whose_cursor_passes_it() {
    let hub = hub();
    let (mut ann, mut bob) = (session(&hub, "ann", &["a"]).await, session(&hub, "bob", &["a"]).await);
    let event = |number: u64| Event::json("e", &number).unwrap();
    let kept = hub.publish("a", event(1).except_user("ann")).await.unwrap();
    settle().await;
    assert!(is_live(&mut ann));
    let (_, cursor) = ann.standing().cursor();
    assert_eq!(cursor.positions(), [kept]);
    hub.publish("a", event(2)).await.unwrap();
    for (who, numbers) in [(&mut ann, &[2][..]), (&mut bob, &[1, 2])] {
        for number in numbers {
            let Ok(Item::Message(message)) = next(who).await else { panic!("no message") };
            assert_eq!(message.event().parse::<u64>().unwrap(), *number);
        }
    }
}
