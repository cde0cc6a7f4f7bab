//! A NATS server of our own.

use anyhow::{Context, Result};
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A NATS server with JetStream on a free port of the loopback, and a store that goes with it. It ends when it is dropped.
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    port: u16,
    _store: TempDir,
}

impl NatsServer {
    /// Starts what `TIDINGS_NATS_SERVER` names, or Debian's. It takes connections a moment later.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start() -> Result<Self> {
        let named = std::env::var("TIDINGS_NATS_SERVER").ok().filter(|name| !name.is_empty());
        let program = named.unwrap_or_else(|| "/usr/sbin/nats-server".to_owned());
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let store = TempDir::new()?;
        let child = Command::new(&program)
            .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
            .arg(store.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {program}; TIDINGS_NATS_SERVER names another"))?;
        Ok(Self { child, port, _store: store })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Its port on the loopback.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // One that has ended by itself needs no more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
