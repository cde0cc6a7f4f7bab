//! Fuzz targets for every parser of Tidings that a peer reaches: `cargo xtask fuzz` builds and runs them.
//!
//! A target is a function from bytes to nothing that panics when something is wrong, in a module of this crate, and a
//! program in `bin/` which hands it to libFuzzer. Most panics here are not those of the code under test but broken
//! invariants: a result that depends on how the bytes were cut, memory above a limit, an answer that was not asked
//! for, a difference from a second, simpler parser.
//!
//! `seeds/` holds a folder for each target, with inputs to begin from; [`input`] says how they are read. What the fuzzer
//! finds is kept under the target folder. An input that has once failed belongs among the seeds.

pub mod answers;
pub mod command;
pub mod connect;
pub mod decoder;
pub mod event_stream;
pub mod extension;
pub mod frames;
pub mod handshake;
mod head;
pub mod input;
pub mod query;
mod reference;
