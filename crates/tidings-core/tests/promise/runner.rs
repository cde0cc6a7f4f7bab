//! Many runs on all cores, and the shortest form of one that fails.

use crate::{client::Verdict, counts::Counts, world::World};
use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};
use tidings_core::Kind;

/// Runs `seeds` seeds, or what the environment asks for.
///
/// # Panics
/// If a run breaks the promise, or the runs together were too tame to mean anything.
pub(crate) fn run(kind: Kind, seeds: u64) {
    if let Some(seed) = number("TIDINGS_SEED") {
        if let Some(story) = story(kind, seed) {
            panic!("{story}");
        }
        return;
    }
    let seeds = number("TIDINGS_SEEDS").unwrap_or(seeds);
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let total = Mutex::new(Counts::default());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut counts = Counts::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let (verdict, world) = run_one(kind, seed, None, false);
                    if let Some(world) = world {
                        counts.add(&world.counts);
                    }
                    if verdict.is_err() {
                        failed.lock().expect("no holder panics").push(seed);
                    }
                }
                total.lock().expect("no holder panics").add(&counts);
            });
        }
    });
    let mut failed = failed.into_inner().expect("no holder panics");
    let total = total.into_inner().expect("no holder panics");
    println!("{kind:?}: {total}; {:.1} s", begun.elapsed().as_secs_f32());
    if !failed.is_empty() {
        failed.sort_unstable();
        let shortest = failed.iter().take(200).filter_map(|seed| Some((shortest(kind, *seed)?, *seed))).min();
        let story = shortest.and_then(|(_, seed)| story(kind, seed)).unwrap_or_default();
        panic!("{} of {seeds} seeds break the promise, the first are {:?}\n{story}", failed.len(), {
            failed.truncate(5);
            failed
        });
    }
    total.assert_not_empty(kind);
}

/// One run: of as many steps as it has by itself, or `steps`, and then the end. A machine that panics has failed.
fn run_one(kind: Kind, seed: u64, steps: Option<usize>, traced: bool) -> (Verdict, Option<World>) {
    let run = || {
        let mut world = World::new(kind, seed, traced);
        let own = world.steps();
        let run = |world: &mut World| {
            for _ in 0..steps.unwrap_or(own).min(own) {
                world.step()?;
            }
            world.settle()
        };
        (run(&mut world), Some(world))
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| (Err("a panic".to_owned()), None))
}

/// After how few steps the seed fails.
fn shortest(kind: Kind, seed: u64) -> Option<usize> {
    (0..=1_000).find(|steps| run_one(kind, seed, Some(*steps), false).0.is_err())
}

/// What happened in the shortest failing form of a seed.
fn story(kind: Kind, seed: u64) -> Option<String> {
    run_one(kind, seed, None, false).0.err()?;
    let (verdict, world) = run_one(kind, seed, shortest(kind, seed), true);
    let trace = world.and_then(|world| world.trace).unwrap_or_default().join("\n");
    let fault = verdict.err()?;
    Some(format!("{kind:?}, seed {seed}: {fault}\nreplay with TIDINGS_SEED={seed}; what happened:\n{trace}"))
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}
