//! What streams are, which only NATS has.

use crate::server::*;
use futures_util::future::join_all;
use std::time::Duration;
use tidings_core::{Rooms, broker::*};

#[tokio::test(flavor = "multi_thread")]
async fn one_value_of_a_latest_room_is_stored() {
    let server = NatsServer::start();
    let broker = server.broker().await;
    publish_all(&broker, &room("price"), Rooms::latest(), 0..10).await;
    let mut stream = server.admin().await.get_stream("td_latest_0").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_grow_with_what_rooms_want_and_are_never_cut() {
    let server = NatsServer::start();
    let (one, two) = (server.broker().await, server.broker().await);
    let day = Duration::from_secs(86_400);
    publish_all(&one, &room("a"), Rooms::log(2_000, Duration::from_secs(5)), 0..1).await;
    publish_all(&two, &room("b"), Rooms::log(10, day), 0..1).await;
    publish_all(&one, &room("c"), log(50), 0..1).await;
    let config = server.admin().await.get_stream("td_log_0").await.unwrap().cached_info().config.clone();
    assert_eq!((config.max_messages_per_subject, config.max_age), (2_001, day));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_as_it_must_be_is_named() {
    let server = NatsServer::start();
    let admin = server.admin().await;
    let config = async_nats::jetstream::stream::Config {
        name: "td_log_0".into(),
        subjects: vec!["td.log.0.>".into()],
        ..Default::default()
    };
    admin.create_stream(config).await.unwrap();
    let broker = server.broker().await;
    let error = broker.publish(publish(&room("r"), log(10), 1)).await.unwrap_err().to_string();
    assert!(error.contains("td_log_0") && error.contains("description"), "{error}");

    let one = server.builder().prefix("p").build().unwrap();
    publish_all(&one, &room("r"), log(10), 0..1).await;
    let four = server.builder().prefix("p").partitions(4).build().unwrap();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let results = join_all(names.map(|name| four.publish(publish(&room(name), log(10), 1)))).await;
    let refused = results.into_iter().filter_map(Result::err).map(|error| error.to_string());
    assert!(refused.into_iter().any(|error| error.contains("partitions")));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_jetstream_it_says_so() {
    let server = NatsServer::with(&[]);
    let broker = server.builder().build().unwrap();
    until(10, "it is noticed", || broker.fault().is_some_and(|fault| fault.contains("JetStream"))).await;
    let error = broker.publish(publish(&room("r"), log(10), 1)).await.unwrap_err();
    assert!(matches!(&error, BrokerError::Unavailable(why) if why.contains("JetStream")), "{error}");
}
