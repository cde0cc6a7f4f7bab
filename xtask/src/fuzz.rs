//! `cargo xtask fuzz`: builds the fuzz targets, runs each for a while, and tells how to see a failure again.
//!
//! The targets are built here, with the flags that cargo-fuzz gives to rustc, and not by cargo-fuzz: the stable toolchain
//! takes them, no tool has to be built first (which takes longer than this step), and the package may stand among the
//! others. A sanitizer would need a nightly toolchain, and finds little in code without `unsafe`.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::flags::Fuzz;
use crate::run::{Cmd, cargo};
use crate::setup::{self, Tool};
use crate::workspace::Workspace;

/// The package of the targets, which is a workspace of its own.
pub(crate) const MANIFEST: &str = "crates/tidings-fuzz/Cargo.toml";

pub(crate) fn run(workspace: &Workspace, flags: &Fuzz) -> Result<()> {
    let targets = selected(&known()?, &flags.targets)?;
    // libFuzzer comes as source.
    setup::ensure(Tool::Cxx)?;
    let folder = format!("{}/fuzz", workspace.target_directory());
    let host = host()?;
    // A target is named so that build scripts and macros, which run here, are built without the flags. Not `--locked`:
    // whoever gives one of our crates a dependency need not know of this package, whose lock file then gets it too.
    cargo(&["build", "--release", "--manifest-path", MANIFEST, "--bins"])
        .args(&["--target-dir", &folder, "--target", &host])
        .env("RUSTFLAGS", &FLAGS.join(" "))
        .run()?;
    let mut summary = format!("\n{:<14}{:>12}\n", "target", "executions");
    let mut failures = String::new();
    // Each keeps one core busy, for as long as the others.
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    for targets in targets.chunks(at_once) {
        let run = |target: &String| {
            fuzz(target, &format!("{folder}/{host}/release/{target}"), &folder, flags.seconds)
        };
        let outcomes: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = targets.iter().map(|target| scope.spawn(|| run(target))).collect();
            running.into_iter().map(|one| one.join().expect("it does not panic")).collect()
        });
        for (target, outcome) in targets.iter().zip(outcomes) {
            let outcome = match outcome {
                Ok(executions) => executions.to_string(),
                Err(error) => {
                    failures += &format!("\n{error:#}");
                    "FAILED".to_owned()
                }
            };
            summary += &format!("{target:<14}{outcome:>12}\n");
        }
    }
    print!("{summary}");
    ensure!(failures.is_empty(), "a target failed{failures}");
    Ok(())
}

/// Runs one target and gives how many inputs it has tried.
fn fuzz(target: &str, program: &str, folder: &str, seconds: u32) -> Result<u64> {
    let (corpus, failures) = (format!("{folder}/corpus/{target}"), format!("{folder}/failures/{target}"));
    for path in [&corpus, &failures] {
        fs::create_dir_all(path).with_context(|| format!("cannot make {path}"))?;
    }
    let log = format!("{folder}/{target}.log");
    // New inputs go to the first folder; the others are read, so what has once failed is tried first.
    let passed = Cmd::new(program, &[&corpus, &failures])
        .args(seeds(target).as_slice())
        .args(&[format!("-max_total_time={seconds}"), format!("-artifact_prefix={failures}/")])
        .args(&LIMITS)
        .run_into(&log)?;
    let output = fs::read(&log).with_context(|| format!("cannot read {log}"))?;
    let output = String::from_utf8_lossy(&output);
    if passed {
        return executions(&output)
            .with_context(|| format!("{target} does not say how much it did: see {log}"));
    }
    println!("{}", told(&output));
    let Some(input) = saved(&output) else { bail!("{target} failed and saved no input: see {log}") };
    bail!("{target}: the input is {input}; to see it again:\n  {}", Cmd::new(program, &[input]).shown());
}

/// Every target: the programs of the package.
fn known() -> Result<Vec<String>> {
    let programs = Path::new(MANIFEST).with_file_name("src").join("bin");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&programs).with_context(|| format!("cannot list {}", programs.display()))? {
        let path = entry?.path();
        targets.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

fn selected(known: &[String], asked: &[String]) -> Result<Vec<String>> {
    for target in asked {
        ensure!(known.contains(target), "there is no target `{target}`, but {}", known.join(", "));
    }
    Ok(if asked.is_empty() { known.to_vec() } else { asked.to_vec() })
}

/// The inputs of the repository for a target, if it has any.
fn seeds(target: &str) -> Option<String> {
    let folder = Path::new(MANIFEST).with_file_name("seeds").join(target);
    folder.is_dir().then(|| folder.to_string_lossy().into_owned())
}

fn host() -> Result<String> {
    let version = Cmd::new("rustc", &["-vV"]).capture()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what it runs on")
}

fn executions(output: &str) -> Option<u64> {
    let count = output.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    count.trim().parse().ok()
}

/// Where the fuzzer has put the input that failed.
fn saved(output: &str) -> Option<&str> {
    output.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path.trim())
}

/// What the target and the fuzzer said of the failure, without how it went until then and without the input itself.
fn told(output: &str) -> String {
    let progress = |line: &&str| !line.starts_with('#') && !line.starts_with("INFO:") && line.len() < 2_000;
    let lines: Vec<_> = output.lines().filter(progress).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// What cargo-fuzz 0.13 gives to rustc without a sanitizer: counters at the edges between blocks, and what is compared
/// with what. It also sets `cfg(fuzzing)`, at which some crates change what they do; here they do what they always do.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// Seconds for one input, MiB of memory for the program, and the figures at the end.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"];

/// Lines of a failure that are shown.
const LINES: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_not_there_is_named() {
        let known = ["a", "b"].map(str::to_owned);
        assert_eq!(selected(&known, &[]).unwrap(), known);
        assert_eq!(selected(&known, &known[1..]).unwrap(), known[1..]);
        let error = selected(&known, &["c".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "there is no target `c`, but a, b");
    }

    #[test]
    fn what_the_fuzzer_says_is_read() {
        let passed = "#5 DONE cov: 3\nstat::number_of_executed_units: 12345\nstat::peak_rss_mb: 30\n";
        assert_eq!((executions(passed), saved(passed)), (Some(12_345), None));
        let failed = "INFO: x\n#2 NEW\npanicked at y\nartifact_prefix='f/'; Test unit written to f/crash-1\n";
        assert_eq!((executions(failed), saved(failed)), (None, Some("f/crash-1")));
        let shown = told(failed);
        assert!(shown.starts_with("panicked at y\n") && !shown.contains("NEW"), "{shown}");
    }
}
