//! `cargo xtask soak`: everything at once, for as long as is asked for.

use anyhow::Result;

use crate::flags::Soak;
use crate::run::cargo;

pub(crate) fn run(flags: &Soak) -> Result<()> {
    let test = cargo(&["test", "-p", "tidings-testkit", "--release", "--test", "soak", "--", "--nocapture"]);
    test.env("TIDINGS_SOAK_SECONDS", &flags.seconds.to_string()).run()
}
