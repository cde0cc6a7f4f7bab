//! Nodes of Tidings share rooms and histories on Redis: each event once and in order, or with a gap that says so, also
//! over a change of node.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use tidings_redis::RedisBroker;
//! let broker = RedisBroker::builder("redis://127.0.0.1:6379").build()?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`RedisBroker`] is the [`Broker`](tidings_core::Broker), [`Builder`] its settings.
//! - `names`: what keys and channels are called, and which slot they are in. `frame`: an event as bytes.
//! - `script`: what the servers run, in `scripts/`. `history`: range reads. `live`: what is handed over.
//! - `server`: one server and the connection to it. `topology`: which server has which rooms.
//! - `watch`: the watches of a node.

mod broker;
mod builder;
mod frame;
mod history;
mod live;
mod names;
mod script;
mod server;
mod topology;
mod watch;

pub use broker::RedisBroker;
pub use builder::{BuildError, Builder};
