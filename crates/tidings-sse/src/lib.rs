//! Server-Sent Events for Tidings (WHATWG HTML §9.2).
//!
//! [`EventStream`] is the endpoint `GET …/sse`. [`encode`] writes event streams, [`parse`] reads them a piece at a
//! time.

mod body;
mod drive;
pub mod encode;
pub mod parse;
mod server;

pub use server::EventStream;
