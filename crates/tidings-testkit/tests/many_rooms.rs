//! A hundred thousand rooms cost what each of them costs, and nothing once they are gone.

use futures_util::FutureExt;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{alloc::System, sync::Arc, time::Duration};
use tidings::{Event, From, Hub, Limits, MemoryBroker, Rooms, Subscription, broker::Broker, gate};
use tidings_testkit::{
    heap::{alone_in_time, held},
    within,
};
use tokio::time::sleep;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// As many as the limits allow.
const ROOMS: usize = 100_000;
/// Heap for a room with a session of its own in it, on the node and at the broker; and with one event.
const JOINED: usize = 1_400;
const WITH_EVENT: usize = 2_048;
/// What the map of rooms, and lists that keep a few places, may be larger by.
const MARGIN: usize = 256 << 10;
const AGE: Duration = Duration::from_secs(10);

/// Every other room keeps its events for a while.
fn name(at: usize) -> String {
    format!("{}-{at}", ["kept", "live"][at % 2])
}

async fn join(hub: &Hub, count: usize) -> Vec<Subscription> {
    let mut inside = Vec::with_capacity(count);
    for at in 0..count {
        let mut one = hub.subscribe(name(at), From::Now).await.expect("there is a place");
        // It has looked, and is idle.
        assert!(one.next().now_or_never().is_none());
        inside.push(one);
    }
    inside
}

/// Publishes one event to each, and sees it.
async fn publish(hub: &Hub, inside: &mut [Subscription]) {
    for at in 0..inside.len() {
        let (room, event) = (name(at), Event::json("n", &at).expect("JSON"));
        let published = match at % 100 {
            // Its key is remembered too, and for longer.
            0 => hub.publish_once(room, event, "key").await,
            _ => hub.publish(room, event).await,
        };
        published.expect("published");
    }
    for (at, one) in inside.iter_mut().enumerate() {
        let event = within(AGE, "the event", one.next()).await.expect("the hub is there");
        let event = event.into_message().expect("no gap");
        assert_eq!(event.event().parse::<usize>().expect("a number"), at);
        assert!(one.next().now_or_never().is_none());
    }
}

/// Waits until neither the node nor its broker knows of any room, but for that of the words to all nodes.
async fn until_forgotten(hub: &Hub, broker: &MemoryBroker) {
    let limit = Duration::from_secs(400);
    within(limit, "every room is forgotten", async {
        while hub.stats().rooms + broker.rooms() > 1 {
            sleep(AGE).await;
        }
    })
    .await;
    // And once more through what keeps house.
    sleep(AGE).await;
}

#[test]
fn a_hundred_thousand_rooms_cost_little_and_nothing_once_they_are_gone() {
    alone_in_time(async {
        let broker = Arc::new(MemoryBroker::new());
        let shared: Arc<dyn Broker> = Arc::clone(&broker) as _;
        let mut limits = Limits::default();
        limits.linger = Duration::from_secs(1);
        let hub = Hub::builder().gate(gate::open()).broker(shared).limits(limits);
        let hub = hub.rooms("kept-*", Rooms::log(10, AGE)).rooms("live-*", Rooms::ephemeral()).build();
        // What there is once, is there after the first rooms.
        for count in [10, ROOMS] {
            let before = held();
            let mut inside = join(&hub, count).await;
            let joined = (held() - before) / count;
            publish(&hub, &mut inside).await;
            assert_eq!((hub.stats().rooms, hub.stats().members), (count, count));
            let each = (held() - before) / count;
            drop(inside);
            until_forgotten(&hub, &broker).await;
            let left = held().saturating_sub(before);
            println!("{count} rooms: {joined} bytes each, {each} with an event; {left} bytes are left");
            if count == ROOMS {
                assert!(joined <= JOINED && each <= WITH_EVENT, "{joined} and {each} bytes for each room");
                assert!(left <= MARGIN, "{left} bytes are left of {count} rooms");
            }
        }
    });
}
