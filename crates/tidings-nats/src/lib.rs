//! Nodes of Tidings share rooms and histories on NATS JetStream: each event once and in order, or with a gap that says
//! so, also over a change of node.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use tidings_nats::NatsBroker;
//! let broker = NatsBroker::builder("nats://127.0.0.1:4222").build()?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`NatsBroker`] is the [`Broker`](tidings_core::Broker), [`Builder`] its settings.
//! - `names`: what streams and subjects are called. `frame`: an event as the payload of a message.
//! - `store`: a stream, its identity and its limits. `history`: range reads. `live`: what is handed over.
//! - `watch`: the watches of a node, and what is known of each room. `health`: whether all that works.

mod broker;
mod builder;
mod frame;
mod health;
mod history;
mod live;
mod names;
mod store;
mod watch;

pub use broker::NatsBroker;
pub use builder::{BuildError, Builder, Storage};
