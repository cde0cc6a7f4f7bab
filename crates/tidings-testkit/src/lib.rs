//! What the behaviour tests of Tidings share: a server to test ([`Server`]), clients that know nothing of its code
//! ([`Client`], one shape for each transport; [`RawSocket`], which keeps to no rule), and a network between them that
//! cuts, freezes, delays and splits ([`Tap`]). [`heap`] is for what the server may hold meanwhile.

pub mod brokers;
mod client;
pub mod heap;
mod http;
mod ledger;
mod log;
pub mod presence;
mod program;
mod random;
pub mod raw;
mod server;
mod shared;
mod tap;
mod unruly;
pub mod users;

pub use brokers::{BrokerServer, NodeBroker, ServerKind, free_port};
pub use client::{Client, Heard, Kind, Refused};
pub use http::{Answer, request};
pub use ledger::{Ledger, hear_out};
pub use log::Log;
pub use program::{Program, ends_well};
pub use random::Random;
pub use raw::RawSocket;
pub use server::{Server, pulls, within};
pub use shared::{Shared, shares_memory};
pub use tap::Tap;
pub use unruly::UnrulyBroker;

/// Whether there is time for the large loads: with `TIDINGS_SOAK` set.
pub fn soaks() -> bool {
    std::env::var_os("TIDINGS_SOAK").is_some()
}

/// Mounts behaviours, each an `async fn(Kind)`, once per transport.
#[macro_export]
macro_rules! mount {
    ($($behaviour:ident),+ $(,)?) => {
        mod ws { $(#[tokio::test(flavor = "multi_thread")] async fn $behaviour() { super::$behaviour($crate::Kind::Ws).await })+ }
        mod sse { $(#[tokio::test(flavor = "multi_thread")] async fn $behaviour() { super::$behaviour($crate::Kind::Sse).await })+ }
        mod poll { $(#[tokio::test(flavor = "multi_thread")] async fn $behaviour() { super::$behaviour($crate::Kind::Poll).await })+ }
    };
}
