//! The servers that ours is measured beside: where they are, and how those are started that cargo does not build.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::npm;
use crate::python;
use crate::setup::{self, NCHAN, Tool};
use crate::workspace::Workspace;

/// The folder with the load generator or with the other servers.
pub(super) fn folder(workspace: &Workspace, name: &str) -> Result<String> {
    let variable = format!("TIDINGS_{}", name.to_uppercase());
    let named = std::env::var_os(&variable).filter(|path| !path.is_empty());
    let beside = || workspace.root().join("../shared").join(name);
    let folder = named.map_or_else(beside, PathBuf::from);
    ensure!(
        folder.is_dir(),
        "there is no {}: name the folder in {variable}, or put it beside the checkout as ../shared/{name}",
        folder.display()
    );
    Ok(folder.display().to_string())
}

/// How to start the servers that are not Rust's, as `NAME=COMMAND`; what they need is installed.
pub(super) fn commands(folder: &str, target: &str) -> Result<[String; 3]> {
    setup::ensure(Tool::Node)?;
    setup::ensure(Tool::Python)?;
    setup::ensure(Tool::Nchan)?;
    setup::ensure(Tool::Libuv)?;
    let node = node(folder, &format!("{target}/bench/node"))?;
    let nchan = nchan(folder, &format!("{target}/bench/nchan"))?;
    let python = python::environment(&format!("{target}/bench/uws"), &format!("{UWS}/requirements.txt"))?;
    Ok([format!("NODE={node}"), format!("NGX={nchan}"), format!("UWS={python} {UWS}/server.py")])
}

/// The folder of the servers on node, with their packages: a copy, because theirs may be one that cannot be written to.
fn node(folder: &str, copy: &str) -> Result<String> {
    fs::create_dir_all(copy)?;
    for file in ["package.json", "package-lock.json", "ws.js", "sio.js"] {
        let (from, to) = (format!("{folder}/node/{file}"), format!("{copy}/{file}"));
        let text = fs::read(&from).with_context(|| format!("cannot read {from}"))?;
        // One that is written anew asks for the packages to be installed again.
        if fs::read(&to).ok().as_ref() != Some(&text) {
            fs::write(&to, text).with_context(|| format!("cannot write {to}"))?;
        }
    }
    npm::install(copy)?;
    Ok(copy.to_owned())
}

/// The command that starts nginx with nchan, in a folder of its own.
fn nchan(folder: &str, home: &str) -> Result<String> {
    for part in ["modules", "tmp", "logs"] {
        fs::create_dir_all(format!("{home}/{part}"))?;
    }
    let (from, conf) = (format!("{folder}/nginx/nchan.conf"), format!("{home}/nchan.conf"));
    fs::write(&conf, fs::read(&from).with_context(|| format!("cannot read {from}"))?)?;
    let module = format!("{home}/modules/ngx_nchan_module.so");
    if !Path::new(&module).exists() {
        symlink(NCHAN, &module).with_context(|| format!("cannot make {module}"))?;
    }
    Ok(format!("nginx -p {home} -c nchan.conf"))
}

const UWS: &str = "crates/tidings-bench/uws";
