//! Rooms of many: publishing does not wait for them, the few do not wait for the many, and who has left costs nothing.

use bytes::{Bytes, BytesMut};
use std::{
    future::poll_fn,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};
use tidings::{
    Batch, Encoder, Event, From, Hub, Identity, Json, Notice, Outlet, Rooms, Session, Standing, Transport,
    gate,
};
use tidings_testkit::within;
use tokio::task::yield_now;

/// JSON as it is, for sessions without a connection.
struct Plain;

impl Transport for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn encoder(&self) -> &dyn Encoder {
        &Json
    }

    fn notice(&self, _: &Notice, _: Standing<'_>, _: &mut BytesMut) {}
}

/// Takes everything, and counts how often.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Outlet for Counter {
    fn offer(&self, bytes: &Bytes, _: &mut Option<Waker>) -> io::Result<usize> {
        self.0.fetch_add(1, Relaxed);
        Ok(bytes.len())
    }
}

fn hub() -> Hub {
    Hub::builder().gate(gate::open()).rooms("*", Rooms::log(100, Duration::from_secs(3_600))).build()
}

/// A member that is written to as an idle connection is.
async fn member(hub: &Hub, room: &str, outlet: &Arc<Counter>) -> Session {
    let mut session = hub.attach(Arc::new(Plain), Identity::default(), None).expect("not crowded");
    session.join(room.try_into().expect("a name"), From::Now).await.expect("an open gate");
    let mut batch = Batch::new(1 << 10);
    let nothing = poll_fn(|cx| Poll::Ready(session.poll_batch(cx, &mut batch).is_pending())).await;
    assert!(nothing, "it has nothing to read, and is told nothing");
    session.lend(outlet);
    session
}

async fn publish(hub: &Hub, room: &str) -> Duration {
    let event = Event::json("n", "a word or two").expect("JSON");
    let begin = Instant::now();
    hub.publish(room, event).await.expect("published");
    begin.elapsed()
}

/// Waits until so much was written.
async fn until(outlet: &Counter, count: usize) {
    let served = async {
        while outlet.0.load(Relaxed) < count {
            yield_now().await;
        }
    };
    within(Duration::from_secs(20), "everybody is served", served).await;
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

/// From a publish until every member has it.
async fn serving(hub: &Hub, outlet: &Counter, members: usize) -> Duration {
    let mut all = Vec::new();
    for _ in 0..200 {
        let (before, begin) = (outlet.0.load(Relaxed), Instant::now());
        publish(hub, "r").await;
        until(outlet, before + members).await;
        all.push(begin.elapsed());
    }
    assert_eq!(outlet.0.load(Relaxed) % members, 0, "each has each once");
    median(all)
}

#[tokio::test]
async fn a_room_whose_crowd_has_gone_costs_what_its_members_cost() {
    const CROWD: usize = 100_000;
    // They stay: the first to come, one in the middle and the last.
    let stay = [0, CROWD / 2, CROWD - 1];
    let (small, large) = (hub(), hub());
    let (few, left) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let mut members = Vec::new();
    for _ in stay {
        members.push(member(&small, "r", &few).await);
    }
    let mut crowd = Vec::with_capacity(CROWD);
    for _ in 0..CROWD {
        crowd.push(member(&large, "r", &left).await);
    }
    for (at, session) in crowd.into_iter().enumerate() {
        if stay.contains(&at) {
            members.push(session);
        }
    }
    assert_eq!(large.stats().members, stay.len());
    let (small, large) = (serving(&small, &few, stay.len()).await, serving(&large, &left, stay.len()).await);
    println!("{} members: {small:?}; the same after {CROWD} were there: {large:?}", stay.len());
    assert!(large <= 3 * small + Duration::from_micros(50), "{large:?} instead of {small:?}");
}

#[tokio::test]
async fn a_publish_to_a_crowd_returns_at_once_and_two_others_are_served_before_it() {
    const CROWD: usize = 10_000;
    const ROUNDS: usize = 20;
    let hub = hub();
    let [large, small] = [const { Counter(AtomicUsize::new(0)) }; 2].map(Arc::new);
    let mut members = Vec::with_capacity(CROWD + 2);
    for _ in 0..CROWD {
        members.push(member(&hub, "large", &large).await);
    }
    for _ in 0..2 {
        members.push(member(&hub, "small", &small).await);
    }
    let (mut to_large, mut to_small, mut before_small) = (Vec::new(), Vec::new(), 0);
    for round in 1..=ROUNDS {
        // Nobody else runs while these two are published, for they do not wait.
        to_large.push(publish(&hub, "large").await);
        to_small.push(publish(&hub, "small").await);
        assert_eq!(large.0.load(Relaxed), (round - 1) * CROWD, "publishing served nobody itself");
        until(&small, 2 * round).await;
        before_small = before_small.max(large.0.load(Relaxed) - (round - 1) * CROWD);
        until(&large, round * CROWD).await;
    }
    let (to_large, to_small) = (median(to_large), median(to_small));
    println!("to {CROWD}: {to_large:?}, to two: {to_small:?}; {before_small} were served before the two");
    // What it finds in no near cache after ten thousand were served takes a little longer.
    assert!(to_large <= 3 * to_small + Duration::from_micros(100), "{to_large:?} instead of {to_small:?}");
    assert!(before_small <= CROWD / 50, "the two waited for {before_small}");
}
