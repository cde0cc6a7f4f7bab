//! `cargo xtask js`: the browser client's tests that need no browser, with node's test runner.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::npm;
use crate::run::{Cmd, cargo};
use crate::setup::{self, Tool};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::ensure(Tool::Node)?;
    npm::install(DIRECTORY)?;
    // What the client is tried against.
    cargo(&["build", "-p", "tidings-bench"]).run()?;
    let files = files(Path::new(DIRECTORY))?;
    ensure!(!files.is_empty(), "there are no tests in {DIRECTORY}/test");
    let node = Cmd::new("node", &["--test"]).args(&files).directory(DIRECTORY);
    node.env("TIDINGS_TARGET_DIR", workspace.target_directory()).run()
}

/// The files of tests, as seen from the package.
fn files(directory: &Path) -> Result<Vec<String>> {
    let names = npm::tests(&directory.join("test"))?;
    Ok(names.iter().map(|name| format!("test/{name}")).collect())
}

const DIRECTORY: &str = "crates/tidings-js";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_are_run() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DIRECTORY);
        let files = files(&directory).unwrap();
        assert!(files.contains(&"test/model.test.mjs".to_owned()), "{files:?}");
        assert!(files.iter().all(|file| file.ends_with(".test.mjs") && directory.join(file).is_file()));
    }
}
