//! `cargo xtask bench`: measurements. Each is a program of `tidings-bench`, whose arguments are handed on.

use anyhow::Result;

use crate::flags::{Bench, What};
use crate::run::{Cmd, cargo};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, flags: &Bench) -> Result<()> {
    let program = match flags.what {
        What::Idle => {
            cargo(&["build", "--release", "-p", "tidings-bench", "--bin", "idle"]).run()?;
            format!("{}/release/idle", workspace.target_directory())
        }
        What::Echo => {
            // Not of our workspace: it builds the libraries that ours is measured against.
            let target = format!("{}/echo", workspace.target_directory());
            let manifest = "crates/tidings-bench/echo/Cargo.toml";
            cargo(&["build", "--release", "--locked", "--manifest-path", manifest, "--target-dir", &target])
                .run()?;
            format!("{target}/release/tidings-bench-echo")
        }
    };
    let args: Vec<_> = flags.args.iter().map(String::as_str).collect();
    Cmd::new(&program, &args).run()
}
