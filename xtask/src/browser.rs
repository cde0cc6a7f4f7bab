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
    for suite in &suites {
        if suite.package == "tidings-js" {
            setup::ensure(Tool::Nginx)?;
            setup::ensure(Tool::Haproxy)?;
        }
        npm::install(&suite.directory)?;
        cargo(&["build", "-p", server(&suite.package)]).run()?;
        tests(suite, workspace.target_directory(), flags).run()?;
    }
    Ok(())
}

/// A folder of browser tests, and the package whose program it talks to.
struct Suite {
    package: String,
    directory: String,
}

/// The package with the program that a package's tests talk to: its own, or for a library another one.
fn server(package: &str) -> &str {
    if package == "tidings-js" { "tidings-bench" } else { package }
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

fn tests(suite: &Suite, target_directory: &str, flags: &Browser) -> Cmd {
    // They wait for timers, most of the time.
    let mut node = Cmd::new("node", &["--test", "--test-concurrency=2"]).directory(&suite.directory);
    node = node.env("TIDINGS_TARGET_DIR", target_directory).env("CHROMIUM", &setup::chromium());
    node = node.env("TIDINGS_NGINX", &setup::nginx()).env("TIDINGS_HAPROXY", &setup::haproxy());
    if flags.headed {
        node = node.env("TIDINGS_HEADED", "1");
    }
    if flags.soak {
        node = node.env("TIDINGS_SOAK", "1");
    }
    match &flags.filter {
        Some(filter) => node.args(&[format!("--test-name-pattern={filter}")]),
        None => node,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_are_told_where_the_programs_are_and_what_was_asked() {
        let suite = Suite { package: "chat".to_owned(), directory: "examples/chat/browser".to_owned() };
        let plain = tests(&suite, "target", &Browser::default()).shown();
        assert!(
            plain.starts_with("(cd examples/chat/browser && TIDINGS_TARGET_DIR=target CHROMIUM="),
            "{plain}"
        );
        assert!(plain.ends_with(" node --test --test-concurrency=2)"), "{plain}");
        let asked = Browser { headed: true, soak: true, filter: Some("resume".to_owned()) };
        let asked = tests(&suite, "target", &asked).shown();
        assert!(
            asked.ends_with(" TIDINGS_HEADED=1 TIDINGS_SOAK=1 node --test --test-concurrency=2 --test-name-pattern=resume)"),
            "{asked}"
        );
    }
}
