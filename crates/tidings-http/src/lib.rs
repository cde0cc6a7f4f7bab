//! What the transports of Tidings share over hyper.
//!
//! A [`Service`] holds a hub and [`Endpoint`]s, one or more a transport, and answers HTTP requests: with hyper's
//! own server loop, with [`serve`], or, with the feature `tower`, inside axum and any tower stack. What every
//! endpoint needs stands here once: the query of a subscription ([`Asked`]), the origin of a request
//! ([`Origins`]), refusals ([`Refusal`]), and the upstream endpoint that event streams and long-polling share.

mod asked;
mod asset;
mod body;
mod endpoint;
mod origin;
mod query;
mod refusal;
mod send;
mod serve;
mod service;
#[cfg(feature = "tower")]
mod tower;

pub use asked::Asked;
pub use asset::Asset;
pub use body::{Body, BoxError, RequestBody};
pub use endpoint::{Answering, Endpoint, Request};
pub use origin::{OriginError, Origins};
pub use query::Query;
pub use refusal::{Refusal, no_content};
pub use send::Upstream;
pub use serve::{Serve, serve};
pub use service::Service;
