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
//! A server should keep what it is given: `maxmemory-policy noeviction`, or `volatile-ttl` where a lost history, which
//! is a gap, is better than an event that is not taken. These rights are enough, with the prefix `td`:
//!
//! ```text
//! ACL SETUSER tidings on >secret ~td:* &td:* -@all +eval +evalsha +script|load +get +set +exists +del +pexpire +time
//!     +xadd +xrange +xtrim +publish +spublish +subscribe +ssubscribe +unsubscribe +sunsubscribe +ping +role
//!     +cluster|slots +cluster|info
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
