//! `cargo xtask tidy`: the house rules that a program can check.
//!
//! Each rule is a function from text to faults; this file finds the text and lists what they say.

mod arrows;
mod files;
mod manifest;
mod rust;
mod scrub;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, ensure};

use crate::flags::Tidy;
use crate::run::Cmd;
use crate::setup::{self, Tool};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, flags: &Tidy) -> Result<()> {
    setup::ensure(Tool::Git)?;
    let texts = texts(workspace)?;
    let mut faults = files::top_level(texts.keys().map(String::as_str));
    let mut warnings = Vec::new();
    let root_manifest = std::fs::read_to_string("Cargo.toml").context("cannot read Cargo.toml")?;
    for package in workspace.members() {
        let path = workspace.manifest(package);
        let text = texts.get(&path).map_or("", String::as_str);
        faults.extend(arrows::check(workspace, package, &path, text));
        faults.extend(manifest::reasons(&path, text, &root_manifest, workspace));
    }
    for (path, text) in &texts {
        faults.extend(files::machine_paths(path, text));
        if !CODE.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        let (faulty, long) = files::length(path, text);
        faults.extend(faulty);
        warnings.extend(long);
        if path.ends_with(".rs") {
            faults.extend(rust::check(path, text));
        }
    }
    if flags.verbose {
        print_sorted("warning: ", warnings);
    }
    let count = faults.len();
    print_sorted("", faults);
    ensure!(count == 0, "tidy found {count} fault{}", if count == 1 { "" } else { "s" });
    println!("tidy: {} files, no faults", texts.len());
    Ok(())
}

/// Something that breaks a rule. The message says what is wrong and what to do.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    path: String,
    line: usize,
    message: String,
}

impl Fault {
    /// `line` counts from 1.
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

fn print_sorted(prefix: &str, mut faults: Vec<Fault>) {
    faults.sort();
    for fault in faults {
        println!("{prefix}{fault}");
    }
}

/// The text files of the repository: those git tracks, and new ones among the code that it will.
fn texts(workspace: &Workspace) -> Result<BTreeMap<String, String>> {
    // A checkout may belong to somebody else, as in a container; reading its list of files is safe.
    let root = workspace.root().display();
    let list = || Cmd::new("git", &["-c", &format!("safe.directory={root}"), "ls-files", "-z"]);
    let tracked = list().capture()?;
    let new = list().args(&["--others", "--exclude-standard", "--"]).args(CODE).capture()?;
    let mut texts = BTreeMap::new();
    for path in tracked.split('\0').chain(new.split('\0')).filter(|path| !path.is_empty()) {
        // Binary files have no lines, and a tracked file may have been deleted.
        if let Ok(text) = std::fs::read_to_string(path) {
            texts.insert(path.to_owned(), text);
        }
    }
    Ok(texts)
}

/// The folders that hold code.
const CODE: &[&str] = &["crates/", "examples/", "xtask/"];
