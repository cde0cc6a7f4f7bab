//! `cargo xtask rolling`: a rolling restart, with as many clients as are asked for.

use anyhow::Result;

use crate::flags::Rolling;
use crate::run::cargo;
use crate::setup::{self, Tool};

pub(crate) fn run(flags: &Rolling) -> Result<()> {
    setup::ensure(Tool::Nats)?;
    setup::ensure(Tool::Haproxy)?;
    let test = cargo(&["test", "-p", "tidings-bench", "--release", "--test", "rolling", "--", "--nocapture"]);
    test.env("TIDINGS_ROLLING", &flags.clients.to_string()).run()
}
