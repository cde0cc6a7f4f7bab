//! `cargo xtask browser`: the tests in every `browser/` folder, with node's test runner and a real chromium.

use std::path::Path;

use anyhow::Result;

use crate::flags::Browser;
use crate::npm;
use crate::run::{Cmd, cargo};
use crate::setup::{self, Tool};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, flags: &Browser) -> Result<()> {
    let suites = suites(workspace);
    if suites.is_empty() {
        println!("no browser tests: no crate or example has a browser/package.json");
        return Ok(());
    }
    setup::ensure(Tool::Node)?;
    setup::ensure(Tool::Chromium)?;
    // The programs that the tests talk to; with the features of each alone, everything below them would be built once more for each.
    cargo(&["build", "--workspace", "--all-features", "--bins"]).run()?;
    for suite in &suites {
        if suite.package == "tidings-js" {
            setup::ensure(Tool::Nginx)?;
            setup::ensure(Tool::Haproxy)?;
        }
        npm::install(&suite.directory)?;
        let (alone, others): (Vec<_>, Vec<_>) = npm::tests(Path::new(&suite.directory))?
            .into_iter()
            .partition(|file| ALONE.contains(&file.as_str()));
        // Those wait for timers, most of the time.
        for (files, at_once) in [(alone, 1), (others, 2)] {
            // Without files, node would look for some.
            if !files.is_empty() {
                tests(suite, &files, at_once, workspace.target_directory(), flags).run()?;
            }
        }
    }
    Ok(())
}

/// The files of tests that hold times to limits while they keep both cores busy: beside others, they would measure those.
const ALONE: &[&str] = &["coming-back.test.mjs", "proxies.test.mjs"];

/// A package's folder of browser tests.
struct Suite {
    package: String,
    directory: String,
}

fn suites(workspace: &Workspace) -> Vec<Suite> {
    let mut suites = Vec::new();
    for package in workspace.members() {
        let directory = workspace.manifest(package).replace("Cargo.toml", "browser");
        if Path::new(&directory).join("package.json").is_file() {
            suites.push(Suite { package: package.name.to_string(), directory });
        }
    }
    suites
}

fn tests(suite: &Suite, files: &[String], at_once: usize, target_directory: &str, flags: &Browser) -> Cmd {
    let node = Cmd::new("node", &["--test"]).args(&[format!("--test-concurrency={at_once}")]);
    let mut node = node.directory(&suite.directory);
    node = node.env("TIDINGS_TARGET_DIR", target_directory).env("CHROMIUM", &setup::chromium());
    node = node.env("TIDINGS_NGINX", &setup::nginx()).env("TIDINGS_HAPROXY", &setup::haproxy());
    if flags.headed {
        node = node.env("TIDINGS_HEADED", "1");
    }
    if flags.soak {
        node = node.env("TIDINGS_SOAK", "1");
    }
    if let Some(filter) = &flags.filter {
        node = node.args(&[format!("--test-name-pattern={filter}")]);
    }
    node.args(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_are_told_where_the_programs_are_and_what_was_asked() {
        let suite = Suite { package: "chat".to_owned(), directory: "examples/chat/browser".to_owned() };
        let files = ["one.test.mjs".to_owned(), "two.test.mjs".to_owned()];
        let plain = tests(&suite, &files, 2, "target", &Browser::default()).shown();
        assert!(
            plain.starts_with("(cd examples/chat/browser && TIDINGS_TARGET_DIR=target CHROMIUM="),
            "{plain}"
        );
        assert!(plain.ends_with(" node --test --test-concurrency=2 one.test.mjs two.test.mjs)"), "{plain}");
        let asked = Browser { headed: true, soak: true, filter: Some("resume".to_owned()) };
        let asked = tests(&suite, &files, 1, "target", &asked).shown();
        let end = " TIDINGS_HEADED=1 TIDINGS_SOAK=1 node --test --test-concurrency=1 --test-name-pattern=resume \
                   one.test.mjs two.test.mjs)";
        assert!(asked.ends_with(end), "{asked}");
    }
}
