//! Coming back: everything since the cursor, once, or a gap; in the same time whatever the length of the history.

use std::time::{Duration, Instant};
use tidings::Rooms;
use tidings_testkit::{Client, Heard, Kind, Ledger, Random, Server, mount, request, within};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);

async fn connect(kind: Kind, server: &Server, from: &str) -> Client {
    Client::connect(kind, server.address(), "r", from).await.expect("let in")
}

async fn heard(client: &mut Client) -> Heard {
    within(SOON, "something", client.next()).await.expect("still open")
}

/// Nothing comes for a while: long enough for what was wrongly sent at once.
async fn assert_silent(client: &mut Client) {
    if let Ok(heard) = timeout(Duration::from_millis(100), client.next()).await {
        panic!("{heard:?} came");
    }
}

async fn renewing_a_request_under_load_leaves_no_hole(kind: Kind) {
    let server = Server::start().await;
    let hub = server.hub().clone();
    const LAST: u64 = 2_000;
    let publisher = tokio::spawn(async move {
        for number in 1..=LAST {
            hub.publish("r", tidings::Event::json("n", &number).expect("JSON")).await.expect("published");
            if number % 5 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let mut random = Random::new();
    let mut ledger = Ledger::default();
    let mut cursor = "start".to_owned();
    while ledger.last() < LAST {
        let mut client = connect(kind, &server, &cursor).await;
        let stay = Duration::from_millis(50 + random.below(100));
        let _ = timeout(stay, async {
            while ledger.last() < LAST {
                ledger.note(&client.next().await.expect("still open"));
            }
        })
        .await;
        client.cursor().clone_into(&mut cursor);
    }
    publisher.await.expect("the publisher does not panic");
    ledger.assert_equal(LAST);
}

async fn a_second_return_without_new_events_brings_nothing(kind: Kind) {
    let server = Server::start().await;
    let mut client = connect(kind, &server, "now").await;
    for number in 1..=5 {
        server.publish("r", number).await;
        assert_eq!(client.number().await, number);
    }
    let cursor = client.cursor().to_owned();
    drop(client);
    let mut last = String::new();
    for number in 6..=10 {
        last = server.publish("r", number).await.to_string();
    }
    let mut client = connect(kind, &server, &cursor).await;
    for number in 6..=10 {
        assert_eq!(client.number().await, number);
    }
    let cursor = client.cursor().to_owned();
    assert_eq!(cursor, last, "the cursor is that of what was recovered");
    drop(client);
    assert_silent(&mut connect(kind, &server, &cursor).await).await;
}

async fn what_is_trimmed_is_told_and_what_is_just_kept_is_not(kind: Kind) {
    let server = Server::with_rooms(Rooms::log(5, Duration::from_secs(60))).await;
    let mut ten = String::new();
    for number in 1..=10 {
        ten = server.publish("r", number).await.to_string();
    }
    for number in 11..=15 {
        server.publish("r", number).await;
    }
    let mut client = connect(kind, &server, &ten).await;
    for number in 11..=15 {
        assert_eq!(client.number().await, number, "exactly what is kept is complete");
    }
    drop(client);
    server.publish("r", 16).await;
    server.publish("r", 17).await;
    let mut client = connect(kind, &server, &ten).await;
    let Heard::Gap { room, reason, cursor } = heard(&mut client).await else { panic!("no gap") };
    assert_eq!((&*room, &*reason), ("r", "trimmed"));
    for number in 13..=17 {
        assert_eq!(client.number().await, number);
    }
    // Where the gap left off is a cursor like any other.
    assert_eq!(connect(kind, &server, &cursor).await.number().await, 13);
}

async fn a_history_that_has_outlived_its_age_is_a_gap(kind: Kind) {
    let server = Server::with_rooms(Rooms::log(100, Duration::from_millis(300))).await;
    let first = server.publish("r", 1).await.to_string();
    let second = server.publish("r", 2).await.to_string();
    assert_eq!(connect(kind, &server, &first).await.number().await, 2);
    // Age is what is waited for here.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let mut client = connect(kind, &server, &first).await;
    assert!(matches!(heard(&mut client).await, Heard::Gap { reason, .. } if reason == "trimmed"));
    assert_eq!(client.cursor(), second);
    assert_silent(&mut connect(kind, &server, &second).await).await;
}

async fn a_new_process_is_a_new_epoch_even_for_who_has_seen_nothing(kind: Kind) {
    let server = Server::start().await;
    let empty = connect(kind, &server, "now").await.cursor().to_owned();
    assert!(empty.starts_with('p'), "a cursor before any event: {empty}");
    let mut third = String::new();
    for number in 1..=3 {
        third = server.publish("r", number).await.to_string();
    }
    drop(server);
    let server = Server::start().await;
    for number in 1..=5 {
        server.publish("r", number).await;
    }
    for cursor in [empty, third] {
        let mut client = connect(kind, &server, &cursor).await;
        assert!(
            matches!(heard(&mut client).await, Heard::Gap { reason, .. } if reason == "epoch"),
            "{cursor}"
        );
        for number in 1..=5 {
            assert_eq!(client.number().await, number);
        }
    }
}

async fn a_return_from_far_behind_is_complete(kind: Kind) {
    let server = Server::start().await;
    let mut first = String::new();
    for number in 1..=5_000 {
        let position = server.publish("r", number).await.to_string();
        if number == 1 {
            first = position;
        }
    }
    let mut client = connect(kind, &server, &first).await;
    for number in 2..=5_000 {
        assert_eq!(client.number().await, number);
    }
}

mount!(
    renewing_a_request_under_load_leaves_no_hole,
    a_second_return_without_new_events_brings_nothing,
    what_is_trimmed_is_told_and_what_is_just_kept_is_not,
    a_history_that_has_outlived_its_age_is_a_gap,
    a_new_process_is_a_new_epoch_even_for_who_has_seen_nothing,
    a_return_from_far_behind_is_complete,
);

#[tokio::test(flavor = "multi_thread")]
async fn returning_ten_events_back_takes_the_same_time_whatever_the_length_of_the_history() {
    let mut servers = Vec::new();
    for length in [1_000, 50_000] {
        // Each other broker is asked for the same in its own suite, where less is published one by one.
        let server = Server::in_memory(Rooms::log(50_000, Duration::from_secs(3_600))).await;
        let mut positions = Vec::new();
        for number in 1..=length {
            positions.push(server.publish("r", number).await);
        }
        let cursor = positions[positions.len() - 11].to_string();
        servers.push((server, length, cursor));
    }
    for kind in Kind::ALL {
        // In turn, so that whatever else the machine does is the same for both.
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..31 {
            for ((server, length, cursor), times) in servers.iter().zip(&mut times) {
                let begin = Instant::now();
                let mut client = connect(kind, server, cursor).await;
                for number in length - 9..=*length {
                    assert_eq!(client.number().await, number);
                }
                times.push(begin.elapsed());
            }
        }
        let [short, long] = times.map(|mut times| {
            times.sort();
            times[times.len() / 2]
        });
        println!("{kind:?}: {short:?} with 1 000 events, {long:?} with 50 000");
        assert!(long < Duration::from_millis(50) && long < short * 3, "{kind:?}: {short:?} and {long:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_event_id_resumes_a_browsers_stream() {
    let server = Server::start().await;
    let first = server.publish("r", 1).await;
    let second = server.publish("r", 2).await;
    let header = format!("last-event-id: {first}");
    // The URL is the one that the page was opened with; the header says where the browser is now.
    let target = "/realtime/poll?room=r&from=now&wait=0";
    let answer = request(server.address(), "GET", target, &[&header], "").await.expect("an answer").json();
    assert_eq!((&answer["cursor"], &answer["events"][0]["data"]), (&second.to_string().into(), &2.into()));
}
