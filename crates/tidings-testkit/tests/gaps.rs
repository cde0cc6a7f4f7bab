//! Each kind of gap, on each transport, in the stream itself. (`trimmed` and `epoch`: see also `resume.rs`.)

use std::time::Duration;
use tidings::{Event, Rooms};
use tidings_testkit::{Client, Heard, Kind, Ledger, Server, Tap, mount, pulls, shares_memory, within};

const SOON: Duration = Duration::from_secs(20);
/// Large enough that what the sockets hold is soon full.
const PAYLOAD: usize = 64 << 10;

async fn publish_large(server: &Server, room: &str, number: u64) {
    let event = Event::json("n", &(number, "x".repeat(PAYLOAD))).expect("JSON");
    server.hub().publish(room, event).await.expect("published");
}

/// The number of a large event.
fn number(heard: &Heard) -> Option<u64> {
    match heard {
        Heard::Event { data, .. } => Some(data[0].as_u64().expect("a number")),
        _ => None,
    }
}

async fn a_reader_that_stood_still_is_told_and_goes_on_in_order(kind: Kind) {
    const LAST: u64 = 1_000;
    let server = Server::with_rooms(Rooms::log(20, Duration::from_secs(60))).await;
    let tap = Tap::to(server.address()).await;
    let mut slow = Client::connect(kind, tap.address(), "a", "now").await.expect("let in");
    let mut other = Client::connect(kind, server.address(), "b", "now").await.expect("let in");
    publish_large(&server, "a", 1).await;
    assert_eq!(number(&within(SOON, "the first", slow.next()).await.expect("still open")), Some(1));
    tap.freeze();
    let mut ledger = Ledger::default();
    for at in 2..=LAST {
        publish_large(&server, "a", at).await;
        if at % 10 == 0 {
            // A room beside it loses nothing by it, and is not held up.
            server.publish("b", at / 10).await;
            ledger.note(&within(SOON, "an event of the other room", other.next()).await.expect("still open"));
        }
    }
    tap.thaw();
    let mut last = 1;
    let mut reasons = Vec::new();
    while last < LAST {
        let heard = within(SOON, "the rest", slow.next()).await.expect("still open");
        match &heard {
            Heard::Gap { room, reason, .. } => {
                assert_eq!(room, "a");
                reasons.push(reason.clone());
            }
            heard => {
                let at = number(heard).expect("an event");
                assert!(at > last, "{at} after {last}");
                assert!(at == last + 1 || !reasons.is_empty(), "{at} after {last}, and no word of a gap");
                last = at;
            }
        }
    }
    // Two polls are two sessions: whoever comes late to the second comes back, and is not slow.
    let reason = if kind == Kind::Poll { "trimmed" } else { "slow" };
    assert!(!reasons.is_empty() && reasons.iter().all(|told| told == reason), "{reasons:?}");
    // hyper takes some more while the client stands still, and the kernel does where publishing takes its time: that is an
    // episode of its own.
    assert!(
        reasons.len() == 1 || pulls() || !shares_memory(),
        "one episode, one gap, and not {}",
        reasons.len()
    );
    ledger.assert_equal(LAST / 10);
}

async fn a_gap_is_told_again_to_whoever_was_cut_off_before_it(kind: Kind) {
    let server = Server::with_rooms(Rooms::log(5, Duration::from_secs(60))).await;
    let first = server.publish("r", 1).await.to_string();
    for number in 2..=20 {
        server.publish("r", number).await;
    }
    let mut cursor = first;
    for _ in 0..3 {
        // Only `joined` is heard.
        let client = Client::connect(kind, server.address(), "r", &cursor).await.expect("let in");
        client.cursor().clone_into(&mut cursor);
    }
    let mut client = Client::connect(kind, server.address(), "r", &cursor).await.expect("let in");
    let heard = within(SOON, "a gap", client.next()).await;
    assert!(matches!(heard, Some(Heard::Gap { reason, .. }) if reason == "trimmed"));
    assert_eq!(client.number().await, 16);
}

mount!(
    a_reader_that_stood_still_is_told_and_goes_on_in_order,
    a_gap_is_told_again_to_whoever_was_cut_off_before_it,
);

#[tokio::test]
async fn a_burst_longer_than_the_history_is_a_gap_for_whoever_was_waiting() {
    for kind in Kind::ALL {
        let server = Server::in_memory(Rooms::log(5, Duration::from_secs(60))).await;
        let first = server.publish("r", 0).await.to_string();
        let mut client = Client::connect(kind, server.address(), "r", &first).await.expect("let in");
        let (heard, ()) = tokio::join!(within(SOON, "a gap", client.next()), async {
            server.until_sessions(1, SOON).await;
            // The session is there; let it come to its rest.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            // On one thread nobody else runs in between.
            for number in 1..=20 {
                server.publish("r", number).await;
            }
        });
        match heard {
            Some(Heard::Gap { room, reason, .. }) => {
                assert_eq!((&*room, &*reason), ("r", "slow"), "{kind:?}")
            }
            other => panic!("{other:?} on {kind:?}"),
        }
        for number in 16..=20 {
            assert_eq!(client.number().await, number, "{kind:?}");
        }
    }
}
