//! An environment with the Python packages that a `requirements.txt` asks for.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::run::Cmd;

/// Makes the environment in `folder` unless it is there, and gives its interpreter.
pub(crate) fn environment(folder: &str, requirements: &str) -> Result<String> {
    let python = format!("{folder}/bin/python");
    // Written last, so that an environment that was not finished is made again.
    let stamp = format!("{folder}/requirements.txt");
    let asked = fs::read_to_string(requirements)?;
    if Path::new(&python).exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == asked) {
        return Ok(python);
    }
    Cmd::new("python3", &["-m", "venv", "--clear", folder]).run()?;
    let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    Cmd::new(&python, &quiet).args(&["-r", requirements]).run()?;
    fs::write(stamp, asked)?;
    Ok(python)
}
