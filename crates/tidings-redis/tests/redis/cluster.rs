//! Three masters, each with a replica.

use crate::server::*;
use std::{sync::Arc, time::Duration};
use tidings_core::{Event, broker::*};
use tidings_redis::RedisBroker;
use tidings_testkit::{Client, Kind, Ledger, Server};

/// Masters first. The slots are theirs by thirds.
pub(crate) struct Cluster(Vec<RedisServer>);

impl Cluster {
    async fn start() -> Self {
        let servers: Vec<_> = (0..6)
            .map(|_| {
                let bus = free_port().to_string();
                let args =
                    ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-port", &bus];
                RedisServer::with(
                    &[
                        &args[..],
                        &["--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"],
                    ]
                    .concat(),
                )
            })
            .collect();
        for (at, slots) in ["0 5460", "5461 10922", "10923 16383"].iter().enumerate() {
            servers[at].admin::<()>(&format!("CLUSTER ADDSLOTSRANGE {slots}")).await;
        }
        let bus: Vec<String> = servers[0].admin("CONFIG GET cluster-port").await;
        for server in &servers[1..] {
            let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", servers[0].port(), bus[1]);
            server.admin::<()>(&meet).await;
        }
        let cluster = Self(servers);
        cluster.agree("cluster_known_nodes:6").await;
        for at in 3..6 {
            let master = cluster.id(at - 3).await;
            cluster.0[at].admin::<()>(&format!("CLUSTER REPLICATE {master}")).await;
        }
        cluster.agree("cluster_state:ok").await;
        for at in 3..6 {
            within(20, "a replica", async {
                while !cluster.0[at]
                    .admin::<String>("INFO replication")
                    .await
                    .contains("master_link_status:up")
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
        }
        cluster
    }

    /// Waits until all servers say this of the cluster.
    async fn agree(&self, what: &str) {
        for server in &self.0 {
            within(20, what, async {
                while !server.admin::<String>("CLUSTER INFO").await.contains(what) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
        }
    }

    async fn id(&self, at: usize) -> String {
        self.0[at].admin("CLUSTER MYID").await
    }

    fn broker(&self) -> RedisBroker {
        let urls = self.0[..3].iter().map(|server| server.url()).collect::<Vec<_>>().join(",");
        RedisBroker::builder(&urls).cluster().build().expect("settings that can work")
    }

    async fn ready(&self) -> RedisBroker {
        let broker = self.broker();
        ready(&broker).await;
        broker
    }

    /// The slot of a room, and the place of its master.
    async fn place(&self, room: &str) -> (u16, usize) {
        for (at, server) in self.0[..3].iter().enumerate() {
            let keys: Vec<String> = server.admin(&format!("KEYS *:m:{room}")).await;
            if let Some(key) = keys.first() {
                return (server.admin(&format!("CLUSTER KEYSLOT {key}")).await, at);
            }
        }
        panic!("nothing was published in {room}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_spread_over_the_masters_and_each_is_handed_over() {
    const ROOMS: usize = 60;
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.ready().await, cluster.ready().await);
    let notes = Arc::new(Notes::default());
    let sink = Arc::downgrade(&notes);
    two.attach(sink);
    for number in 0..ROOMS {
        two.watch(&room(&format!("room-{number}")), log(100)).await.unwrap();
        two.watch(&room(&format!("{number} ephemeral")), tidings_core::Rooms::ephemeral()).await.unwrap();
    }
    for number in 0..ROOMS {
        let name = room(&format!("room-{number}"));
        let key = Some("k".to_owned());
        let once = Publish { key, ..publish(&name, log(100), number) };
        assert_eq!(one.publish(once.clone()).await.unwrap(), two.publish(once).await.unwrap());
        let slice = two.read(&name, log(100), ReadFrom::Start, 10).await.unwrap();
        assert_eq!(numbers(&slice), [number]);
        let name = room(&format!("{number} ephemeral"));
        one.publish(publish(&name, tidings_core::Rooms::ephemeral(), number)).await.unwrap();
    }
    until(10, "all are handed over", || notes.messages().len() == 2 * ROOMS).await;
    assert_eq!(notes.lost(), 0);
    for server in &cluster.0[..3] {
        let keys: Vec<String> = server.admin("KEYS *:s:*").await;
        let channels: Vec<String> = server.admin("PUBSUB SHARDCHANNELS").await;
        assert!(
            keys.len() > ROOMS / 6 && channels.len() > ROOMS / 3,
            "{} and {}",
            keys.len(),
            channels.len()
        );
    }
    for number in 0..ROOMS {
        two.unwatch(&room(&format!("room-{number}")));
        two.unwatch(&room(&format!("{number} ephemeral")));
    }
    within(10, "nothing is handed over any more", async {
        for server in &cluster.0[..3] {
            while !server.admin::<Vec<String>>("PUBSUB SHARDCHANNELS").await.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_a_master_is_no_more_than_a_gap_and_stays_where_it_is() {
    let mut cluster = Cluster::start().await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(Server::with_hub(hub(cluster.ready().await, log(20_000))).await);
    }
    nodes[0].publish("r", 0).await;
    let (_, lost) = cluster.place("r").await;
    let mut elsewhere = String::new();
    for number in 0.. {
        elsewhere = format!("other-{number}");
        nodes[0].publish(&elsewhere, 0).await;
        if cluster.place(&elsewhere).await.1 != lost {
            break;
        }
    }
    let hubs: Vec<_> = nodes.iter().map(|node| node.hub().clone()).collect();
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let publisher = tokio::spawn(async move {
        let mut failed = 0;
        for number in 1_u64.. {
            let event = Event::json("n", &number).expect("a number is JSON");
            // Until it is known to be published: with the same key that is safe.
            for hub in hubs.iter().cycle().skip(number as usize) {
                match hub.publish_once("r", event.clone(), &number.to_string()).await {
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
        clients.push(Client::connect(Kind::Ws, node.address(), "r", "now").await.expect("let in"));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.0[lost].kill();
    // The others go on as if nothing were.
    for number in 1..=50 {
        nodes[number % 2].publish(&elsewhere, number as u64).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let replica = &cluster.0[lost + 3];
    within(30, "the replica takes the place", async {
        while !replica.admin::<String>("INFO replication").await.contains("role:master") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop.send(()).expect("the publisher runs");
    let (last, failed) = within(30, "the publisher", publisher).await.expect("no panic");
    println!("{last} events, {failed} attempts failed");
    assert!(failed > 0, "it was away for a while");
    for mut client in clients {
        let mut ledger = Ledger::default();
        while ledger.last() < last {
            ledger.note(&within(30, "the rest", client.next()).await.expect("still open"));
        }
        assert!(ledger.numbers.is_sorted_by(|a, b| a < b), "each once and in order");
        let missing = last - ledger.numbers[0] + 1 - ledger.numbers.len() as u64;
        println!("{missing} missing, {} gaps", ledger.gaps);
        assert!(missing == 0 || ledger.gaps > 0, "{missing} are missing, and no gap was told");
    }
    // What was the master comes back as a replica.
    cluster.0[lost].restart();
    let broker = cluster.broker();
    within(30, "all are there", broker.ready()).await;
    publish_all(&broker, &room("r"), log(20_000), 0..10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_moves_to_another_master_goes_on_there() {
    let cluster = Cluster::start().await;
    let node = Server::with_hub(hub(cluster.ready().await, log(20_000))).await;
    node.publish("r", 0).await;
    let mut client = Client::connect(Kind::Ws, node.address(), "r", "now").await.expect("let in");
    let mut ledger = Ledger::default();
    let mut published = 0;
    for _ in 0..2 {
        let (slot, from) = cluster.place("r").await;
        let to = (from + 1) % 3;
        let (source, target) = (&cluster.0[from], &cluster.0[to]);
        let (source_id, target_id) = (cluster.id(from).await, cluster.id(to).await);
        let hub = node.hub().clone();
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let publisher = tokio::spawn(async move {
            loop {
                published += 1;
                let event = Event::json("n", &published).expect("a number is JSON");
                within(10, "published", async {
                    while hub.publish_once("r", event.clone(), &published.to_string()).await.is_err() {}
                })
                .await;
                if stopped.try_recv().is_ok() {
                    return published;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        target.admin::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}")).await;
        source.admin::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}")).await;
        loop {
            let keys: Vec<redis::Value> = source.admin(&format!("CLUSTER GETKEYSINSLOT {slot} 100")).await;
            if keys.is_empty() {
                break;
            }
            let client = redis::Client::open(source.url()).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(target.port()).arg("").arg(0).arg(1_000).arg("KEYS");
            for key in keys {
                let redis::Value::BulkString(key) = key else { panic!("{key:?}") };
                migrate.arg(key);
            }
            migrate.query_async::<()>(&mut connection).await.unwrap();
        }
        for server in [target, source] {
            server.admin::<()>(&format!("CLUSTER SETSLOT {slot} NODE {target_id}")).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.send(()).expect("the publisher runs");
        published = within(20, "the publisher", publisher).await.expect("no panic");
        while ledger.last() < published {
            ledger.note(&within(20, "the rest", client.next()).await.expect("still open"));
        }
        assert_eq!(cluster.place("r").await.1, to);
    }
    ledger.assert_equal(published);
}
