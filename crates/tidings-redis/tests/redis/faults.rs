//! Servers that refuse in the ways of Redis.

use crate::server::*;
use std::time::Duration;
use tidings_core::{Rooms, broker::*};
use tidings_redis::RedisBroker;
use tidings_testkit::brokers::faults::refused;

fn builder(url: &str) -> tidings_redis::Builder {
    RedisBroker::builder(url).timeout(Duration::from_millis(500))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_a_wrong_password_and_a_replica_are_told() {
    let broker = builder("redis://no-such-host.invalid:6379").build().unwrap();
    let why = refused(&broker).await;
    assert!(why.contains("lookup"), "{why}");

    let server = RedisServer::with(&["--requirepass", "s:cret"]);
    let at = server.url().replace("redis://", "");
    let wrong = builder(&format!("redis://:wrong@{at}")).build().unwrap();
    until(10, "it is told", || wrong.fault().is_some_and(|fault| fault.contains("WRONGPASS"))).await;
    let why = refused(&wrong).await;
    assert!(why.contains("WRONGPASS") && !why.contains(":wrong"), "{why}");
    let none = builder(&server.url()).build().unwrap();
    until(10, "it is told", || none.fault().is_some_and(|fault| fault.contains("NOAUTH"))).await;
    let right = builder(&format!("redis://:s%3Acret@{at}")).build().unwrap();
    ready(&right).await;
    publish_all(&right, &room("r"), log(10), 0..1).await;

    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", "1"]);
    let broker = builder(&replica.url()).build().unwrap();
    until(10, "it is told", || broker.fault().is_some_and(|fault| fault.contains("replica"))).await;
    assert!(refused(&broker).await.contains("replica"));
    replica.admin::<()>("REPLICAOF NO ONE").await;
    ready(&broker).await;
    publish_all(&broker, &room("r"), log(10), 0..1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_memory_is_full_takes_nothing_and_later_does() {
    let server = RedisServer::start();
    let broker = server.broker().await;
    publish_all(&broker, &room("r"), log(10), 0..3).await;
    server.admin::<()>("CONFIG SET maxmemory 1mb").await;
    for name in ["r", "another"] {
        let error = broker.publish(publish(&room(name), log(10), 3)).await.unwrap_err();
        assert!(matches!(&error, BrokerError::Unavailable(why) if why.contains("OOM")), "{error}");
    }
    let slice = broker.read(&room("r"), log(10), ReadFrom::Start, 10).await.unwrap();
    assert_eq!(numbers(&slice), [0, 1, 2], "what is there is read");
    server.admin::<()>("CONFIG SET maxmemory 0").await;
    publish_all(&broker, &room("r"), log(10), 3..4).await;
    let slice = broker.read(&room("r"), log(10), ReadFrom::Start, 10).await.unwrap();
    assert_eq!(numbers(&slice), [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_are_documented_are_enough() {
    let server = RedisServer::start();
    let rights = include_str!("../../src/lib.rs")
        .lines()
        .skip_while(|line| !line.contains("ACL SETUSER"))
        .take_while(|line| !line.contains("```"))
        .map(|line| line.trim_start_matches("//!").trim())
        .collect::<Vec<_>>()
        .join(" ");
    server.admin::<()>(&rights).await;
    let url = server.url().replace("redis://", "redis://tidings:secret@");
    let broker = builder(&url).build().unwrap();
    ready(&broker).await;
    broker.watch(&room("r"), log(10)).await.unwrap();
    broker.watch(&room("e"), Rooms::ephemeral()).await.unwrap();
    for (name, rooms, number) in
        [("r", log(1).bytes(1), 1), ("r", log(1).bytes(1), 2), ("e", Rooms::ephemeral(), 3)]
    {
        for key in [None, Some("k".to_owned())] {
            broker.publish(Publish { key, ..publish(&room(name), rooms, number) }).await.unwrap();
        }
    }
    broker.read(&room("new"), log(10), ReadFrom::Start, 10).await.unwrap();
    broker.read(&room("r"), log(10), ReadFrom::Start, 10).await.unwrap();
    broker.unwatch(&room("r"));
    until(5, "it ends", || broker.watched() == 1).await;
    assert_eq!(broker.fault(), None);
    let foreign = builder(&url).prefix("other").build().unwrap();
    ready(&foreign).await;
    let error = foreign.publish(publish(&room("r"), log(10), 1)).await.unwrap_err();
    // Versions say it with a capital letter or without.
    assert!(matches!(&error, BrokerError::Unavailable(why) if why.contains("permissions")), "{error}");
}
