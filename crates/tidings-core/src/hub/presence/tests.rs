mod link;

use super::*;
use crate::{
    Broker, Command, Event, From, GapReason, Gate, HubBuilder, MemoryBroker, Notice, Position, Received,
    Rooms, Session, Subscription,
    gate::{self, Decision, RequestHead},
    policy::MEMBERS,
    session::Item,
    subscribe::Inside,
};
use link::Link;
use std::{
    future::{poll_fn, ready},
    ops::Range,
};
use tokio::time::sleep;

fn builder(broker: &Arc<impl Broker>) -> HubBuilder<Arc<dyn Gate>> {
    let rooms = Rooms::default().presence(Presence::new());
    let hub = Hub::builder().gate(gate::open()).broker(Arc::clone(broker) as Arc<dyn Broker>);
    hub.rooms("a*", rooms).rooms("~user:*", rooms)
}

fn hub_on(broker: &Arc<impl Broker>) -> Hub {
    builder(broker).build()
}

fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("a name")
}

fn names(users: &[&str]) -> Members {
    Members { count: users.len(), users: users.iter().map(|user| (*user).to_owned()).collect() }
}

async fn enter(hub: &Hub, who: Identity, name: &str) -> Result<Session, JoinError> {
    let mut session = hub.attach(Arc::new(Inside), who, None).expect("a place");
    session.join(room(name), From::Now).await.map(|_| session)
}

async fn session(hub: &Hub, user: &str, name: &str) -> Session {
    enter(hub, Identity::user(user), name).await.expect("let in")
}

async fn members(hub: &Hub, name: &str) -> Members {
    hub.presence(name).await.expect("a broker that answers")
}

/// Waits until a hub says that these are in a room, and answers how long that took.
async fn until(hub: &Hub, name: &str, users: &[&str]) -> Duration {
    let begun = Instant::now();
    loop {
        let there = members(hub, name).await;
        if there == names(users) {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < 120 * SECOND, "{users:?} were to be there, and these are: {there:?}");
        sleep(SECOND / 10).await;
    }
}

async fn watch(hub: &Hub, name: &str) -> Subscription {
    let name = RoomName::of_presence(&room(name)).expect("a name");
    hub.subscribe(&name, From::Now).await.expect("it is told")
}

/// The next that is told to be in the room.
async fn told(watching: &mut Subscription) -> Members {
    match timeout(120 * SECOND, watching.next()).await.expect("something").expect("it goes on") {
        Received::Message(message) => message.event().parse().expect("members"),
        Received::Gap { reason, .. } => panic!("a gap: {reason:?}"),
    }
}

/// All that is told within a time.
async fn told_within(time: Duration, watching: &mut Subscription) -> Vec<Members> {
    let mut all = Vec::new();
    let collect = async {
        loop {
            all.push(told(watching).await);
        }
    };
    assert!(timeout(time, collect).await.is_err());
    all
}

async fn nothing_within(time: Duration, watching: &mut Subscription) {
    let heard = timeout(time, watching.next()).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_in_a_room_is_told_to_whoever_watches() {
    let hub = hub_on(&Arc::new(MemoryBroker::new()));
    let mut watching = watch(&hub, "a").await;
    let _ann = session(&hub, "ann", "a").await;
    assert_eq!(told(&mut watching).await, names(&["ann"]));
    let bob = session(&hub, "bob", "a").await;
    assert_eq!(told(&mut watching).await, names(&["ann", "bob"]));
    assert_eq!(members(&hub, "a").await, names(&["ann", "bob"]));
    let left = Instant::now();
    drop(bob);
    assert_eq!(told(&mut watching).await, names(&["ann"]));
    assert!(IN_GRACE.contains(&left.elapsed()), "{:?}", left.elapsed());
    let mut late = watch(&hub, "a").await;
    assert_eq!(told(&mut late).await, names(&["ann"]));
}

#[tokio::test(start_paused = true)]
async fn sessions_of_a_user_count_once_and_those_of_nobody_do_not() {
    let hub = hub_on(&Arc::new(MemoryBroker::new()));
    let mut watching = watch(&hub, "a").await;
    let anns = (session(&hub, "ann", "a").await, session(&hub, "ann", "a").await);
    let _nobody = enter(&hub, Identity::anonymous(), "a").await.unwrap();
    assert_eq!(told(&mut watching).await, names(&["ann"]));
    drop(anns.0);
    nothing_within(60 * SECOND, &mut watching).await;
    drop(anns.1);
    assert_eq!(told(&mut watching).await, names(&[]));
}

#[tokio::test(start_paused = true)]
async fn one_who_comes_back_in_time_has_not_left() {
    let hub = hub_on(&Arc::new(MemoryBroker::new()));
    let mut ann = Some(session(&hub, "ann", "a").await);
    until(&hub, "a", &["ann"]).await;
    let mut watching = watch(&hub, "a").await;
    assert_eq!(told(&mut watching).await, names(&["ann"]));
    for _ in 0..20 {
        drop(ann.take());
        sleep(4 * SECOND).await;
        ann = Some(session(&hub, "ann", "a").await);
        sleep(SECOND).await;
    }
    nothing_within(10 * SECOND, &mut watching).await;
}

#[tokio::test(start_paused = true)]
async fn one_who_leaves_the_room_and_stays_connected_leaves_it() {
    let hub = hub_on(&Arc::new(MemoryBroker::new()));
    let mut ann = session(&hub, "ann", "a").await;
    until(&hub, "a", &["ann"]).await;
    ann.receive(Command::Leave { reference: None, room: room("a") });
    assert!(IN_GRACE.contains(&until(&hub, "a", &[]).await));
    assert_eq!(ann.rooms(), 0);
}

#[tokio::test(start_paused = true)]
async fn many_who_come_at_once_are_told_in_few_words() {
    let hub = hub_on(&Arc::new(MemoryBroker::new()));
    let mut watching = watch(&hub, "a").await;
    let mut crowd = Vec::new();
    for n in 0..1_000 {
        crowd.push(session(&hub, &format!("{n:04}"), "a").await);
    }
    let all = told_within(5 * SECOND, &mut watching).await;
    let last = all.last().expect("something");
    assert_eq!((last.count, last.users.len(), &*last.users[99]), (1_000, 100, "0099"));
    assert!(all.len() <= 3, "{}", all.len());
}

#[tokio::test(start_paused = true)]
async fn a_user_who_goes_to_another_node_is_there_all_the_time() {
    let broker = Arc::new(MemoryBroker::new());
    let (one, two) = (hub_on(&broker), hub_on(&broker));
    let ann = session(&one, "ann", "a").await;
    until(&two, "a", &["ann"]).await;
    let mut watching = watch(&two, "a").await;
    drop(ann);
    sleep(4 * SECOND).await;
    let _ann = session(&two, "ann", "a").await;
    let all = told_within(30 * SECOND, &mut watching).await;
    assert!(!all.is_empty() && all.iter().all(|members| *members == names(&["ann"])), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn members_of_a_node_that_was_killed_leave_once_after_its_lease() {
    let broker = Arc::new(MemoryBroker::new());
    let links = [(); 3].map(|()| Arc::new(Link::new(&broker)));
    let [one, two, three] = [0, 1, 2].map(|n| hub_on(&links[n]));
    let (_ann, _bob) = (session(&one, "ann", "a").await, session(&two, "bob", "a").await);
    let cid = session(&three, "cid", "a").await;
    for hub in [&one, &two, &three] {
        until(hub, "a", &["ann", "bob", "cid"]).await;
    }
    sleep(20 * SECOND).await;
    let mut watching = [watch(&one, "a").await, watch(&two, "a").await];
    for watching in &mut watching {
        assert_eq!(told(watching).await, names(&["ann", "bob", "cid"]));
    }
    let killed = Instant::now();
    links[2].cut();
    drop((three, cid));
    for watching in &mut watching {
        assert_eq!(told(watching).await, names(&["ann", "bob"]));
        assert!((9 * SECOND..18 * SECOND).contains(&killed.elapsed()), "{:?}", killed.elapsed());
    }
    for watching in &mut watching {
        nothing_within(60 * SECOND, watching).await;
    }
}

#[tokio::test(start_paused = true)]
async fn members_of_a_node_that_ends_have_the_grace_time_and_no_more() {
    let broker = Arc::new(MemoryBroker::new());
    let (one, two) = (hub_on(&broker), hub_on(&broker));
    let (_ann, bob) = (session(&one, "ann", "a").await, session(&two, "bob", "a").await);
    let cid = session(&two, "cid", "a").await;
    until(&one, "a", &["ann", "bob", "cid"]).await;
    let mut watching = watch(&one, "a").await;
    assert_eq!(told(&mut watching).await, names(&["ann", "bob", "cid"]));
    let ended = Instant::now();
    drop((bob, cid));
    assert_eq!(two.drain(SECOND).await, 0);
    drop(two);
    let _bob = session(&one, "bob", "a").await;
    let all = told_within(60 * SECOND, &mut watching).await;
    let (last, before) = all.split_last().expect("something");
    assert_eq!(*last, names(&["ann", "bob"]));
    assert!(before.iter().all(|members| *members == names(&["ann", "bob", "cid"])), "{all:?}");
    assert!(ended.elapsed() < 70 * SECOND);
    let mut one_more = watch(&one, "a").await;
    assert_eq!(told(&mut one_more).await, names(&["ann", "bob"]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_drained_cannot_say_who_is_there() {
    let hub = hub_on(&Arc::new(MemoryBroker::new()));
    let ann = session(&hub, "ann", "a").await;
    until(&hub, "a", &["ann"]).await;
    drop(ann);
    assert_eq!(hub.drain(SECOND).await, 0);
    assert!(matches!(hub.presence("a").await, Err(JoinError::Unavailable)));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ends_is_not_waited_for() {
    let broker = Arc::new(MemoryBroker::new());
    let (one, two) = (hub_on(&broker), hub_on(&broker));
    let (_ann, bob) = (session(&one, "ann", "a").await, session(&two, "bob", "a").await);
    until(&one, "a", &["ann", "bob"]).await;
    drop((two, bob));
    assert!(until(&one, "a", &["ann"]).await <= 8 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_node_is_not_forgotten_among_many_words() {
    let broker = Arc::new(MemoryBroker::new());
    let (one, two) = (hub_on(&broker), hub_on(&broker));
    let _ann = session(&one, "ann", "a").await;
    until(&two, "a", &["ann"]).await;
    let _bob = session(&two, "bob", "a").await;
    let mut counter = watch(&two, "a").await;
    for n in 0..MEMBERS * 2 {
        let before = counter.cursor();
        let _one_more = session(&two, &format!("x{n}"), "a").await;
        while counter.cursor() == before {
            told(&mut counter).await;
        }
        sleep(SECOND).await;
    }
    // One that knows nothing but what is kept.
    let late = hub_on(&broker);
    assert!(members(&late, "a").await.users.contains(&"ann".to_owned()));
    assert_eq!(members(&late, "a").await, members(&one, "a").await);
}

#[tokio::test(start_paused = true)]
async fn members_stay_known_for_longer_than_their_words_are_kept() {
    let broker = Arc::new(MemoryBroker::new());
    let hub = hub_on(&broker);
    let _ann = session(&hub, "ann", "a").await;
    until(&hub, "a", &["ann"]).await;
    sleep(3 * crate::policy::MEMBERS_AGE).await;
    assert_eq!(members(&hub_on(&broker), "a").await, names(&["ann"]));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_holds_on_every_node() {
    let broker = Arc::new(MemoryBroker::new());
    let (one, two) = (hub_on(&broker), hub_on(&broker));
    let _ann = session(&one, "ann", "a").await;
    until(&two, "a", &["ann"]).await;
    let name = RoomName::of_presence(&room("a")).unwrap();
    let mut watching = watch(&one, "a").await;
    assert_eq!(told(&mut watching).await, names(&["ann"]));
    let cursor = From::After(watching.cursor());
    drop(watching);
    let mut resumed = two.subscribe(&name, cursor).await.unwrap();
    nothing_within(10 * SECOND, &mut resumed).await;
    let _bob = session(&two, "bob", "a").await;
    assert_eq!(told(&mut resumed).await, names(&["ann", "bob"]));
    for hub in [&one, &two] {
        let mut resumed = hub.subscribe(&name, cursor).await.unwrap();
        assert_eq!(told(&mut resumed).await, names(&["ann", "bob"]));
        nothing_within(10 * SECOND, &mut resumed).await;
    }
    let elsewhere = Position { epoch: 7, offset: 7, tag: 7 };
    let mut lost = one.subscribe(&name, From::After(elsewhere)).await.unwrap();
    assert!(matches!(lost.next().await, Some(Received::Gap { reason: GapReason::Epoch, .. })));
    assert_eq!(told(&mut lost).await, names(&["ann", "bob"]));
}

/// Everybody is ann, and may join what begins with `a:ann`.
struct Own;

impl Gate for Own {
    fn connect<'a>(&'a self, _: &'a RequestHead) -> Decision<'a, Identity> {
        Box::pin(ready(Ok(Identity::user("ann"))))
    }

    fn join<'a>(&'a self, _: &'a Identity, room: &'a RoomName) -> Decision<'a> {
        let may = room.starts_with("a:ann");
        Box::pin(ready(if may { Ok(()) } else { Err(crate::Denied::forbidden("not yours")) }))
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_may_join_a_room_may_see_who_is_in_it_and_nobody_else() {
    let rooms = Rooms::default().presence(Presence::new());
    let hub = Hub::builder().gate(Own).rooms("a:*", rooms).rooms("~user:*", rooms).build();
    let ann = || Identity::user("ann");
    let mut session = enter(&hub, ann(), "~presence:a:ann").await.unwrap();
    for (name, code) in
        [("~presence:a:bob", "forbidden"), ("~presence:~user:bob", "forbidden"), ("~presence:b", "bad_room")]
    {
        assert_eq!(
            enter(&hub, ann(), name).await.map(drop).map_err(|error| error.code()),
            Err(code),
            "{name}"
        );
    }
    hub.revoke("ann", "a:ann").await.unwrap();
    loop {
        match timeout(SECOND, poll_fn(|cx| session.poll_item(cx))).await.unwrap() {
            Ok(Item::Notice(Notice::Refused { room, code, .. })) => {
                assert_eq!((room.as_str(), code), ("~presence:a:ann", "forbidden"));
                break;
            }
            Ok(_) => {}
            Err(reason) => panic!("{reason:?}"),
        }
    }
}

/// Fails for some.
struct Faulty;

impl Gate for Faulty {
    fn connect<'a>(&'a self, _: &'a RequestHead) -> Decision<'a, Identity> {
        Box::pin(ready(Ok(Identity::anonymous())))
    }

    fn join<'a>(&'a self, who: &'a Identity, _: &'a RoomName) -> Decision<'a> {
        match who.name() {
            Some("eve") => panic!("it does not like her"),
            Some("hal") => Box::pin(std::future::pending()),
            _ => Box::pin(ready(Ok(()))),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_for_whom_the_application_fails_is_no_member() {
    let rooms = Rooms::default().presence(Presence::new());
    let hub = Hub::builder().gate(Faulty).rooms("*", rooms).build();
    for (user, code) in [("eve", "internal"), ("hal", "unavailable")] {
        let refused = enter(&hub, Identity::user(user), "a").await.map(drop);
        assert_eq!(refused.map_err(|error| error.code()), Err(code));
    }
    let _ann = session(&hub, "ann", "a").await;
    until(&hub, "a", &["ann"]).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_publishes_who_is_in_a_room() {
    let hub = hub_on(&Arc::new(MemoryBroker::new()));
    let told = RoomName::of_presence(&room("a")).unwrap();
    let event = || Event::json("presence", &names(&["eve"])).unwrap();
    assert_eq!(hub.publish(&told, event()).await.unwrap_err().code(), "forbidden");
    let publish = Command::Publish { reference: None, room: told, event: event(), key: None, echo: true };
    let answer = hub.perform(Identity::user("eve"), None, publish).await;
    assert!(matches!(answer, Notice::Error { code: "forbidden", .. }), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_room_that_everybody_has_left_leaves_nothing_behind() {
    let broker = Arc::new(MemoryBroker::new());
    let hub = hub_on(&broker);
    for n in 0..50 {
        let name = format!("a{n}");
        let watching = watch(&hub, &name).await;
        let ann = session(&hub, "ann", &name).await;
        until(&hub, &name, &["ann"]).await;
        drop((watching, ann));
    }
    sleep(60 * SECOND).await;
    let presences = hub.node.presences.as_ref().unwrap();
    {
        let rooms = presences.rooms.lock();
        assert!(rooms.seats.is_empty());
        assert!(rooms.by_name.is_empty() && rooms.dirty.is_empty());
    }
    sleep(100 * SECOND).await;
    assert_eq!(hub.stats().rooms, 0);
    let nodes = RoomName::nodes();
    let signs = async || {
        let read = broker.read(&nodes, Rooms::default(), crate::broker::ReadFrom::Start, 1_000);
        read.await.unwrap().messages.len()
    };
    let count = signs().await;
    sleep(600 * SECOND).await;
    assert_eq!(signs().await, count, "an idle node says nothing");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_tells_no_members_keeps_none() {
    let hub = Hub::builder().gate(gate::open()).build();
    let _ann = session(&hub, "ann", "a").await;
    assert!(hub.node.presences.is_none());
    assert_eq!(hub.presence("a").await.unwrap(), Members::default());
}

#[tokio::test(start_paused = true)]
async fn users_have_a_grace_time_that_is_longer_than_the_lease_of_their_node() {
    let broker = Arc::new(MemoryBroker::new());
    let hub = || {
        let rooms = Rooms::default().presence(Presence::new().grace(40 * SECOND));
        let hub = Hub::builder().gate(gate::open()).broker(Arc::clone(&broker) as Arc<dyn Broker>);
        hub.rooms("a*", rooms).build()
    };
    let (one, two) = (hub(), hub());
    let (_ann, bob) = (session(&one, "ann", "a").await, session(&two, "bob", "a").await);
    until(&one, "a", &["ann", "bob"]).await;
    let mut watching = watch(&one, "a").await;
    assert_eq!(told(&mut watching).await, names(&["ann", "bob"]));
    drop(bob);
    assert_eq!(two.drain(SECOND).await, 0);
    drop(two);
    sleep(30 * SECOND).await;
    let _bob = session(&one, "bob", "a").await;
    let all = told_within(120 * SECOND, &mut watching).await;
    assert!(all.iter().all(|members| *members == names(&["ann", "bob"])), "{all:?}");
}

mod away;
mod offline;

const SECOND: Duration = Duration::from_secs(1);
/// When somebody without a session leaves.
const IN_GRACE: Range<Duration> = Duration::from_millis(4_900)..Duration::from_secs(7);
