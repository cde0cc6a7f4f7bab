//! `cargo xtask test`: all tests, with all features.

use std::{collections::BTreeSet, fs, thread};

use anyhow::{Context, Result, ensure};

use crate::flags::Test;
use crate::run::cargo;
use crate::setup::{self, Tool};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, flags: &Test) -> Result<()> {
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
    if args.is_empty() {
        return all(workspace);
    }
    servers()?;
    // With `--workspace`, cargo would pass over a `-p` in silence.
    cargo(EVERYTHING).args(&args).run()
}

/// All tests of the workspace. Those that wait go beside the others, and what they say is told when those have ended.
pub(crate) fn all(workspace: &Workspace) -> Result<()> {
    servers()?;
    cargo(EVERYTHING).args(&["--no-run"]).run()?;
    let path = format!("{}/waiting-tests.log", workspace.target_directory());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            // As many at once as wait for most of their time.
            cargo(EVERYTHING)
                .args(&chosen(WAITING.iter().copied()))
                .env("RUST_TEST_THREADS", "4")
                .run_into(&path)
        });
        let others = working(&others(workspace));
        let waiting = waiting.join().expect("it does not panic");
        print!("{}", fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?);
        others?;
        ensure!(waiting?, "some of the tests that wait have failed");
        Ok(())
    })
}

fn working(programs: &[String]) -> Result<()> {
    cargo(EVERYTHING).args(&["--lib", "--bins"]).args(programs).run()?;
    cargo(EVERYTHING).args(&["--doc"]).run()?;
    // What is promised about delivery, once more over servers that an application may have: the first time, the hub writes to the
    // sockets of ours.
    SERVERS.iter().try_for_each(|server| deliver(DELIVERY, &[], SERVER, server))?;
    // And its core on the other brokers: the first time, it was memory.
    BROKERS.iter().try_for_each(|broker| deliver(CORE, &[], BROKER, broker))
}

/// The arguments that choose all tests but those which wait.
fn others(workspace: &Workspace) -> Vec<String> {
    let all = workspace.members().iter().flat_map(|package| &package.targets);
    let names: BTreeSet<_> =
        all.filter(|target| target.is_test()).map(|target| target.name.as_str()).collect();
    chosen(names.into_iter().filter(|name| !WAITING.contains(name)))
}

fn chosen<'a>(tests: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    tests.into_iter().flat_map(|test| ["--test".to_owned(), test.to_owned()]).collect()
}

/// What some of the tests start.
fn servers() -> Result<()> {
    [Tool::Nats, Tool::Redis, Tool::Haproxy, Tool::Nginx, Tool::Caddy].into_iter().try_for_each(setup::ensure)
}

/// Runs some of the testkit's tests with a variable of the environment.
fn deliver(tests: &[&str], args: &[String], name: &str, value: &str) -> Result<()> {
    cargo(EVERYTHING).args(&chosen(tests.iter().copied())).args(args).env(name, value).run()
}

/// With other features, everything would be built once more.
const EVERYTHING: &[&str] = &["test", "--workspace", "--all-features"];
/// Tests that wait for most of their time: for leases, limits, and brokers that come back.
const WAITING: &[&str] = &[
    "abuse",
    "expiry",
    "jetstream",
    "presence",
    "proxies",
    "redis",
    "rolling",
    "sessions",
    "slow_heads",
    "tokens",
    "unanswered_close",
    "websocket_liveness",
];

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
