//! Which crate may depend on which.

use cargo_metadata::{DependencyKind, Package};

use super::Fault;
use super::manifest;
use crate::workspace::Workspace;

/// Checks what a crate depends on, always or by a feature. What only its tests need is its own affair.
pub(super) fn check(workspace: &Workspace, package: &Package, path: &str, manifest: &str) -> Vec<Fault> {
    let is_example = path.starts_with("examples/") && package.publish.as_ref().is_some_and(Vec::is_empty);
    let Some(allowed) = allowed(&package.name, is_example) else {
        let place =
            "add it to the table in xtask/src/tidy/arrows.rs (an example needs `publish = false` instead)";
        return vec![Fault::new(
            path,
            1,
            format!("`{}` has no place in the architecture: {place}", package.name),
        )];
    };
    let used =
        package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
    let mut faults = Vec::new();
    for dependency in used {
        let is_ours = workspace.members().iter().any(|member| member.name == dependency.name);
        if let Some(message) = fault(&package.name, allowed, &dependency.name, is_ours) {
            let key = dependency.rename.as_ref().unwrap_or(&dependency.name);
            faults.push(Fault::new(path, manifest::line_of(manifest, key), message));
        }
    }
    faults
}

/// The crates of ours that a crate may use, or nothing for one without a place in the table.
fn allowed(name: &str, is_example: bool) -> Option<&'static [&'static str]> {
    if is_example {
        return Some(&["tidings"]);
    }
    ARROWS.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
}

fn fault(from: &str, allowed: &[&str], to: &str, is_ours: bool) -> Option<String> {
    if is_ours && !allowed.contains(&to) {
        let may = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
        let place = "remove it, or move the code that needs it";
        return Some(format!(
            "`{from}` must not depend on `{to}` (of our crates it may use: {may}): {place}"
        ));
    }
    if from == "tidings-core" && NEVER_IN_CORE.contains(&to) {
        return Some(format!(
            "`{from}` knows no transport and no broker: move what needs `{to}` to another crate"
        ));
    }
    None
}

/// Every crate, and the crates of ours it may depend on. Never transport to transport, never transport to broker.
const ARROWS: &[(&str, &[&str])] = &[
    ("tidings-core", &[]),
    ("tidings-http", &["tidings-core"]),
    ("tidings-sse", &["tidings-core", "tidings-http"]),
    ("tidings-long-poll", &["tidings-core", "tidings-http"]),
    ("tidings-ws", &["tidings-core", "tidings-http"]),
    ("tidings-redis", &["tidings-core"]),
    ("tidings-nats", &["tidings-core"]),
    ("tidings-client", &["tidings-core"]),
    ("tidings-jwt", &["tidings-core"]),
    ("tidings-js", &[]),
    (
        "tidings",
        &[
            "tidings-core",
            "tidings-http",
            "tidings-sse",
            "tidings-long-poll",
            "tidings-ws",
            "tidings-redis",
            "tidings-nats",
            "tidings-client",
            "tidings-js",
            "tidings-jwt",
        ],
    ),
    (
        "tidings-testkit",
        &["tidings-core", "tidings-http", "tidings-sse", "tidings-long-poll", "tidings-ws", "tidings"],
    ),
    ("tidings-bench", &["tidings", "tidings-core", "tidings-ws"]),
    ("xtask", &[]),
];

const NEVER_IN_CORE: &[&str] =
    &["hyper", "hyper-util", "tungstenite", "tokio-tungstenite", "redis", "async-nats"];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, to: &str, is_ours: bool) -> Option<String> {
        fault(
            from,
            allowed(from, from == "chat").unwrap_or_else(|| panic!("{from} is in the table")),
            to,
            is_ours,
        )
    }

    #[test]
    fn arrows_of_the_table_are_allowed() {
        for (from, to) in [
            ("tidings-sse", "tidings-http"),
            ("tidings", "tidings-redis"),
            ("tidings-testkit", "tidings"),
            ("chat", "tidings"),
        ] {
            assert_eq!(check(from, to, true), None);
        }
        assert_eq!(check("tidings-http", "hyper", false), None);
    }

    #[test]
    fn other_arrows_are_faults() {
        for (from, to) in [
            ("tidings-core", "tidings-http"),
            ("tidings-sse", "tidings-ws"),
            ("tidings-ws", "tidings-redis"),
            ("tidings", "tidings-testkit"),
            ("chat", "tidings-core"),
            ("xtask", "tidings-core"),
        ] {
            let message = check(from, to, true).unwrap();
            assert!(message.contains(from) && message.contains(to), "{message}");
        }
        for to in NEVER_IN_CORE {
            assert!(check("tidings-core", to, false).unwrap().contains(to));
        }
    }

    #[test]
    fn a_crate_without_a_place_is_noticed() {
        assert_eq!(allowed("tidings-kafka", false), None);
        assert_eq!(allowed("chat", false), None);
    }
}
