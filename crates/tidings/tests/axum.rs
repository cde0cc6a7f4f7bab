//! The service inside an axum application: every transport, beside ordinary routes.
#![cfg(feature = "axum")]

use axum::{Router, routing::get};
use std::time::Duration;
use tidings::{Event, Hub, gate};
use tidings_testkit::{Client, Kind, request};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn every_transport_works_below_a_prefix_of_an_axum_router() {
    let hub = Hub::builder().gate(gate::open()).build();
    let app = Router::new()
        .route("/hello", get(async || "hello"))
        .nest_service("/realtime", tidings::service(hub.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, app).into_future());
    assert_eq!(request(address, "GET", "/hello", &[], "").await.unwrap().body, "hello");
    assert_eq!(request(address, "GET", "/realtime/nothing", &[], "").await.unwrap().status, 404);
    let mut clients = Vec::new();
    for kind in Kind::ALL {
        clients.push(Client::connect(kind, address, "r", "now").await.unwrap());
    }
    hub.publish("r", Event::json("n", &7).unwrap()).await.unwrap();
    for client in &mut clients {
        assert_eq!(client.number().await, 7);
        let reply = client.publish("n", 8.into(), None).await;
        assert_eq!(reply["type"], "reply", "{reply}");
    }
    drop(clients);
    tidings_testkit::within(Duration::from_secs(1), "all are gone", hub.vacant()).await;
    server.abort();
}
