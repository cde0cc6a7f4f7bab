//! Installing what a folder's `package-lock.json` asks for.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;

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
