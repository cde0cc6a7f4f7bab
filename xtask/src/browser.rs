//! `cargo xtask browser`: the tests in every `browser/` folder, with node's test runner and a real chromium.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;

use crate::flags::Browser;
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
        install(&suite.directory)?;
        cargo(&["build", "-p", &suite.package]).run()?;
        tests(suite, workspace.target_directory(), flags).run()?;
    }
    Ok(())
}

/// A folder of browser tests, and the package whose program it talks to.
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

/// Installs what a folder's lock file names, if it is newer than what is there.
pub(crate) fn install(directory: &str) -> Result<()> {
    let changed =
        |name: &str| fs::metadata(Path::new(directory).join(name)).and_then(|file| file.modified()).ok();
    if is_fresh(changed("package-lock.json"), changed("node_modules/.package-lock.json")) {
        return Ok(());
    }
    Cmd::new("npm", &["ci", "--no-audit", "--no-fund"]).directory(directory).run()
}

/// Whether what npm installed is at least as new as what was asked for.
fn is_fresh(asked: Option<SystemTime>, installed: Option<SystemTime>) -> bool {
    asked.zip(installed).is_some_and(|(asked, installed)| installed >= asked)
}

fn tests(suite: &Suite, target_directory: &str, flags: &Browser) -> Cmd {
    let mut node = Cmd::new("node", &["--test"]).directory(&suite.directory);
    node = node.env("TIDINGS_TARGET_DIR", target_directory).env("CHROMIUM", &setup::chromium());
    if flags.headed {
        node = node.env("TIDINGS_HEADED", "1");
    }
    match &flags.filter {
        Some(filter) => node.args(&[format!("--test-name-pattern={filter}")]),
        None => node,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn packages_are_installed_again_when_the_lock_file_is_newer() {
        let (early, late) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        assert!(is_fresh(Some(early), Some(late)) && is_fresh(Some(early), Some(early)));
        assert!(!is_fresh(Some(late), Some(early)));
        assert!(!is_fresh(Some(early), None) && !is_fresh(None, Some(late)));
    }

    #[test]
    fn the_tests_are_told_where_the_programs_are_and_what_was_asked() {
        let suite = Suite { package: "chat".to_owned(), directory: "examples/chat/browser".to_owned() };
        let plain = tests(&suite, "target", &Browser::default()).shown();
        assert!(
            plain.starts_with("(cd examples/chat/browser && TIDINGS_TARGET_DIR=target CHROMIUM="),
            "{plain}"
        );
        assert!(plain.ends_with(" node --test)"), "{plain}");
        let asked = Browser { headed: true, filter: Some("resume".to_owned()) };
        let asked = tests(&suite, "target", &asked).shown();
        assert!(asked.ends_with(" TIDINGS_HEADED=1 node --test --test-name-pattern=resume)"), "{asked}");
    }
}
