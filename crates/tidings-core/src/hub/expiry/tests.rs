use crate::{
    Batch, CloseReason, Denied, Event, From, Gate, Hub, Identity, Limits, RoomName, Step, gate,
    session::tests::Plain,
};
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// Seconds on a clock of the wall.
static WALL: AtomicU64 = AtomicU64::new(1_000_000);

fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(WALL.load(SeqCst))
}

/// Knows everybody until a time of that clock.
struct Until(u64);

impl Gate for Until {
    fn connect<'a>(&'a self, _: &'a gate::RequestHead) -> gate::Decision<'a, Identity> {
        let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(self.0);
        Box::pin(async move { Ok(Identity::user("alice").with_expiry(expiry)) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_its_time_is_over_whatever_becomes_of_the_clock_of_the_wall() {
    let mut builder = Hub::builder().gate(Until(1_000_100));
    builder.wall = wall;
    let hub = builder.build();
    let (head, ()) = http::Request::new(()).into_parts();
    for step in [0_i64, 43_200, -3_600] {
        WALL.store(1_000_000, SeqCst);
        let who = hub.connect(&head).await.unwrap();
        let mut session = hub.attach(Arc::new(Plain), who, None).unwrap();
        session.join(RoomName::new("r").unwrap(), From::Now).await.unwrap();
        let begin = Instant::now();
        WALL.store(1_000_000_u64.saturating_add_signed(step), SeqCst);
        let reason = poll_fn(|cx| session.poll_closing(cx)).await;
        assert_eq!(reason, CloseReason::Expired);
        let lasted = begin.elapsed();
        assert!((100_000..=100_500).contains(&lasted.as_millis()), "after a step of {step} s: {lasted:?}");
        hub.publish("r", Event::json("late", &1).unwrap()).await.unwrap();
        let mut batch = Batch::new(1_000);
        assert!(poll_fn(|cx| session.poll_batch(cx, &mut batch)).await == Step::Some);
        let parts: Vec<u8> = batch.parts().drain(..).flatten().collect();
        let parts = String::from_utf8(parts).unwrap();
        assert!(parts.contains("code: Expired, retry: None") && !parts.contains("late"), "{parts}");
    }
    // Who comes after the step is judged by the clock as it is then.
    WALL.store(1_000_100, SeqCst);
    assert!(matches!(hub.connect(&head).await, Err(Denied::Unauthorized(_))));
}

#[tokio::test(start_paused = true)]
async fn times_that_are_far_away_are_no_time_at_all() {
    let hub = Hub::builder().gate(gate::open()).build();
    let attach = |expiry| {
        let who = Identity::user("alice").with_expiry(expiry);
        hub.attach(Arc::new(Plain), who, None).unwrap()
    };
    let far = [
        Duration::from_secs(300 * 365 * 86_400),
        Duration::from_secs(1 << 53),
        Duration::from_secs(i64::MAX as u64 / 2),
    ];
    let far: Vec<_> = far.iter().filter_map(|far| SystemTime::now().checked_add(*far)).map(attach).collect();
    let past = [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH - Duration::from_secs(1)].map(attach);
    for session in &past {
        assert_eq!(poll_fn(|cx| session.poll_closing(cx)).await, CloseReason::Expired);
    }
    tokio::time::advance(Duration::from_secs(86_400)).await;
    tokio::task::yield_now().await;
    assert!(far.len() == 3 && far.iter().all(|session| !session.is_closing()));
}

#[tokio::test]
async fn waits_without_sense_are_for_ever() {
    let mut limits = Limits::default();
    (limits.auth_wait, limits.gate_wait) = (Duration::MAX, Duration::MAX);
    let hub = Hub::builder().gate(gate::open()).limits(limits).build();
    assert_eq!(hub.stranger().expiry(), None);
    let (head, ()) = http::Request::new(()).into_parts();
    assert!(hub.connect(&head).await.is_ok());
    (limits.auth_wait, limits.gate_wait) = (Duration::ZERO, Duration::ZERO);
    let hub = Hub::builder().gate(gate::open()).limits(limits).build();
    // What is answered at once is in time.
    assert!(hub.connect(&head).await.is_ok());
    let session = hub.attach(Arc::new(Plain), hub.stranger(), None).unwrap();
    assert_eq!(poll_fn(|cx| session.poll_closing(cx)).await, CloseReason::Expired);
}

#[tokio::test]
async fn what_a_session_leaves_behind_does_not_wait_for_its_expiry() {
    let hub = Hub::builder().gate(gate::open()).build();
    let who = Identity::user("alice").with_expiry(SystemTime::now() + Duration::from_secs(86_400));
    let sessions: Vec<_> = (0..50).map(|_| hub.attach(Arc::new(Plain), who.clone(), None).unwrap()).collect();
    assert_eq!(hub.node.sessions.lock().expiries.due.len(), 50);
    drop(sessions);
    assert_eq!(hub.node.sessions.lock().expiries.due.len(), 0);
}
