//! What it costs that a session expires: a place in a queue, and no timer.

use bytes::BytesMut;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{
    alloc::System,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidings::{Encoder, Hub, Identity, Json, Notice, Session, Standing, Transport, gate};
use tidings_testkit::heap::{alone, held};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

struct Nowhere;

impl Transport for Nowhere {
    fn name(&self) -> &'static str {
        "nowhere"
    }

    fn encoder(&self) -> &dyn Encoder {
        &Json
    }

    fn notice(&self, _: &Notice, _: Standing<'_>, _: &mut BytesMut) {}
}

const SESSIONS: usize = 10_000;

/// Bytes that each of so many sessions holds, of identities that expire at different times.
async fn each(expiry: impl Fn(usize) -> Option<SystemTime>) -> usize {
    let hub = Hub::builder().gate(gate::open()).build();
    let transport: Arc<dyn Transport> = Arc::new(Nowhere);
    let identities: Vec<_> = (0..SESSIONS)
        .map(|n| {
            let who = Identity::user(&format!("user {}", n / 100));
            match expiry(n) {
                Some(at) => who.with_expiry(at),
                None => who,
            }
        })
        .collect();
    let mut sessions: Vec<Session> = Vec::with_capacity(SESSIONS);
    let before = held();
    for who in identities {
        sessions.push(hub.attach(Arc::clone(&transport), who, None).expect("a place"));
    }
    (held() - before) / SESSIONS
}

#[test]
fn a_session_that_expires_holds_a_few_bytes_more_than_one_that_does_not() {
    let never = alone(each(|_| None));
    let now = SystemTime::now();
    // The worst order for a queue, and that in which they come in fact.
    for (what, step) in [("in order", 1), ("one before another", SESSIONS - 1), ("mixed", 7_919)] {
        let time = |n: usize| Some(now + Duration::from_secs(3_600 + (n * step % SESSIONS) as u64));
        let expiring = alone(each(time));
        println!("{what}: {expiring} bytes for each, {never} for one that does not expire");
        assert!(expiring <= never + 40, "{what}: {expiring} bytes for each, not {never}");
    }
}
