//! `cargo xtask interop`: other people's WebSockets against ours: Python's `websockets`, and chromium.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::npm;
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
    let python = environment(target)?;
    // A warning of the library's is a mistake in our tests.
    let test = Cmd::new(&python, &["-W", "error", "-m", "unittest", "--verbose"]).directory(FOLDER);
    test.env("TIDINGS_TARGET_DIR", target).env("PYTHONDONTWRITEBYTECODE", "1").run()?;
    npm::install(FOLDER)?;
    let test = Cmd::new("node", &["--test"]).directory(FOLDER);
    test.env("TIDINGS_TARGET_DIR", target).env("CHROMIUM", &setup::chromium()).run()
}

/// Makes the environment that the Python tests run in, and gives its interpreter.
fn environment(target: &str) -> Result<String> {
    let folder = format!("{target}/interop/python");
    let python = format!("{folder}/bin/python");
    let requirements = format!("{FOLDER}/requirements.txt");
    // Written last, so that an environment that was not finished is made again.
    let stamp = format!("{folder}/requirements.txt");
    let asked = fs::read_to_string(&requirements)?;
    if Path::new(&python).exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == asked) {
        return Ok(python);
    }
    Cmd::new("python3", &["-m", "venv", "--clear", &folder]).run()?;
    let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    Cmd::new(&python, &quiet).args(&["--no-deps", "--require-hashes", "-r", &requirements]).run()?;
    fs::write(stamp, asked)?;
    Ok(python)
}

const FOLDER: &str = "crates/tidings-ws/interop";
