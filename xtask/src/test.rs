//! `cargo xtask test`: all tests, with all features.

use anyhow::Result;

use crate::flags::Test;
use crate::run::cargo;
use crate::setup::{self, Tool};

pub(crate) fn run(flags: &Test) -> Result<()> {
    let mut args = flags.args.clone();
    // A `--` that comes first is meant for cargo, but the parser of our flags takes it.
    if std::env::args().nth(2).as_deref() == Some("--") {
        args.insert(0, "--".to_owned());
    }
    if flags.brokers {
        setup::ensure(Tool::Nats)?;
        setup::ensure(Tool::Redis)?;
        return BROKERS.iter().try_for_each(|broker| deliver(DELIVERY, &args, BROKER, broker));
    }
    if names_a_package(&args) {
        return cargo(&["test", "--all-features"]).args(&args).run();
    }
    // With `--workspace`, cargo would pass over a `-p` in silence.
    workspace(&args)
}

/// The tests of the whole workspace, some of which start servers of other makers.
pub(crate) fn workspace(args: &[String]) -> Result<()> {
    setup::ensure(Tool::Nats)?;
    setup::ensure(Tool::Redis)?;
    for proxy in [Tool::Haproxy, Tool::Nginx, Tool::Caddy] {
        setup::ensure(proxy)?;
    }
    cargo(&["test", "--workspace", "--all-features"]).args(args).run()?;
    if !args.is_empty() {
        return Ok(());
    }
    // What is promised about delivery, once more over servers that an application may have: the first time, the hub writes to the
    // sockets of ours.
    SERVERS.iter().try_for_each(|server| deliver(DELIVERY, &[], SERVER, server))?;
    // And its core on the other brokers: the first time, it was memory.
    BROKERS.iter().try_for_each(|broker| deliver(CORE, &[], BROKER, broker))
}

/// Runs some of the testkit's tests with a variable of the environment.
fn deliver(tests: &[&str], args: &[String], name: &str, value: &str) -> Result<()> {
    let tests: Vec<_> = tests.iter().flat_map(|test| ["--test", test]).collect();
    // The same features, else everything is built once more.
    cargo(&["test", "--workspace", "--all-features"]).args(&tests).args(args).env(name, value).run()
}

/// Says who serves.
const SERVER: &str = "TIDINGS_SERVER";
const SERVERS: &[&str] = &["hyper", "lanes"];
/// Says what nodes share.
const BROKER: &str = "TIDINGS_BROKER";
const BROKERS: &[&str] = &["redis", "nats"];
/// Of the testkit's tests, those of what everything else comes down to.
const CORE: &[&str] = &["cursors", "gaps", "hopping", "one_room_three_transports", "resume"];
/// Those of the testkit's tests.
const DELIVERY: &[&str] = &[
    "control",
    "cursors",
    "deep_history",
    "ending",
    "event_stream",
    "frozen_readers",
    "gaps",
    "gathered_replies",
    "hopping",
    "joins_and_leaves",
    "last_event",
    "lost_replies",
    "one_room_three_transports",
    "overlapping_polls",
    "resume",
    "returning_streams",
    "room_by_room",
    "room_kinds",
    "several_rooms",
    "slow_policies",
    "split_bytes",
];

fn names_a_package(args: &[String]) -> bool {
    let is_package =
        |arg: &String| arg.starts_with("-p") || arg == "--package" || arg.starts_with("--package=");
    args.iter().take_while(|arg| *arg != "--").any(is_package)
}

#[cfg(test)]
mod tests {
    use super::names_a_package;

    fn check(args: &[&str]) -> bool {
        names_a_package(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_package_is_noticed_only_before_the_dashes() {
        assert!(
            check(&["-p", "tidings-core"]) && check(&["--doc", "--package=tidings"]) && check(&["-ptidings"])
        );
        assert!(!check(&[]) && !check(&["resume", "--", "-p"]) && !check(&["--profile", "release"]));
    }
}
