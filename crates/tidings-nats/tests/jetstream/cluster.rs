//! Three servers that hold each stream three times.

use crate::server::*;
use std::time::Duration;
use tidings_core::{Event, broker::*};
use tidings_nats::{NatsBroker, Storage};
use tidings_testkit::{Client, Heard, Kind, Ledger, Server};

/// Three servers of one cluster, in the order of their URLs.
pub(crate) fn cluster() -> Vec<NatsServer> {
    let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let all = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    let start = |at: usize| {
        let cluster = format!("nats://127.0.0.1:{}", routes[at]);
        let name = format!("s{at}");
        NatsServer::with(&[
            "-js",
            "-n",
            &name,
            "--cluster_name",
            "c",
            "--cluster",
            &cluster,
            "--routes",
            &all,
        ])
    };
    (0..3).map(start).collect()
}

fn broker(servers: &[NatsServer]) -> NatsBroker {
    let urls = servers.iter().map(|server| server.url()).collect::<Vec<_>>().join(",");
    NatsBroker::builder(&urls).replicas(3).storage(Storage::File).build().expect("settings that can work")
}

async fn leader(servers: &[NatsServer]) -> usize {
    let admin = servers[0].admin().await;
    within(20, "a leader", async {
        loop {
            if let Ok(stream) = admin.get_stream("td_log_0").await
                && let Some(leader) =
                    stream.cached_info().cluster.as_ref().and_then(|cluster| cluster.leader.clone())
            {
                return leader[1..].parse().expect("a number");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_a_streams_leader_loses_and_repeats_nothing() {
    let mut servers = cluster();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let broker = broker(&servers);
        within(60, "the cluster", broker.ready()).await;
        nodes.push(Server::with_hub(hub(broker, log(20_000))).await);
    }
    let hubs: Vec<_> = nodes.iter().map(|node| node.hub().clone()).collect();
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let publisher = tokio::spawn(async move {
        let mut failed = 0;
        for number in 1_u64.. {
            let event = Event::json("n", &number).expect("a number is JSON");
            let key = number.to_string();
            // Until it is known to be published: with the same key that is safe.
            for hub in hubs.iter().cycle().skip(number as usize) {
                match hub.publish_once("r", event.clone(), &key).await {
                    Ok(_) => break,
                    Err(_) => failed += 1,
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if stopped.try_recv().is_ok() {
                return (number, failed);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        unreachable!("there are enough numbers")
    });
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(Client::connect(Kind::Ws, node.address(), "r", "start").await.expect("let in"));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let leader = leader(&servers).await;
    servers[leader].kill();
    tokio::time::sleep(Duration::from_secs(8)).await;
    servers[leader].restart();
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.send(()).expect("the publisher runs");
    let (last, failed) = within(30, "the publisher", publisher).await.expect("no panic");
    println!("{last} events, {failed} attempts failed");
    for mut client in clients {
        let mut ledger = Ledger::default();
        while ledger.last() < last {
            let heard: Heard = within(30, "the rest", client.next()).await.expect("still open");
            ledger.note(&heard);
        }
        ledger.assert_equal(last);
    }
    // Who comes now reads the same.
    let broker = broker(&servers);
    ready(&broker).await;
    let slice = broker.read(&room("r"), log(20_000), ReadFrom::Start, 20_000).await.expect("read");
    assert_eq!(numbers(&slice), (1..=last as usize).collect::<Vec<_>>());
}
