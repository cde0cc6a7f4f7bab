//! The tasks of this repository: `cargo xtask ci` is what a change must pass, `cargo xtask --help` lists the rest.

mod abuse;
mod autobahn;
mod bench;
mod browser;
mod ci;
mod features;
mod flags;
mod fuzz;
mod interop;
mod js;
mod loom;
mod npm;
mod python;
mod rolling;
mod run;
mod setup;
mod soak;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use flags::{Flags, Task};
use workspace::Workspace;

fn main() -> ExitCode {
    match perform(&Flags::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: &Task) -> Result<()> {
    let workspace = Workspace::load()?;
    // Every path and every command below is relative to the top of the repository.
    std::env::set_current_dir(workspace.root()).context("cannot enter the top of the workspace")?;
    match task {
        Task::Ci(flags) => ci::run(&workspace, flags),
        Task::Tidy(flags) => tidy::run(&workspace, flags),
        Task::Test(flags) => test::run(&workspace, flags),
        Task::Js => js::run(&workspace),
        Task::Loom => loom::run(),
        Task::Fuzz(flags) => fuzz::run(&workspace, flags),
        Task::Abuse(flags) => abuse::run(flags),
        Task::Rolling(flags) => rolling::run(flags),
        Task::Soak(flags) => soak::run(flags),
        Task::Browser(flags) => browser::run(&workspace, flags),
        Task::Interop => interop::run(&workspace),
        Task::Autobahn(flags) => autobahn::run(&workspace, flags),
        Task::Bench(flags) => bench::run(&workspace, flags),
    }
}
