//! What the transports of Tidings share over hyper.
//!
//! A [`Service`] holds a hub and [`Endpoint`]s, one or more a transport, and answers HTTP requests: with hyper's
//! own server loop, with [`serve`], or, with the feature `axum` or `tower`, inside axum or any tower stack. What every
//! endpoint needs stands here once: the query of a subscription ([`Asked`]), the origin of a request
//! ([`Origins`]), refusals ([`Refusal`]), and the upstream endpoint that event streams and long-polling share.
//!
//! A stream of HTTP/1.1 leaves hyper when its head is written ([`Takeover`]): its owner then writes by itself, and
//! lends the connection to the hub while there is nothing else to do ([`Tcp`], [`Outgoing`]). Where another server keeps its
//! connections, as axum's does, they can be written to past it ([`Bypass`]).

mod asked;
mod asset;
#[cfg(feature = "axum")]
pub mod axum;
#[cfg(not(feature = "axum"))]
#[path = "no_axum.rs"]
mod axum;
mod body;
mod buffer;
mod bypass;
mod door;
mod endpoint;
mod listen;
mod origin;
mod outgoing;
mod peer;
mod query;
mod refusal;
mod send;
mod serve;
mod service;
mod signal;
mod takeover;
mod tcp;
mod ticket;
#[cfg(feature = "tower")]
mod tower;
mod traffic;

pub use asked::Asked;
pub use asset::Asset;
pub use body::{Body, BoxError, RequestBody};
pub use buffer::lend_buffer;
pub use bypass::{Bypass, Lane, Way};
pub use endpoint::{Answering, Endpoint, Request};
pub use listen::{Listener, bind_unix};
pub use origin::{OriginError, Origins};
pub use outgoing::Outgoing;
pub use peer::{NetworkError, Peer, Proxies};
pub use query::Query;
pub use refusal::{Refusal, no_content};
pub use send::Upstream;
pub use serve::{Serve, serve};
pub use service::Service;
pub use signal::shutdown_signal;
pub use takeover::{Progress, Takeover};
pub use tcp::{Tcp, TcpOutlet};
pub use ticket::Tickets;
pub use traffic::Traffic;
