//! `cargo xtask ci`: every step that a change must pass, and the summary at its end.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::flags::{self, Ci, Step};
use crate::run::cargo;
use crate::setup::{self, Tool};
use crate::workspace::Workspace;
use crate::{autobahn, browser, features, fuzz, interop, js, loom, test, tidy};

pub(crate) fn run(workspace: &Workspace, flags: &Ci) -> Result<()> {
    let steps = selected(&flags.only, &flags.skip);
    ensure!(!steps.is_empty(), "no step is left to run");
    let mut rows = Vec::new();
    for step in steps {
        let failed = rows.iter().any(|row: &Row| matches!(row.outcome, Outcome::Failed));
        let outcome = if failed && !flags.keep_going { None } else { Some(perform(workspace, step)) };
        rows.push(outcome.unwrap_or(Row { step, outcome: Outcome::NotRun, took: Duration::ZERO }));
    }
    print!("\n{}", table(&rows));
    let failed = rows.iter().filter(|row| matches!(row.outcome, Outcome::Failed)).count();
    ensure!(failed == 0, "{failed} of {} steps failed", rows.len());
    Ok(())
}

fn perform(workspace: &Workspace, step: Step) -> Row {
    println!("\n== {}", name(step));
    let begun = Instant::now();
    let result = match step {
        Step::Fmt => fmt(),
        Step::Tidy => {
            println!("$ cargo xtask tidy");
            tidy::run(workspace, &flags::Tidy::default())
        }
        Step::Clippy => clippy(),
        Step::Test => test::all(workspace),
        Step::Js => js::run(workspace),
        Step::Loom => loom::run(),
        Step::Fuzz => fuzz::run(workspace, &flags::Fuzz::default()),
        Step::Docs => docs(),
        Step::Features => features::run(workspace),
        Step::Examples => examples(workspace),
        Step::Browser => browser::run(workspace, &flags::Browser::default()),
        Step::Interop => interop::run(workspace),
        Step::Autobahn => autobahn::run_if_there(workspace),
    };
    let outcome = match result {
        Ok(()) => Outcome::Passed,
        Err(error) => {
            println!("{}: {error:#}", name(step));
            Outcome::Failed
        }
    };
    Row { step, outcome, took: begun.elapsed() }
}

fn fmt() -> Result<()> {
    setup::ensure(Tool::Rustfmt)?;
    cargo(&["fmt", "--all", "--check"]).run()?;
    cargo(&["fmt", "--manifest-path", fuzz::MANIFEST, "--check"]).run()
}

fn clippy() -> Result<()> {
    setup::ensure(Tool::Clippy)?;
    cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]).run()
}

fn docs() -> Result<()> {
    let doc = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    doc.env("RUSTDOCFLAGS", "-D warnings").run()
}

fn examples(workspace: &Workspace) -> Result<()> {
    cargo(&["build", "--workspace", "--examples"]).run()?;
    let packages: Vec<_> = workspace.examples().flat_map(|package| ["-p", package.name.as_str()]).collect();
    // Without a package named, cargo would build everything.
    if packages.is_empty() { Ok(()) } else { cargo(&["build"]).args(&packages).run() }
}

fn selected(only: &[Step], skip: &[Step]) -> Vec<Step> {
    let wanted = |step: &Step| (only.is_empty() || only.contains(step)) && !skip.contains(step);
    Step::value_variants().iter().copied().filter(wanted).collect()
}

struct Row {
    step: Step,
    outcome: Outcome,
    took: Duration,
}

enum Outcome {
    Passed,
    Failed,
    NotRun,
}

fn table(rows: &[Row]) -> String {
    let mut out = format!("{:<10}{:<9}{:>8}\n", "step", "result", "seconds");
    for row in rows {
        let (result, seconds) = match row.outcome {
            Outcome::Passed => ("ok", format!("{:.1}", row.took.as_secs_f64())),
            Outcome::Failed => ("FAILED", format!("{:.1}", row.took.as_secs_f64())),
            Outcome::NotRun => ("not run", "-".to_owned()),
        };
        let _ = writeln!(out, "{:<10}{result:<9}{seconds:>8}", name(row.step)); // writing to a String cannot fail
    }
    out
}

/// The name of a step as one types it.
fn name(step: Step) -> String {
    step.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_in_their_order_whatever_the_order_asked_for() {
        assert_eq!(selected(&[Step::Test, Step::Clippy], &[]), [Step::Clippy, Step::Test]);
        assert_eq!(selected(&[Step::Test, Step::Docs], &[Step::Docs]), [Step::Test]);
        let all = selected(&[], &[Step::Browser]);
        assert_eq!((all.len(), all.first(), all.last()), (12, Some(&Step::Fmt), Some(&Step::Autobahn)));
    }

    #[test]
    fn the_summary_has_a_line_for_each_step() {
        let row = |step, outcome, ms| Row { step, outcome, took: Duration::from_millis(ms) };
        let rows = [
            row(Step::Fmt, Outcome::Passed, 1_240),
            row(Step::Clippy, Outcome::Failed, 61_000),
            row(Step::Test, Outcome::NotRun, 0),
        ];
        let lines = [
            "step      result    seconds",
            "fmt       ok            1.2",
            "clippy    FAILED       61.0",
            "test      not run         -\n",
        ];
        assert_eq!(table(&rows), lines.join("\n"));
    }
}
