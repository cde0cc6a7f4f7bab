//! Long-polling for Tidings.
//!
//! [`LongPoll`] is the endpoint `GET …/poll`: a cursor in, a batch of messages and a cursor out. The server keeps
//! nothing between two polls, so any node may answer the next one, and an answer that is lost is asked for again
//! with the old cursor.

pub mod encode;
mod server;

pub use server::LongPoll;
