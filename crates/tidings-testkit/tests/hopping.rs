//! The promise: a client that loses its connection over and over and comes back on any transport and any node has
//! every event once and in order.

use std::{sync::Arc, time::Duration};
use tidings::{Event, Hub, Rooms, broker::Broker};
use tidings_testkit::{
    Client, Kind, Ledger, Random, Server, Shared, Tap, UnrulyBroker, brokers, soaks, within,
};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

const HOPS: usize = 100;

/// How often the long tests run: a few times, or ten with `TIDINGS_SOAK` set.
fn rounds() -> usize {
    if soaks() { 10 } else { 2 }
}

fn hub(broker: Arc<dyn Broker>) -> Hub {
    brokers::hub(broker, Rooms::log(20_000, Duration::from_secs(3_600)))
}

/// Publishes 1, 2, 3 … at 1 000 events a second, through each hub in turn, until told to stop; answers the last.
fn publisher(hubs: Vec<Hub>) -> (JoinHandle<u64>, tokio::sync::oneshot::Sender<()>) {
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut tick = interval(Duration::from_millis(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 1.. {
            tick.tick().await;
            let event = Event::json("n", &number).expect("a number is JSON");
            hubs[number as usize % hubs.len()].publish("r", event).await.expect("published");
            if stopped.try_recv().is_ok() {
                return number;
            }
        }
        unreachable!("there are enough numbers")
    });
    (task, stop)
}

async fn hop(servers: &[Server], taps: &[Tap]) {
    let mut random = Random::new();
    let (publisher, stop) = publisher(servers.iter().map(|server| server.hub().clone()).collect());
    let mut ledger = Ledger::default();
    let mut cursor = "start".to_owned();
    let mut hops = [0; 3];
    for _ in 0..HOPS {
        let kind = *random.pick(&Kind::ALL);
        hops[kind as usize] += 1;
        let tap = random.pick(taps);
        let mut client = Client::connect(kind, tap.address(), "r", &cursor).await.expect("let in");
        let stay = Duration::from_millis(random.below(60));
        let end = async {
            sleep(stay).await;
            tap.cut();
        };
        if random.below(2) == 0 {
            // The client goes by itself, perhaps before it has heard anything.
            let _ = timeout(stay, listen(&mut client, &mut ledger)).await;
        } else {
            // The line is reset under it, and what is on the way is lost.
            tokio::join!(end, async {
                let _ = timeout(stay * 2, listen(&mut client, &mut ledger)).await;
            });
        }
        client.cursor().clone_into(&mut cursor);
    }
    stop.send(()).expect("the publisher runs");
    let last = publisher.await.expect("the publisher does not panic");
    let mut client = Client::connect(Kind::Ws, taps[0].address(), "r", &cursor).await.expect("let in");
    within(Duration::from_secs(20), "the rest", async {
        while ledger.last() < last {
            ledger.note(&client.next().await.expect("still open"));
        }
    })
    .await;
    println!("{last} events, hops by WebSocket, event stream and long-poll: {hops:?}");
    ledger.assert_equal(last);
    assert!(hops.iter().all(|hops| *hops > 5), "{hops:?}");
}

/// Listens until the connection ends.
async fn listen(client: &mut Client, ledger: &mut Ledger) {
    while let Some(heard) = client.next().await {
        ledger.note(&heard);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_disconnects_and_changes_of_transport_lose_and_repeat_nothing() {
    for _ in 0..rounds() {
        let shared = Shared::new();
        let servers = [Server::with_hub(hub(shared.broker().await)).await];
        let taps = [Tap::to(servers[0].address()).await];
        hop(&servers, &taps).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_node_lose_and_repeat_nothing_although_the_broker_does() {
    for _ in 0..rounds() {
        // In memory whatever nodes share else: it is this one that loses.
        let broker: Arc<dyn Broker> = Arc::new(UnrulyBroker::new());
        let mut servers = Vec::new();
        let mut taps = Vec::new();
        for _ in 0..3 {
            let server = Server::with_hub(hub(Arc::clone(&broker))).await;
            taps.push(Tap::to(server.address()).await);
            servers.push(server);
        }
        hop(&servers, &taps).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_one_position_whichever_node_shows_it_and_needs_no_affinity() {
    let shared = Shared::new();
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Server::with_hub(hub(shared.broker().await)).await);
    }
    let mut cursor = "now".to_owned();
    let mut ledger = Ledger::default();
    for round in 1..=60 {
        // A poll on one node, the publish on the next: the handshake was on yet another.
        let mut client = Client::connect(Kind::ALL[round % 3], servers[round % 3].address(), "r", &cursor)
            .await
            .expect("let in");
        let published = servers[(round + 1) % 3].publish("r", round as u64).await;
        ledger.note(&within(Duration::from_secs(5), "the event", client.next()).await.expect("still open"));
        assert_eq!(client.cursor(), published.to_string());
        client.cursor().clone_into(&mut cursor);
    }
    ledger.assert_equal(60);
}
