//! `cargo xtask interop`: other people's WebSockets against ours: Python's `websockets`, and chromium.

use anyhow::Result;

use crate::npm;
use crate::python;
use crate::run::{Cmd, cargo};
use crate::setup::{self, Tool};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::ensure(Tool::Python)?;
    setup::ensure(Tool::Node)?;
    setup::ensure(Tool::Chromium)?;
    let target = workspace.target_directory();
    cargo(&["build", "-p", "tidings-ws", "--example", "echo"]).run()?;
    cargo(&["build", "-p", "tidings-bench", "--bin", "server"]).run()?;
    let python =
        python::environment(&format!("{target}/interop/python"), &format!("{FOLDER}/requirements.txt"))?;
    // A warning of the library's is a mistake in our tests.
    let test = Cmd::new(&python, &["-W", "error", "-m", "unittest", "--verbose"]).directory(FOLDER);
    test.env("TIDINGS_TARGET_DIR", target).env("PYTHONDONTWRITEBYTECODE", "1").run()?;
    npm::install(FOLDER)?;
    let test = Cmd::new("node", &["--test"]).directory(FOLDER);
    test.env("TIDINGS_TARGET_DIR", target).env("CHROMIUM", &setup::chromium()).run()
}

const FOLDER: &str = "crates/tidings-ws/interop";
