//! A master, a replica, and a Sentinel that looks after them.

use crate::server::*;
use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tidings_core::{Event, broker::*};
use tidings_redis::RedisBroker;
use tidings_testkit::{Client, Kind, Ledger, Server};

/// Ends when it is dropped.
struct Sentinel {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Sentinel {
    fn start(master: &RedisServer) -> Self {
        let (folder, port) = (TempDir::new().expect("a directory"), free_port());
        let file = folder.path().join("sentinel.conf");
        let config = format!(
            "bind 127.0.0.1\nport {port}\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 800\nsentinel failover-timeout main 5000\n",
            master.port()
        );
        std::fs::write(&file, config).expect("a file");
        let child = Command::new(program())
            .arg(file)
            .arg("--sentinel")
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is there");
        Self { child, port, _folder: folder }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }
}

async fn offset(server: &RedisServer, name: &str) -> u64 {
    let info: String = server.admin("INFO replication").await;
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.expect("it is told").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_master_is_lost_the_one_that_the_sentinel_names_is_used() {
    let mut master = RedisServer::start();
    let replica = RedisServer::with(&[
        "--replicaof",
        "127.0.0.1",
        &master.port().to_string(),
        "--repl-diskless-sync-delay",
        "0",
    ]);
    within(20, "a replica", async {
        while !replica.admin::<String>("INFO replication").await.contains("master_link_status:up") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let sentinel = Sentinel::start(&master);
    // One that is not there is passed over.
    let url = format!("redis://127.0.0.1:{},redis://127.0.0.1:{}", free_port(), sentinel.port);
    let build = || RedisBroker::builder(&url).sentinels_of("main").build().expect("settings that can work");
    let broker = build();
    ready(&broker).await;
    let node = Server::with_hub(hub(broker, log(10_000))).await;
    let mut client = Client::connect(Kind::Sse, node.address(), "r", "now").await.expect("let in");
    for number in 1..=20 {
        node.publish("r", number).await;
    }
    // The Sentinel must know of the replica.
    let other = build();
    ready(&other).await;
    within(30, "the replica is known", async {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", sentinel.port)).expect("an address");
        let mut connection = client.get_multiplexed_async_connection().await.expect("a Sentinel");
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("REPLICAS").arg("main");
        while ask.query_async::<Vec<redis::Value>>(&mut connection).await.expect("an answer").is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let written = offset(&master, "master_repl_offset").await;
    within(20, "the replica has all of it", async {
        while offset(&replica, "slave_repl_offset").await < written {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    master.kill();
    let mut failed = 0;
    for number in 21..=40 {
        let event = Event::json("n", &number).expect("a number is JSON");
        within(60, "the replica takes the place", async {
            while node.hub().publish_once("r", event.clone(), &number.to_string()).await.is_err() {
                failed += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    assert!(failed > 0, "it was away for a while");
    let mut ledger = Ledger::default();
    while ledger.last() < 40 {
        ledger.note(&within(20, "the rest", client.next()).await.expect("still open"));
    }
    ledger.assert_equal(40);
    // The other one follows too.
    ready(&other).await;
    let slice = other.read(&room("r"), log(10_000), ReadFrom::Start, 100).await.expect("read");
    assert_eq!(numbers(&slice), (1..=40).collect::<Vec<_>>());

    let none = RedisBroker::builder(&url).sentinels_of("nobody").build().expect("settings that can work");
    until(10, "it is told", || none.fault().is_some_and(|fault| fault.contains("nobody"))).await;
    let error = none.publish(publish(&room("r"), log(10), 1)).await.expect_err("there is none");
    assert!(matches!(&error, BrokerError::Unavailable(why) if why.contains("nobody")), "{error}");
}
