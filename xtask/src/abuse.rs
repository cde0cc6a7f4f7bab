//! `cargo xtask abuse`: bad input for a live server, as much of it as is asked for.

use anyhow::Result;

use crate::flags::Abuse;
use crate::run::cargo;

pub(crate) fn run(flags: &Abuse) -> Result<()> {
    let test = cargo(&["test", "-p", "tidings-testkit", "--release", "--test", "abuse", "--", "--nocapture"]);
    let test = test.env("TIDINGS_ABUSE", &flags.inputs.to_string());
    match flags.seed {
        Some(seed) => test.env("TIDINGS_SEED", &seed.to_string()).run(),
        None => test.run(),
    }
}
