//! Servers that refuse in the ways of NATS.

use crate::server::*;
use std::time::Duration;
use tidings_nats::NatsBroker;
use tidings_testkit::brokers::faults::refused;

fn builder(url: &str) -> tidings_nats::Builder {
    NatsBroker::builder(url).storage(tidings_nats::Storage::Memory).timeout(Duration::from_millis(500))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_and_a_wrong_password_are_told() {
    let broker = builder("nats://no-such-host.invalid:4222").build().unwrap();
    let why = refused(&broker).await;
    assert!(why.contains("DNS error"), "{why}");

    let server = NatsServer::with(&["-js", "--user", "me", "--pass", "s:cret"]);
    let at = server.url().replace("nats://", "");
    let wrong = builder(&format!("nats://me:wrong@{at}")).build().unwrap();
    until(10, "it is told", || wrong.fault().is_some_and(|fault| fault.contains("authorization"))).await;
    assert!(refused(&wrong).await.contains("authorization"));
    let right = builder(&format!("nats://me:s%3Acret@{at}")).build().unwrap();
    ready(&right).await;
    publish_all(&right, &room("r"), log(10), 0..1).await;
}
