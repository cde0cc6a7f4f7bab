//! What is held for readers whose connections take nothing: no more than the room keeps, whatever is published.

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{alloc::System, collections::BTreeSet, time::Duration};
use tidings::{Event, Hub, Limits, Rooms, gate};
use tidings_testkit::{
    Client, Heard, Kind, Server, Tap,
    heap::{alone, held},
    hear_out, soaks, within,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SOON: Duration = Duration::from_secs(60);
const PAYLOAD: usize = 64 << 10;
/// What the room keeps: fifteen events.
const HISTORY: usize = 1 << 20;
/// An event as it came, and its forms for WebSockets, event streams and polls.
const FORMS: usize = 4;
/// For what each of six connections is about to write, and what its reader, of this process too, is about to parse.
const MARGIN: usize = 2 << 20;
/// Events after which those who are well are waited for: fewer than the room keeps.
const STEP: u64 = 8;

/// Events: 64 MiB of them, or 2 GiB with `TIDINGS_SOAK` set.
fn events() -> u64 {
    let bytes = if soaks() { 2 << 30 } else { 64 << 20 };
    (bytes / PAYLOAD) as u64
}

async fn publish(server: &Server, number: u64) {
    let event = Event::json("n", &(number, "x".repeat(PAYLOAD - 100))).expect("JSON");
    server.hub().publish("r", event).await.expect("published");
}

/// The number of the next event.
async fn hear(client: &mut Client) -> u64 {
    match within(SOON, "an event", client.next()).await {
        Some(Heard::Event { data, .. }) => data[0].as_u64().expect("a number"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_held_for_frozen_readers_does_not_grow_with_what_they_miss() {
    alone(async {
        let last = events();
        let mut limits = Limits::default();
        // They are not given up, however long it takes.
        limits.idle = 60 * SOON;
        let hub = Hub::builder().gate(gate::open()).limits(limits);
        let hub = hub.rooms("*", Rooms::log(10_000, 60 * SOON).bytes(HISTORY)).build();
        let server = Server::with_hub(hub).await;
        let tap = Tap::to(server.address()).await;
        let (mut well, mut frozen) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            well.push(Client::connect(kind, server.address(), "r", "now").await.expect("let in"));
            frozen.push((kind, Client::connect(kind, tap.address(), "r", "now").await.expect("let in")));
        }
        // So that the readers, which are of this process too, have buffers for one.
        publish(&server, 1).await;
        for client in well.iter_mut().chain(frozen.iter_mut().map(|(_, client)| client)) {
            assert_eq!(hear(client).await, 1);
        }
        let listen = |(kind, client)| (kind, tokio::spawn(hear_out(client, 1, last)));
        let frozen: Vec<_> = frozen.into_iter().map(listen).collect();
        // The poll waits, as the streams do. The other one comes when it is asked.
        server.until_sessions(5, SOON).await;
        tap.freeze();
        let before = held();
        let (mut most, mut early) = (0, 0);
        for number in 2..=last {
            publish(&server, number).await;
            most = most.max(held().saturating_sub(before));
            if (number - 1) % STEP == 0 {
                for client in &mut well {
                    for wanted in number - STEP + 1..=number {
                        assert_eq!(hear(client).await, wanted);
                    }
                }
            }
            if number == last / 4 {
                early = most;
            }
        }
        println!(
            "{} KiB at most in the first quarter, {} KiB in all, of {} MiB that were published",
            early >> 10,
            most >> 10,
            (last as usize * PAYLOAD) >> 20
        );
        assert!(most <= FORMS * HISTORY + MARGIN, "{most} bytes were held");
        // They are where they were, and hear what is left.
        tap.thaw();
        for (kind, listener) in frozen {
            let (missed, reasons) = within(SOON, "the rest", listener).await.expect("no panic");
            println!("{kind:?} missed {missed}: {reasons:?}");
            assert!(missed > last / 2, "{kind:?} missed {missed} of {last}");
            let reason = if kind == Kind::Poll { "trimmed" } else { "slow" };
            assert_eq!(reasons, BTreeSet::from([reason.to_owned()]), "{kind:?}");
        }
    });
}
