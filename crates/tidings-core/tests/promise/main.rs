//! The promise, as a model: whatever brokers, nodes, networks and clients do, two events that a client accepts in a
//! row with no gap between them are neighbours in one history.
//!
//! The real machines (`Replica`, `Ring`, `Reader`) are driven by a model of everything around them. One number is
//! the seed of a whole run; a failure prints it, and `TIDINGS_SEED=<seed> cargo test -p tidings-core --test promise`
//! replays it. `TIDINGS_SEEDS=<count>` sets how many are tried.

mod broker;
mod client;
mod node;
mod world;

use proptest::{
    prelude::{Strategy, any},
    test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner},
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Tally, World};

const SEEDS: u32 = 10_000;
const STEPS: usize = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn two_events_in_a_row_without_a_gap_are_neighbours_in_one_history() {
    if let Some(seed) = number("TIDINGS_SEED") {
        println!("{:?}", World::new(seed).run(STEPS));
        return;
    }
    let seeds = number("TIDINGS_SEEDS").map_or(SEEDS, |seeds| seeds as u32);
    let mut tally = Tally::default();
    let persistence = Box::new(FileFailurePersistence::Off);
    let config = Config { cases: seeds, failure_persistence: Some(persistence), ..Config::default() };
    let counted = std::cell::RefCell::new(&mut tally);
    // A seed has no smaller version of itself.
    let outcome = TestRunner::new(config).run(&any::<u64>().no_shrink(), |seed| {
        match catch_unwind(AssertUnwindSafe(|| World::new(seed).run(STEPS))) {
            Ok(one) => counted.borrow_mut().add(&one),
            Err(_) => return Err(TestCaseError::fail(format!("TIDINGS_SEED={seed}"))),
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    println!("{seeds} seeds of {STEPS} steps: {tally:?}");
    // Or it would prove nothing.
    let seeds = u64::from(seeds);
    let Tally { events, resumes, trimmed, epoch, slow, resyncs, deep } = tally;
    assert!(events > 20 * seeds && resumes > 2 * seeds && resyncs > seeds, "too little happened");
    assert!(
        trimmed > seeds / 20 && epoch > seeds / 20 && slow > seeds / 100 && deep > seeds / 20,
        "too few gaps"
    );
}
