//! Rules about files, whatever stands in them: where they are, how long they grow, no path of somebody's machine.

use std::collections::BTreeSet;
use std::path::Path;

use super::Fault;
use super::scrub::code_only;

/// The top level holds what everybody looks for there, and nothing else.
pub(super) fn top_level<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<Fault> {
    let names: BTreeSet<_> = paths.filter_map(|path| path.split('/').next()).collect();
    let strangers = names.into_iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(name));
    strangers
        .map(|name| {
            Fault::new(name, 1, "does not belong at the top level: move it into a crate, or remove it")
        })
        .collect()
}

/// Checks the length of a source file and of its inline tests: faults, and a warning past the soft limit.
pub(super) fn length(path: &str, text: &str) -> (Option<Fault>, Option<Fault>) {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    if !matches!(extension, Some("rs" | "js" | "mjs")) {
        return (None, None);
    }
    let lines = text.lines().count();
    if lines > HARD_LIMIT {
        let message = format!("{lines} lines are more than {HARD_LIMIT}: split the file by concern");
        return (Some(Fault::new(path, HARD_LIMIT + 1, message)), None);
    }
    let warning = (lines > SOFT_LIMIT).then(|| {
        let message =
            format!("{lines} lines are more than {SOFT_LIMIT}: think about splitting the file by concern");
        Fault::new(path, SOFT_LIMIT + 1, message)
    });
    let fault = (extension == Some("rs")).then(|| inline_tests(text)).flatten().and_then(|(first, lines)| {
        let message =
            format!("{lines} lines of inline tests are more than {TESTS_LIMIT}: move them to tests.rs");
        (lines > TESTS_LIMIT).then(|| Fault::new(path, first, message))
    });
    (fault, warning)
}

/// Where `mod tests {` begins, counting from 1, and how many lines it has.
fn inline_tests(text: &str) -> Option<(usize, usize)> {
    let code = code_only(text);
    let mut lines = code.lines().enumerate().skip_while(|(_, line)| !line.starts_with("mod tests {"));
    let (first, _) = lines.next()?;
    let last =
        lines.find(|(_, line)| line.starts_with('}')).map_or(code.lines().count() - 1, |(last, _)| last);
    Some((first + 1, last - first + 1))
}

/// No tracked file names a place that exists on one machine only.
pub(super) fn machine_paths(path: &str, text: &str) -> Vec<Fault> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if matches!(name, "Cargo.lock" | "package-lock.json") {
        return Vec::new();
    }
    // Put together here, so that this file does not name them.
    let needles = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for needle in needles.iter().filter(|needle| has_absolute(line, needle)) {
            let message =
                format!("names a place on somebody's machine (`{needle}`): make it relative, or remove it");
            faults.push(Fault::new(path, index + 1, message));
        }
    }
    faults
}

/// Whether a path begins with the needle; in the middle of a longer path or an address it is harmless.
fn has_absolute(line: &str, needle: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || "_-.~)}]>".contains(c);
    line.match_indices(needle).any(|(at, _)| !line[..at].ends_with(goes_on))
}

const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "PROTOCOL.md",
    "README.md",
    "crates",
    "examples",
    "xtask",
];

const HARD_LIMIT: usize = 500;
const SOFT_LIMIT: usize = 300;
const TESTS_LIMIT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_at_the_top_level_are_named_once() {
        let paths =
            ["Cargo.toml", ".ci/run", "crates/tidings/src/lib.rs", "notes/a.md", "notes/b.md", "TODO"];
        let names: Vec<_> = top_level(paths.into_iter()).into_iter().map(|fault| fault.path).collect();
        assert_eq!(names, ["TODO", "notes"]);
    }

    #[test]
    fn files_have_a_soft_and_a_hard_limit() {
        let check = |path, lines| {
            let (fault, warning) = length(path, &"\n".repeat(lines));
            (fault.is_some(), warning.is_some())
        };
        assert_eq!(check("a.rs", 300), (false, false));
        assert_eq!(check("a.mjs", 301), (false, true));
        assert_eq!(check("a.rs", 500), (false, true));
        assert_eq!(check("a.js", 501), (true, false));
        assert_eq!(check("a.md", 501), (false, false));
    }

    #[test]
    fn inline_tests_have_a_limit() {
        let check = |inner: usize| {
            let text =
                format!("fn a() {{}}\n\n#[cfg(test)]\nmod tests {{\n{}}}\n", "    a();\n".repeat(inner));
            length("a.rs", &text).0.map(|fault| fault.line)
        };
        assert_eq!(check(98), None);
        assert_eq!(check(99), Some(4));
        assert_eq!(inline_tests("mod tests;\n"), None);
        assert_eq!(inline_tests("mod tests {\nlet a = \"\n}\n\";\n}\n"), Some((1, 5)));
    }

    #[test]
    fn places_on_a_machine_are_found() {
        let check = |path: &str, text: &str| machine_paths(path, text).len();
        let home = format!("/{}/", "home");
        assert_eq!(check("a.md", &format!("see\n{home}me/notes")), 1);
        assert_eq!(check("a.rs", &format!("\"{home}me\" and file://{home}me")), 1);
        assert_eq!(check("a.md", &format!("crates{home}a, https://example.org{home}a, {{base}}{home}")), 0);
        assert_eq!(check("examples/chat/browser/package-lock.json", &home), 0);
    }
}
