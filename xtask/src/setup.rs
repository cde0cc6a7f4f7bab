//! The tools that tasks need: found, installed where that is wanted, or named together with the line that installs them.

use std::path::Path;

use anyhow::{Result, bail};

use crate::run::{Cmd, cargo};

/// A program that is not part of a bare Rust toolchain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Rustfmt,
    Clippy,
    Git,
    Node,
    Chromium,
    Nginx,
    Haproxy,
    Caddy,
    Nats,
    Redis,
    Python,
    Cxx,
    /// nginx with its module nchan
    Nchan,
    /// What the bindings of uWebSockets need
    Libuv,
}

/// Makes sure that a tool is there. Installs it with `CI` set or as root on Debian, else fails with the line to type.
pub(crate) fn ensure(tool: Tool) -> Result<()> {
    if tool.works() {
        return Ok(());
    }
    let (name, line) = (tool.name(), shown(&tool.installation()));
    if !may_install() {
        bail!("{name} is missing; install it with: {line}");
    }
    println!("{name} is missing: installing it");
    for command in tool.installation() {
        // Whether that was enough is asked below: a component that is already there is no failure.
        if let Err(error) = command.run() {
            println!("{error:#}");
        }
        if tool.works() {
            return Ok(());
        }
    }
    bail!("{name} is still missing after: {line}");
}

/// The browser: what `CHROMIUM` names, or the usual place.
pub(crate) fn chromium() -> String {
    named("CHROMIUM", "/usr/bin/chromium")
}

/// The proxy: what `TIDINGS_NGINX` names, or the usual place, which is on the `PATH` of root alone.
pub(crate) fn nginx() -> String {
    named("TIDINGS_NGINX", "/usr/sbin/nginx")
}

/// The proxy: what `TIDINGS_HAPROXY` names, or the usual place.
pub(crate) fn haproxy() -> String {
    named("TIDINGS_HAPROXY", "/usr/sbin/haproxy")
}

/// The proxy: what `TIDINGS_CADDY` names, or the usual place.
fn caddy() -> String {
    named("TIDINGS_CADDY", "/usr/bin/caddy")
}

/// The message broker: what `TIDINGS_NATS_SERVER` names, or the usual place.
fn nats() -> String {
    named("TIDINGS_NATS_SERVER", "/usr/sbin/nats-server")
}

/// The database: what `TIDINGS_REDIS_SERVER` names, or the usual place.
fn redis() -> String {
    named("TIDINGS_REDIS_SERVER", "/usr/bin/redis-server")
}

/// The C++ compiler, as the build script of a crate finds it.
fn cxx() -> String {
    named("CXX", "c++")
}

fn named(variable: &str, usual: &str) -> String {
    std::env::var(variable).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| usual.to_owned())
}

impl Tool {
    fn name(self) -> String {
        match self {
            Self::Rustfmt => "rustfmt".to_owned(),
            Self::Clippy => "clippy".to_owned(),
            Self::Git => "git".to_owned(),
            Self::Node => format!("node {NODE_MAJOR} or newer with npm"),
            Self::Chromium => format!("chromium (looked for {})", chromium()),
            Self::Nginx => format!("nginx (looked for {})", nginx()),
            Self::Haproxy => format!("haproxy (looked for {})", haproxy()),
            Self::Caddy => format!("caddy (looked for {})", caddy()),
            Self::Nats => format!("nats-server (looked for {})", nats()),
            Self::Redis => format!("redis-server (looked for {})", redis()),
            Self::Python => "python 3.11 or newer with venv".to_owned(),
            Self::Cxx => "a C++ compiler (looked for what CXX names, or c++)".to_owned(),
            Self::Nchan => format!("nginx with nchan (looked for {NCHAN})"),
            Self::Libuv => "libuv".to_owned(),
        }
    }

    fn works(self) -> bool {
        match self {
            Self::Rustfmt => cargo(&["fmt", "--version"]).probe().is_some(),
            Self::Clippy => cargo(&["clippy", "--version"]).probe().is_some(),
            Self::Git => Cmd::new("git", &["--version"]).probe().is_some(),
            Self::Node => {
                let version = Cmd::new("node", &["--version"]).probe();
                let npm = Cmd::new("npm", &["--version"]).probe();
                npm.is_some()
                    && version.and_then(|version| major(&version)).is_some_and(|major| major >= NODE_MAJOR)
            }
            Self::Chromium => Path::new(&chromium()).is_file(),
            Self::Nginx => Path::new(&nginx()).is_file(),
            Self::Haproxy => Path::new(&haproxy()).is_file(),
            Self::Caddy => Path::new(&caddy()).is_file(),
            Self::Nats => Path::new(&nats()).is_file(),
            Self::Redis => Path::new(&redis()).is_file(),
            // Debian has `ensurepip`, without which an environment has no pip, in a package of its own.
            Self::Python => {
                let check = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))";
                Cmd::new("python3", &["-c", check]).probe().is_some()
            }
            Self::Cxx => Cmd::new(&cxx(), &["--version"]).probe().is_some(),
            Self::Nchan => Path::new(NCHAN).is_file(),
            Self::Libuv => {
                let check = "import ctypes; ctypes.CDLL('libuv.so.1')";
                Cmd::new("python3", &["-c", check]).probe().is_some()
            }
        }
    }

    /// What to run, in order, until the tool works.
    fn installation(self) -> Vec<Cmd> {
        match self {
            Self::Rustfmt => vec![Cmd::new("rustup", &["component", "add", "rustfmt"])],
            Self::Clippy => vec![Cmd::new("rustup", &["component", "add", "clippy"])],
            Self::Git => apt(&["git", "ca-certificates"]),
            Self::Node => {
                let mut commands = apt(&["nodejs", "npm"]);
                // Debian 12 has an older node; npm can bring a newer one.
                commands.push(as_root("npm", &["install", "--global", "node@22"]));
                commands
            }
            Self::Chromium => apt(&["chromium"]),
            Self::Nginx => apt_without_starting(&["nginx"]),
            Self::Haproxy => apt_without_starting(&["haproxy"]),
            Self::Caddy => apt_without_starting(&["caddy"]),
            Self::Nats => apt_without_starting(&["nats-server"]),
            Self::Redis => apt_without_starting(&["redis-server"]),
            Self::Python => apt(&["python3", "python3-venv"]),
            Self::Cxx => apt(&["g++"]),
            Self::Nchan => apt_without_starting(&["nginx", "libnginx-mod-nchan"]),
            Self::Libuv => apt(&["libuv1"]),
        }
    }
}

/// Where Debian has the module.
pub(crate) const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

fn apt(packages: &[&str]) -> Vec<Cmd> {
    // Through `env`, since sudo keeps no variables.
    let install = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends"];
    vec![as_root("apt-get", &["update"]), as_root("env", &install).args(packages)]
}

/// Installs packages whose service is not wanted: Debian would start it, and nginx would have port 80.
fn apt_without_starting(packages: &[&str]) -> Vec<Cmd> {
    let install = as_root("sh", &["-c", INSTALL_WITHOUT_STARTING, "sh"]).args(packages);
    vec![as_root("apt-get", &["update"]), install]
}

fn as_root(program: &str, args: &[&str]) -> Cmd {
    if is_root() { Cmd::new(program, args) } else { Cmd::new("sudo", &["-n", program]).args(args) }
}

fn shown(commands: &[Cmd]) -> String {
    commands.iter().map(Cmd::shown).collect::<Vec<_>>().join(" && ")
}

fn may_install() -> bool {
    let in_ci = std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    in_ci || (is_root() && Path::new("/etc/debian_version").is_file())
}

fn is_root() -> bool {
    Cmd::new("id", &["-u"]).probe().as_deref() == Some("0")
}

fn major(version: &str) -> Option<u32> {
    version.trim_start_matches('v').split('.').next()?.parse().ok()
}

/// A policy that starts nothing (Debian's `invoke-rc.d` asks it), for as long as this takes; containers have one already.
const INSTALL_WITHOUT_STARTING: &str = concat!(
    "policy=/usr/sbin/policy-rc.d; ",
    r##"test -e $policy || { trap "rm -f $policy" EXIT; "##,
    r##"printf "#!/bin/sh\nexit 101\n" >$policy; chmod 755 $policy; }; "##,
    r#"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@""#,
);

/// The first node whose test runner finds test files by itself and filters them by name.
const NODE_MAJOR: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_node_is_read() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("v9.0.0"), Some(9));
        assert_eq!(major("unknown"), None);
    }

    #[test]
    fn the_installing_line_is_one_line() {
        let line = shown(&Tool::Chromium.installation());
        assert!(line.contains("apt-get update && "), "{line}");
        assert!(line.ends_with("apt-get install -y --no-install-recommends chromium"), "{line}");
        let line = shown(&Tool::Nginx.installation());
        assert!(!line.contains('\n') && line.ends_with(" sh nginx"), "{line}");
    }
}
