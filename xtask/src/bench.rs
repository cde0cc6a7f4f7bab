//! `cargo xtask bench`: measurements. Each is a program of `tidings-bench`, whose arguments are handed on.

mod peers;

use anyhow::Result;

use crate::flags::{Bench, What};
use crate::run::{Cmd, cargo};
use crate::setup::{self, Tool};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, flags: &Bench) -> Result<()> {
    let target = workspace.target_directory();
    let args: Vec<_> = flags.args.iter().map(String::as_str).collect();
    match flags.what {
        What::Idle => {
            let program = program(target, "idle")?;
            Cmd::new(&program, &args).run()
        }
        What::Broker => {
            setup::ensure(Tool::Nats)?;
            let program = program(target, "broker")?;
            Cmd::new(&program, &args).run()
        }
        What::Echo => {
            // Not of our workspace: it builds the libraries that ours is measured against.
            let program =
                foreign("crates/tidings-bench/echo", &format!("{target}/echo"), "tidings-bench-echo")?;
            Cmd::new(&program, &args).run()
        }
        What::Pieces => cargo(&["bench", "-p", "tidings-bench", "--"]).args(&args).run(),
        What::Fanout => under_load(workspace, "fanout", flags),
        What::Burst => under_load(workspace, "burst", flags),
        What::Slow => under_load(workspace, "slow", flags),
        What::Churn => under_load(workspace, "churn", flags),
        What::Pingpong => under_load(workspace, "pingpong", flags),
        What::Held => under_load(workspace, "held", flags),
    }
}

/// Our server beside others, under the load generator.
fn under_load(workspace: &Workspace, scenario: &str, flags: &Bench) -> Result<()> {
    let target = workspace.target_directory();
    let (server, load) = (program(target, "server")?, program(target, "load")?);
    program(target, "body")?; // beside the server, where it is looked for
    let loadgen = foreign(&peers::folder(workspace, "loadgen")?, &format!("{target}/loadgen"), "loadgen")?;
    let folder = peers::folder(workspace, "peers")?;
    foreign(&format!("{folder}/rust"), &format!("{target}/peers"), "floor")?;
    let out = format!("{target}/bench");
    let mut run = Cmd::new(&load, &[scenario, "--loadgen", &loadgen, "--server", &server, "--out", &out]);
    run = run.args(&["--peers", &format!("{target}/peers/release")]);
    if flags.peers {
        for command in peers::commands(&folder, target)? {
            run = run.args(&["--command", &command]);
        }
    }
    run.args(&flags.args).run()
}

/// Builds a program of `tidings-bench`.
fn program(target: &str, name: &str) -> Result<String> {
    cargo(&["build", "--release", "-p", "tidings-bench", "--bin", name]).run()?;
    Ok(format!("{target}/release/{name}"))
}

/// Builds a package that is not of our workspace.
fn foreign(folder: &str, target: &str, program: &str) -> Result<String> {
    let manifest = format!("{folder}/Cargo.toml");
    cargo(&["build", "--release", "--locked", "--manifest-path", &manifest, "--target-dir", target]).run()?;
    Ok(format!("{target}/release/{program}"))
}
