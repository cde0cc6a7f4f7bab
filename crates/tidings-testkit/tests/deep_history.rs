//! Coming back from beyond what a node holds in memory of its own: complete and in order.

use std::time::Duration;
use tidings::Rooms;
use tidings_testkit::{Client, Heard, Kind, Ledger, Server, mount, within};

const SOON: Duration = Duration::from_secs(30);

async fn the_whole_history_is_complete_and_one_event_more_would_be_a_gap(kind: Kind) {
    const HISTORY: u64 = 20_000;
    let server = Server::with_rooms(Rooms::log(HISTORY as usize, Duration::from_secs(3_600))).await;
    let first = server.publish("r", 0).await.to_string();
    for number in 1..=HISTORY {
        server.publish("r", number).await;
    }
    let mut client = Client::connect(kind, server.address(), "r", &first).await.expect("let in");
    let mut ledger = Ledger::default();
    within(SOON, "the history", async {
        while ledger.last() < HISTORY {
            ledger.note(&client.next().await.expect("still open"));
        }
    })
    .await;
    ledger.assert_equal(HISTORY);
    server.publish("r", HISTORY + 1).await;
    let mut client = Client::connect(kind, server.address(), "r", &first).await.expect("let in");
    let heard = within(SOON, "a gap", client.next()).await;
    assert!(matches!(&heard, Some(Heard::Gap { .. })), "{heard:?}");
    assert_eq!(client.number().await, 2);
}

mount!(the_whole_history_is_complete_and_one_event_more_would_be_a_gap);
