//! The promise as a model test: every event once, in order, or a gap that says so.
//!
//! The machines under test are the real ones: `Replica` with its `Ring`, and `Reader`. Around them stand a model
//! broker whose history is trimmed, lost and rewritten, live channels that lose, repeat and reorder, range reads
//! that are answered from one moment and brought back at a later one, and clients that hop between nodes, lag, and
//! are cut off with frames in flight. Everything that happens comes from one number:
//!
//! - `TIDINGS_SEED=1234 cargo test -p tidings-core --test promise` runs that seed alone and, if it fails, tells what
//!   happened in its shortest failing form;
//! - `TIDINGS_SEEDS=1000000 ...` runs so many.

mod broker;
mod client;
mod counts;
mod node;
mod rng;
mod runner;
mod session;
mod world;

use tidings_core::Kind;

#[test]
fn every_event_comes_once_and_in_order_or_a_gap_is_told() {
    runner::run(Kind::Log, 10_000);
}

#[test]
fn a_reader_of_the_latest_value_never_goes_back_and_ends_at_the_newest() {
    runner::run(Kind::Latest, 3_000);
}

#[test]
fn a_reader_of_what_nobody_keeps_sees_no_gap_and_no_repeat() {
    runner::run(Kind::Ephemeral, 3_000);
}
