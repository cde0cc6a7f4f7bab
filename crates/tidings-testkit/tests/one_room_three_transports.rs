//! One room, three transports: what is published on one is heard on all, soon and in one order.

use serde_json::json;
use std::time::{Duration, Instant};
use tidings_testkit::{Client, Heard, Kind, Server, within};

const SOON: Duration = Duration::from_secs(10);

async fn everybody(server: &Server) -> Vec<Client> {
    let mut clients = Vec::new();
    for kind in Kind::ALL {
        clients.push(Client::connect(kind, server.address(), "general", "now").await.expect("let in"));
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_publishes_all_hear_in_one_order() {
    let server = Server::start().await;
    let mut clients = everybody(&server).await;
    let mut positions = Vec::new();
    for round in 0..5 {
        for (who, client) in clients.iter_mut().enumerate() {
            let reply = client.publish("chat", json!({"who": who, "round": round}), None).await;
            assert_eq!(reply["type"], "reply", "{reply}");
            positions.push(reply["id"].as_str().expect("a position").to_owned());
        }
    }
    for client in &mut clients {
        let mut heard = Vec::new();
        while heard.len() < positions.len() {
            match within(SOON, "an event", client.next()).await {
                Some(Heard::Event { cursor, event, .. }) => {
                    assert_eq!(event, "chat");
                    heard.push(cursor);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(heard, positions, "{client:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_every_transport_in_well_under_50_ms() {
    let server = Server::start().await;
    let mut clients = everybody(&server).await;
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); Kind::ALL.len() * Kind::ALL.len()];
    for round in 0..60 {
        let from = round % clients.len();
        // Publishing answers when the event is stored, so what comes later is the delivery. A long-poll that is
        // between two requests is part of the measure.
        let begin = Instant::now();
        let publisher = &mut clients[from];
        publisher.publish("chat", json!(round), None).await;
        for (to, client) in clients.iter_mut().enumerate() {
            assert_eq!(within(SOON, "the event", client.number()).await, round as u64);
            times[from * Kind::ALL.len() + to].push(begin.elapsed());
        }
    }
    for (at, times) in times.iter_mut().enumerate() {
        times.sort();
        let median = times[times.len() / 2];
        let (from, to) = (Kind::ALL[at / Kind::ALL.len()], Kind::ALL[at % Kind::ALL.len()]);
        println!("{from:?} to {to:?}: median {median:?}, longest {:?}", times[times.len() - 1]);
        assert!(median < Duration::from_millis(50), "{from:?} to {to:?}: {median:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_is_answered_by_the_event_it_waits_for() {
    let server = Server::start().await;
    let mut client = Client::connect(Kind::Poll, server.address(), "quiet", "now").await.expect("let in");
    let waiting = tokio::spawn(async move { (client.number().await, Instant::now()) });
    server.until_sessions(1, SOON).await;
    let begin = Instant::now();
    server.publish("quiet", 7).await;
    let (number, heard) = within(SOON, "the answer", waiting).await.expect("no panic");
    assert_eq!(number, 7);
    println!("answered after {:?}", heard.duration_since(begin));
    assert!(heard.duration_since(begin) < Duration::from_millis(500));
}
