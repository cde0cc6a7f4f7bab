//! A proxy in front of nodes: a program of another maker's, with a folder of its own.

use crate::clients::{LIMIT, free_address, status};
use std::{
    fs::Permissions,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tidings_testkit::within;
use tokio::time::sleep;

/// A proxy. It ends when it is dropped.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) address: SocketAddr,
    _folder: TempDir,
}

/// Which proxy, and how it is started: in its arguments and its configuration `FILE`, `FOLDER` and `ADDRESS` stand for what it is
/// given.
pub(crate) struct Program {
    /// What may name it in the environment.
    pub(crate) variable: &'static str,
    /// Where it is else.
    pub(crate) usual: &'static str,
    pub(crate) args: &'static [&'static str],
}

pub(crate) const HAPROXY: Program =
    Program { variable: "TIDINGS_HAPROXY", usual: "/usr/sbin/haproxy", args: &["-db", "-q", "-f", "FILE"] };

impl Proxy {
    /// Starts a proxy, and waits until it answers a request with 200.
    pub(crate) async fn start(program: &Program, configuration: &str, ready: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        // Started by root, its workers are somebody else.
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("our own folder");
        let (path, address) = (folder.path().display().to_string(), free_address());
        let file = format!("{path}/configuration");
        let fill = |text: &str| {
            text.replace("FILE", &file).replace("FOLDER", &path).replace("ADDRESS", &address.to_string())
        };
        std::fs::write(&file, fill(configuration)).expect("written");
        let named = std::env::var(program.variable).ok().filter(|name| !name.is_empty());
        let name = named.unwrap_or_else(|| program.usual.to_owned());
        let mut command = Command::new(&name);
        command.args(program.args.iter().map(|arg| fill(arg))).stdin(Stdio::null());
        for home in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env(home, &path);
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let mut proxy = Self { child, address, _folder: folder };
        within(LIMIT, "the proxy", async {
            while status(address, ready).await != Some(200) {
                let ended = proxy.child.try_wait().expect("it can be asked");
                assert!(ended.is_none(), "{name} has ended: {ended:?}");
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // One that has ended by itself needs no more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
