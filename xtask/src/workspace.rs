//! The workspace as cargo sees it.

use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand, Package};

pub(crate) struct Workspace {
    metadata: Metadata,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        let metadata = MetadataCommand::new().no_deps().exec().context("cannot read the workspace")?;
        Ok(Self { metadata })
    }

    pub(crate) fn root(&self) -> &Path {
        self.metadata.workspace_root.as_std_path()
    }

    pub(crate) fn target_directory(&self) -> &str {
        self.metadata.target_directory.as_str()
    }

    pub(crate) fn members(&self) -> &[Package] {
        &self.metadata.packages
    }

    pub(crate) fn member(&self, name: &str) -> Result<&Package> {
        let found = self.members().iter().find(|package| package.name == name);
        found.with_context(|| format!("the workspace has no crate `{name}`"))
    }

    /// A member's manifest, relative to the top of the workspace and with `/` on every system.
    pub(crate) fn manifest(&self, package: &Package) -> String {
        let path = &package.manifest_path;
        path.strip_prefix(&self.metadata.workspace_root).unwrap_or(path).as_str().replace('\\', "/")
    }

    /// The members under `examples/`.
    pub(crate) fn examples(&self) -> impl Iterator<Item = &Package> {
        self.members().iter().filter(|package| self.manifest(package).starts_with("examples/"))
    }
}
