//! `cargo xtask autobahn`: the Autobahn suite against the WebSocket layer alone, as a server and as a client.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};

use crate::flags::Autobahn;
use crate::run::{Cmd, cargo};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, flags: &Autobahn) -> Result<()> {
    let folder = folder(workspace);
    let absent = || format!("there is no {}: the folder with autobahn.sh, {PLACES}", folder.display());
    ensure!(folder.join("autobahn.sh").is_file(), absent());
    let suite = Suite { folder, full: flags.full, target: workspace.target_directory().to_owned() };
    if flags.client { suite.client() } else { suite.server() }
}

/// The fast set against the server, or nothing where there is no suite.
pub(crate) fn run_if_there(workspace: &Workspace) -> Result<()> {
    if folder(workspace).join("autobahn.sh").is_file() {
        return run(workspace, &Autobahn::default());
    }
    println!("skipped: the Autobahn suite is not here, {PLACES}");
    Ok(())
}

fn folder(workspace: &Workspace) -> PathBuf {
    let named = std::env::var_os("TIDINGS_CONFORMANCE").filter(|path| !path.is_empty());
    named.map_or_else(|| workspace.root().join("../shared/conformance"), PathBuf::from)
}

struct Suite {
    folder: PathBuf,
    full: bool,
    target: String,
}

impl Suite {
    /// The suite's client against our server.
    fn server(&self) -> Result<()> {
        let mut echo = Cmd::new(&self.example("echo")?, &["127.0.0.1:0"]).start(Stdio::piped())?;
        let line = echo.line()?;
        let url =
            line.strip_prefix("listening on ").context("the echo server does not say where it listens")?;
        let out = self.out("server")?;
        let set = if self.full { "full" } else { "fast" };
        let test = Cmd::new(&self.file("autobahn.sh"), &["--set", set, "--agent", AGENT, "--out", &out]);
        test.args(&[url]).run()?;
        self.judge(&out)
    }

    /// The suite's server against our client.
    fn client(&self) -> Result<()> {
        let client = self.example("autobahn_client")?;
        let environment = environment()?;
        Cmd::new(&self.file("install.sh"), &[]).env("CONFORMANCE_ENV", &environment).run()?;
        let out = self.out("client")?;
        // The suite must be told its port, so one that is free now has to do.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let url = format!("ws://127.0.0.1:{port}");
        let spec = format!("{out}/spec.json");
        fs::write(&spec, self.spec(&url, &out))?;
        let suite =
            Cmd::new(&format!("{environment}/py27/bin/wstest"), &["-m", "fuzzingserver", "-s", &spec]);
        let running = suite.directory(&out).start(Stdio::null())?;
        await_port(port)?;
        Cmd::new(&client, &[&format!("127.0.0.1:{port}"), AGENT]).run()?;
        drop(running);
        self.summary(&out, &[]).run()?;
        self.judge(&out)
    }

    fn spec(&self, url: &str, out: &str) -> String {
        let cases = if self.full { "\"*\"".to_owned() } else { quoted(FAST) };
        format!(
            "{{\"url\":\"{url}\",\"outdir\":{out:?},\"webport\":0,\"cases\":[{cases}],\
             \"exclude-cases\":[],\"exclude-agent-cases\":{{}}}}"
        )
    }

    /// Whether every case that is not passed strictly is one of those we accept.
    fn judge(&self, out: &str) -> Result<()> {
        let accepted: Vec<_> = NON_STRICT.iter().map(|(case, _)| *case).collect();
        let strict = self.summary(out, &["--strict", "--quiet", "--allow", &accepted.join(",")]);
        strict.run().context("a case is passed, but not strictly; see NON_STRICT in xtask/src/autobahn.rs")
    }

    fn summary(&self, out: &str, args: &[&str]) -> Cmd {
        let script = self.file("autobahn_summary.py");
        Cmd::new("python3", &[&script, &format!("{out}/index.json")]).args(args)
    }

    /// Builds an example as people run it, and gives its path.
    fn example(&self, name: &str) -> Result<String> {
        cargo(&["build", "--release", "-p", "tidings-ws", "--example", name]).run()?;
        Ok(format!("{}/release/examples/{name}", self.target))
    }

    fn out(&self, side: &str) -> Result<String> {
        let set = if self.full { "full" } else { "fast" };
        let out = format!("{}/autobahn/{side}-{set}", self.target);
        fs::create_dir_all(&out)?;
        // What an earlier run left must not pass for this one's.
        match fs::remove_file(Path::new(&out).join("index.json")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(out),
        }
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// Where `autobahn.sh` keeps its environment.
fn environment() -> Result<String> {
    let var = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(path) = var("CONFORMANCE_ENV") {
        return Ok(path);
    }
    let cache = var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| format!("{home}/.cache")));
    Ok(format!("{}/tidings-conformance", cache.context("neither HOME nor CONFORMANCE_ENV is set")?))
}

fn await_port(port: u16) -> Result<()> {
    for _ in 0..100 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!("the suite's server does not listen")
}

fn quoted(cases: &[&str]) -> String {
    cases.iter().map(|case| format!("{case:?}")).collect::<Vec<_>>().join(",")
}

const PLACES: &str = "which TIDINGS_CONFORMANCE names, or ../shared/conformance beside the checkout";

const AGENT: &str = "tidings";

/// The fast set, as `autobahn.sh` has it for servers.
const FAST: &[&str] = &[
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*", "9.1.1", "9.2.1", "9.3.1", "9.4.1", "9.5.6",
    "9.6.6", "12.1.1", "12.1.2", "12.2.1", "12.3.3", "12.4.1", "12.5.1", "13.1.1", "13.2.1", "13.3.1",
    "13.4.1", "13.5.1", "13.6.1", "13.7.1",
];

/// Cases that we may pass NON-STRICT, and why that is right.
const NON_STRICT: &[(&str, &str)] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_is_told_what_to_run_in_json() {
        let suite = |full| Suite { folder: PathBuf::new(), full, target: String::new() };
        let spec = suite(true).spec("ws://127.0.0.1:9", "/a b");
        assert!(spec.starts_with("{\"url\":\"ws://127.0.0.1:9\",\"outdir\":\"/a b\","), "{spec}");
        assert!(spec.contains("\"cases\":[\"*\"]"), "{spec}");
        assert!(suite(false).spec("", "").contains("[\"1.*\",\"2.*\","));
    }

    #[test]
    fn accepted_cases_have_reasons() {
        assert!(NON_STRICT.iter().all(|(case, reason)| !case.is_empty() && reason.len() > 20));
    }
}
