//! Events from a Rust server to whoever listens, over WebSocket, Server-Sent Events and long-polling.
//!
//! ```no_run
//! use std::time::Duration;
//! use tidings::{Event, Hub, Rooms, gate};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hub = Hub::builder()
//!     .gate(gate::open()) // who may come in: a decision nobody can skip
//!     .rooms("news", Rooms::log(1_000, Duration::from_secs(86_400)))
//!     .build();
//! hub.publish("news", Event::json("headline", &"It works")?).await?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! tidings::serve(listener, tidings::service(hub)).await?;
//! # Ok(()) }
//! ```
//!
//! A browser needs no library: `new EventSource("/realtime/sse?room=news")`,
//! `new WebSocket("/realtime/ws?room=news")`, `fetch("/realtime/poll?room=news")`. With the feature `js` the server has one:
//! `import { Tidings } from "/realtime/tidings.js"`, which finds the transport that works and loses nothing on the way.
//!
//! # Features
//!
//! | feature | what it adds | on unless switched off |
//! |---|---|---|
//! | `ws` | WebSocket | yes |
//! | `sse` | Server-Sent Events | yes |
//! | `long-poll` | long-polling | yes |
//! | `js` | the client for browsers, at `…/tidings.js` | no |
//! | `jwt` | a gate that takes JSON Web Tokens | no |
//! | `axum` | mounting the service in axum, and a listener whose connections the hub can write to: `axum::Listener` | no |
//! | `metrics` | what a server counts, for the `metrics` crate and so for Prometheus and others: `metrics::record` | no |
//! | `nats` | a broker for several nodes, on NATS JetStream: `nats::NatsBroker` | no |
//! | `redis` | a broker for several nodes, on Redis: `redis::RedisBroker` | no |
//! | `tower` | mounting the service in other tower stacks | no |
//!
//! # Words
//!
//! An [`Event`] is published into a room and stands there at a [`Position`]. A subscriber has a [`Cursor`]: where it
//! stands. A [`Session`] is the server's half of one attachment, a [`Transport`] the way its messages go, a
//! [`Broker`] the way that nodes share rooms; the [`Hub`] is the node, and its [`Gate`] says who may do what. The
//! [`manual`] tells how it works.

#[cfg(feature = "js")]
#[path = "transports/js.rs"]
mod js;
#[cfg(feature = "long-poll")]
#[path = "transports/long_poll.rs"]
mod long_poll;
#[cfg(not(all(feature = "ws", feature = "sse", feature = "long-poll", feature = "js")))]
#[path = "transports/none.rs"]
mod none;
#[cfg(feature = "sse")]
#[path = "transports/sse.rs"]
mod sse;
#[cfg(feature = "ws")]
#[path = "transports/ws.rs"]
mod ws;

#[cfg(not(feature = "js"))]
use none as js;
#[cfg(not(feature = "long-poll"))]
use none as long_poll;
#[cfg(not(feature = "sse"))]
use none as sse;
#[cfg(not(feature = "ws"))]
use none as ws;

pub mod manual;
#[cfg(feature = "metrics")]
pub mod metrics;

#[doc(inline)]
pub use tidings_core::*;
#[cfg(feature = "axum")]
#[doc(inline)]
pub use tidings_http::axum;
#[doc(inline)]
pub use tidings_http::{
    Asset, Listener, Origins, Peer, Proxies, Serve, Service, Traffic, bind_unix, serve, shutdown_signal,
};

pub use tidings_http as http;
#[cfg(feature = "js")]
pub use tidings_js as script;
#[cfg(feature = "jwt")]
pub use tidings_jwt as jwt;
#[cfg(feature = "long-poll")]
pub use tidings_long_poll as long_polling;
#[cfg(feature = "nats")]
pub use tidings_nats as nats;
#[cfg(feature = "redis")]
pub use tidings_redis as redis;
#[cfg(feature = "sse")]
pub use tidings_sse as event_stream;
#[cfg(feature = "ws")]
pub use tidings_ws as websocket;

/// A service with every transport that is compiled in, the upstream endpoint, tickets, and with the feature `js` the client for
/// browsers.
///
/// Serve it with [`serve`], or with the feature `axum` mount it: `Router::nest_service("/realtime", service(hub))`. There the
/// application drains, and gives axum a listener whose connections the hub can write to: see
/// [operations](crate::manual::operations).
pub fn service(hub: Hub) -> Service {
    let service =
        Service::new(hub).endpoint(tidings_http::Upstream::new()).endpoint(tidings_http::Tickets::new());
    js::add(ws::add(sse::add(long_poll::add(service))))
}

/// The README's examples are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
