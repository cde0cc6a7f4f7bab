//! `cargo xtask loom`: the hand-overs made of locks and wakers, under every interleaving.

use anyhow::Result;

use crate::run::cargo;

pub(crate) fn run() -> Result<()> {
    // A folder of its own: the flag would rebuild everything in the usual one, twice.
    let test =
        cargo(&["test", "-p", "tidings-core", "--lib", "--release", "--target-dir", "target/loom", "--"]);
    test.args(&["hub::room::tests"])
        .env("RUSTFLAGS", "--cfg tidings_loom")
        .env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS)
        .run()
}

/// Enough to find every fault of a hand-over between a few threads, as loom's authors measured, and done in seconds.
const PREEMPTIONS: &str = "3";
