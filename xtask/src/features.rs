//! The facade's features: each stands alone, and a transport or a broker alone builds no other.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::run::cargo;
use crate::setup::{self, Tool};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::ensure(Tool::Clippy)?;
    let features = &workspace.member(FACADE)?.features;
    lint(&["--no-default-features"])?;
    for feature in features.keys() {
        lint(&["--no-default-features", "--features", feature])?;
    }
    lint(&["--all-features"])?;

    check_tree(None)?;
    for (feature, _) in EXCLUSIVE {
        ensure!(
            features.contains_key(*feature),
            "`{FACADE}` has no feature `{feature}`; see EXCLUSIVE in {}",
            file!()
        );
        check_tree(Some(feature))?;
    }
    Ok(())
}

fn lint(selection: &[&str]) -> Result<()> {
    cargo(&["clippy", "-p", FACADE]).args(selection).args(&["--", "-D", "warnings"]).run()
}

fn check_tree(feature: Option<&str>) -> Result<()> {
    let selection: &[&str] = if let Some(feature) = &feature { &["--features", feature] } else { &[] };
    let tree = cargo(&["tree", "-p", FACADE, "--no-default-features"]).args(selection);
    let tree = tree.args(&["-e", "normal", "--prefix", "none"]).read()?;
    let strangers = strangers(feature, &tree);
    let asked =
        feature.map_or_else(|| "no feature".to_owned(), |feature| format!("only the feature `{feature}`"));
    ensure!(strangers.is_empty(), "`{FACADE}` with {asked} builds {}", strangers.join(", "));
    Ok(())
}

/// The crates in a `cargo tree` that belong to a transport or a broker which was not asked for.
fn strangers(feature: Option<&str>, tree: &str) -> Vec<&'static str> {
    let built: BTreeSet<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let others = EXCLUSIVE.iter().filter(|(other, _)| feature != Some(other));
    others.flat_map(|(_, crates)| *crates).copied().filter(|name| built.contains(name)).collect()
}

const FACADE: &str = "tidings";

/// The feature of each transport and each broker, and the crates that only this one needs.
const EXCLUSIVE: &[(&str, &[&str])] = &[
    ("sse", &["tidings-sse"]),
    ("long-poll", &["tidings-long-poll"]),
    ("ws", &["tidings-ws", "tungstenite", "flate2"]),
    ("nats", &["tidings-nats", "async-nats"]),
    ("redis", &["tidings-redis", "redis"]),
];

#[cfg(test)]
mod tests {
    use super::strangers;

    const TREE: &str =
        "tidings v0.1.0\ntidings-ws v0.1.0 (crates/tidings-ws)\ntungstenite v0.30.0 (*)\nbytes v1.12.2\n";

    #[test]
    fn a_transport_may_build_its_own_crates_and_no_others() {
        assert!(strangers(Some("ws"), TREE).is_empty());
        assert_eq!(strangers(Some("sse"), TREE), ["tidings-ws", "tungstenite"]);
        assert_eq!(strangers(None, TREE), ["tidings-ws", "tungstenite"]);
        assert!(strangers(None, "tidings v0.1.0\ntidings-core v0.1.0\n").is_empty());
    }
}
