//! Folders with a `package.json`: installing what their lock file asks for, and their tests.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::run::Cmd;

/// Installs what the lock file asks for, unless it is there.
pub(crate) fn install(directory: &str) -> Result<()> {
    let changed =
        |name: &str| fs::metadata(Path::new(directory).join(name)).and_then(|file| file.modified()).ok();
    if is_fresh(changed("package-lock.json"), changed("node_modules/.package-lock.json")) {
        return Ok(());
    }
    Cmd::new("npm", &["ci", "--no-audit", "--no-fund"]).directory(directory).run()
}

/// Whether what npm installed is at least as new as what was asked for.
fn is_fresh(asked: Option<SystemTime>, installed: Option<SystemTime>) -> bool {
    asked.zip(installed).is_some_and(|(asked, installed)| installed >= asked)
}

/// The files of tests in a folder, in the order of their names. Node 20 would take every file in a folder `test` for one.
pub(crate) fn tests(directory: &Path) -> Result<Vec<String>> {
    let cannot = || format!("cannot list {}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(cannot)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".test.mjs") {
            files.push(name);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn packages_are_installed_again_when_the_lock_file_is_newer() {
        let (early, late) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        assert!(is_fresh(Some(early), Some(late)) && is_fresh(Some(early), Some(early)));
        assert!(!is_fresh(Some(late), Some(early)));
        assert!(!is_fresh(Some(early), None) && !is_fresh(None, Some(late)));
    }
}
