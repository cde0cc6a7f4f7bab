//! Polls that are given up, and polls that overlap: each is whole in itself, so neither harms the other.

use std::time::Duration;
use tidings_testkit::{Client, Kind, Ledger, Random, Server, request, within};
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn polls_given_up_at_any_moment_lose_and_repeat_nothing() {
    let server = Server::start().await;
    let hub = server.hub().clone();
    let publisher = tokio::spawn(async move {
        for number in 1..=300 {
            hub.publish("r", tidings::Event::json("n", &number).expect("JSON")).await.expect("published");
            sleep(Duration::from_millis(4)).await;
        }
    });
    let mut random = Random::new();
    let mut ledger = Ledger::default();
    let mut cursor = "start".to_owned();
    while ledger.last() < 300 {
        let mut client = Client::connect(Kind::Poll, server.address(), "r", &cursor).await.expect("let in");
        let stay = Duration::from_millis(random.below(6));
        let _ = timeout(stay, async {
            while ledger.last() < 300 {
                ledger.note(&client.next().await.expect("an answer"));
            }
        })
        .await;
        client.cursor().clone_into(&mut cursor);
    }
    publisher.await.expect("no panic");
    ledger.assert_equal(300);
    server.until_sessions(0, Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_polls_with_one_cursor_both_get_the_event() {
    let server = Server::start().await;
    let first =
        request(server.address(), "GET", "/realtime/poll?room=r", &[], "").await.expect("an answer").json();
    let cursor = first["cursor"].as_str().expect("a cursor").to_owned();
    let target = format!("/realtime/poll?room=r&cursor={cursor}&wait=20");
    let poll = || request(server.address(), "GET", &target, &[], "");
    let (one, two, ()) = within(SOON, "both answers", async {
        tokio::join!(poll(), poll(), async {
            server.until_sessions(2, SOON).await;
            server.publish("r", 7).await;
        })
    })
    .await;
    let (one, two) = (one.expect("an answer").json(), two.expect("an answer").json());
    assert_eq!(one["events"][0]["data"], 7);
    assert_eq!(one, two);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_without_news_says_so_after_its_time_with_the_same_cursor() {
    let server = Server::start().await;
    let position = server.publish("r", 1).await.to_string();
    let target = format!("/realtime/poll?room=r&cursor={position}&wait=1");
    let begin = std::time::Instant::now();
    let answer = request(server.address(), "GET", &target, &[], "").await.expect("an answer").json();
    assert_eq!(answer, serde_json::json!({"type": "timeout", "cursor": position, "events": []}));
    assert!(begin.elapsed() >= Duration::from_millis(950), "{:?}", begin.elapsed());
}
