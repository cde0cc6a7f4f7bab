//! Many sessions come back to rooms in full traffic, one of them without reading: nobody waits for it.

use std::time::{Duration, Instant};
use tidings::{Event, Rooms};
use tidings_testkit::{Client, Kind, Server, Tap, within};
use tokio::task::JoinSet;

const SESSIONS: usize = 200;
const PUBLISHERS: u64 = 5;
const EACH: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_session_holds_up_neither_publishers_nor_those_who_come_back() {
    let server = Server::with_rooms(Rooms::log(20_000, Duration::from_secs(60))).await;
    let tap = Tap::to(server.address()).await;
    let first = server.publish("a", 0).await.to_string();
    for _ in 0..100 {
        server.publish("a", 0).await;
    }
    let frozen = Client::connect(Kind::Ws, tap.address(), "a", &first).await.expect("let in");
    tap.freeze();
    let mut readers = JoinSet::new();
    for at in 0..SESSIONS {
        let (address, first, kind) = (server.address(), first.clone(), Kind::ALL[at % 2]);
        readers.spawn(async move {
            let mut client = Client::connect(kind, address, "a", &first).await.expect("let in");
            let mut last = [0; PUBLISHERS as usize];
            // The hundred from before, then each publisher's in its order.
            for _ in 0..100 {
                assert_eq!(client.number().await, 0);
            }
            for _ in 0..PUBLISHERS * EACH {
                let number = client.number().await;
                let (publisher, count) = ((number / 1_000_000) as usize, number % 1_000_000);
                assert_eq!(count, last[publisher] + 1);
                last[publisher] = count;
            }
        });
    }
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let hub = server.hub().clone();
        publishers.spawn(async move {
            let mut longest = Duration::ZERO;
            for count in 1..=EACH {
                let event = Event::json("n", &(publisher * 1_000_000 + count)).expect("JSON");
                let begin = Instant::now();
                hub.publish("a", event).await.expect("published");
                longest = longest.max(begin.elapsed());
                tokio::task::yield_now().await;
            }
            longest
        });
    }
    while let Some(longest) = publishers.join_next().await {
        let longest = longest.expect("no panic");
        assert!(longest < Duration::from_secs(1), "a publish took {longest:?}");
    }
    within(Duration::from_secs(60), "every reader has everything", async {
        while let Some(reader) = readers.join_next().await {
            reader.expect("an equal ledger");
        }
    })
    .await;
    drop(frozen);
}
