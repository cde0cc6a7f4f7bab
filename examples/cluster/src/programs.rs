//! The other programs: found or named, started, and ended with this one.

use anyhow::{Context, bail, ensure};
use std::{net::TcpListener, path::PathBuf, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// A program of the system.
pub(crate) struct Program {
    path: PathBuf,
    /// What to do where it is missing.
    missing: String,
}

impl Program {
    pub(crate) fn nats() -> Self {
        Self::named("nats-server", "TIDINGS_NATS_SERVER", "/usr/sbin/nats-server")
    }

    pub(crate) fn haproxy() -> Self {
        Self::named("haproxy", "TIDINGS_HAPROXY", "/usr/sbin/haproxy")
    }

    /// This one again.
    pub(crate) fn node() -> Self {
        let path = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
        Self { path, missing: "it was there a moment ago".to_owned() }
    }

    fn named(package: &str, variable: &str, usual: &str) -> Self {
        let path = std::env::var_os(variable).filter(|path| !path.is_empty());
        let missing = format!(
            "on Debian `apt-get install {package}` brings it; {variable} names one that is elsewhere"
        );
        Self { path: path.unwrap_or_else(|| usual.into()).into(), missing }
    }

    pub(crate) fn start(&self, args: &[&str]) -> anyhow::Result<Running> {
        let name = self.path.display().to_string();
        let child = Command::new(&self.path)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // What goes wrong is seen; what NATS tells of its start is not wanted.
            .stderr(if name.ends_with("nats-server") { Stdio::null() } else { Stdio::inherit() })
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}; {}", self.missing))?;
        let id = child.id().context("it has ended at once")?;
        Ok(Running { child, name, id })
    }
}

/// A program that runs. It ends when this is dropped.
pub(crate) struct Running {
    child: Child,
    name: String,
    id: u32,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The first line that it says.
    pub(crate) async fn line(&mut self) -> anyhow::Result<String> {
        let output = self.child.stdout.take().context("its first line was read")?;
        let mut line = String::new();
        let read = timeout(PATIENCE, BufReader::new(output).read_line(&mut line)).await;
        read.with_context(|| format!("{} says nothing", self.name))??;
        ensure!(!line.is_empty(), "{} has ended", self.name);
        Ok(line.trim_end().to_owned())
    }

    /// Whether it has not ended, as far as was seen.
    pub(crate) fn runs(&self) -> bool {
        self.child.id().is_some()
    }

    /// Resolves when it has ended, which is nothing that it should.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        let status = self.child.wait().await?;
        bail!("{} has ended: {status}", self.name)
    }

    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// A port of the loopback that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

const PATIENCE: Duration = Duration::from_secs(10);
