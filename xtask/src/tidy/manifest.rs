//! Every dependency says why it is there.

use super::Fault;
use crate::workspace::Workspace;

/// Each dependency has a comment on its line, or on its line in the root manifest if it is inherited from there.
///
/// Our own crates need none: the arrows say why they are there.
pub(super) fn reasons(path: &str, text: &str, root: &str, workspace: &Workspace) -> Vec<Fault> {
    let is_ours = |name: &str| workspace.members().iter().any(|member| member.name == name);
    unexplained(text, root)
        .into_iter()
        .filter(|entry| !is_ours(&entry.name))
        .map(|entry| {
            let name = entry.name;
            Fault::new(
                path,
                entry.line,
                format!("`{name}` does not say why it is there: add a `#` comment to its line"),
            )
        })
        .collect()
}

/// The line of a dependency, counting from 1; the first line if it has none of its own.
pub(super) fn line_of(text: &str, name: &str) -> usize {
    entries(text, |_| true).into_iter().find(|entry| entry.name == name).map_or(1, |entry| entry.line)
}

fn unexplained(text: &str, root: &str) -> Vec<Entry> {
    let root = entries(root, |table| table == "workspace.dependencies");
    let explained_at_root = |name: &str| root.iter().any(|entry| entry.name == name && entry.explained);
    let is_wanted = |table: &str| {
        matches!(table, "dependencies" | "build-dependencies")
            || (table.starts_with("target.") && table.ends_with(".dependencies"))
    };
    let entries = entries(text, is_wanted).into_iter();
    entries.filter(|entry| !(entry.explained || entry.inherited && explained_at_root(&entry.name))).collect()
}

/// A dependency as it stands in a manifest.
struct Entry {
    name: String,
    line: usize,
    inherited: bool,
    explained: bool,
}

/// The entries of the tables that are wanted. Reads lines, as comments are what matters here.
fn entries(text: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut wanted = false;
    let mut depth = 0_isize; // open brackets of a value that spans lines
    let mut in_subtable = false; // `[dependencies.name]`: its lines belong to one entry
    for (index, line) in text.lines().enumerate() {
        let (code, comment) = split_comment(line);
        let code = code.trim();
        if depth == 0 && code.starts_with('[') {
            let table = code.trim_matches(['[', ']']);
            wanted = is_wanted(table);
            let subtable = table.rsplit_once('.').filter(|(parent, _)| !wanted && is_wanted(parent));
            in_subtable = subtable.is_some();
            if let Some((_, name)) = subtable {
                wanted = true;
                entries.push(Entry::new(name, index + 1, comment));
            }
            continue;
        }
        if !wanted || code.is_empty() {
            continue;
        }
        if depth == 0 && !in_subtable {
            let name = code.split(['.', '=', ' ']).next().unwrap_or(code).trim_matches('"');
            entries.push(Entry::new(name, index + 1, comment));
        }
        if let Some(entry) = entries.last_mut() {
            entry.inherited |= code.contains("workspace = true");
            entry.explained |= comment;
        }
        depth += balance(code);
    }
    entries
}

impl Entry {
    fn new(name: &str, line: usize, explained: bool) -> Self {
        Self { name: name.to_owned(), line, inherited: false, explained }
    }
}

/// The code of a line, and whether a comment of at least a letter follows it.
fn split_comment(line: &str) -> (&str, bool) {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return (&line[..at], line[at..].contains(char::is_alphabetic)),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    (line, false)
}

fn balance(code: &str) -> isize {
    let count = |brackets: [char; 2]| isize::try_from(code.matches(brackets).count()).unwrap_or(0);
    count(['[', '{']) - count([']', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[workspace.dependencies]\nbytes = \"1\" # shared bytes\nhttp = \"1\"\n";

    const NONE: [(String, usize); 0] = [];

    fn check(text: &str) -> Vec<(String, usize)> {
        unexplained(text, ROOT).into_iter().map(|entry| (entry.name, entry.line)).collect()
    }

    #[test]
    fn a_comment_here_or_in_the_root_explains() {
        assert_eq!(
            check("[dependencies]\nbytes.workspace = true\nhttp.workspace = true # types of the API\n"),
            []
        );
        assert_eq!(check("[dependencies]\nbytes = { workspace = true, features = [\"std\"] }\n"), NONE);
        assert_eq!(
            check("[dependencies]\nslab = { version = \"1\", features = [\n  \"std\",\n] } # keys\n"),
            []
        );
        assert_eq!(check("[dependencies.slab] # keys\nversion = \"1\"\n"), NONE);
        assert_eq!(check("[dev-dependencies]\nslab = \"1\"\n[features]\nws = [\"dep:slab\"]\n"), NONE);
    }

    #[test]
    fn without_one_it_is_a_fault() {
        assert_eq!(check("[dependencies]\nhttp.workspace = true\n"), [("http".to_owned(), 2)]);
        assert_eq!(check("[dependencies]\nbytes = \"1\"\n"), [("bytes".to_owned(), 2)]);
        assert_eq!(check("[dependencies]\nslab = { git = \"a#b\" }\n"), [("slab".to_owned(), 2)]);
        assert_eq!(check("[dependencies]\nslab = \"1\" #\n"), [("slab".to_owned(), 2)]);
        assert_eq!(check("[package]\n\n[dependencies.slab]\nversion = \"1\"\n"), [("slab".to_owned(), 3)]);
        assert_eq!(check("[target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n"), [("libc".to_owned(), 2)]);
        assert_eq!(
            check("[dependencies]\na = { features = [\n \"b\",\n] }\nc = \"1\" # d\n"),
            [("a".to_owned(), 2)]
        );
    }

    #[test]
    fn a_dependency_is_found_by_its_line() {
        assert_eq!(line_of("[package]\nname = \"x\"\n[dependencies]\nslab = \"1\"\n", "slab"), 4);
        assert_eq!(line_of("[package]\n", "slab"), 1);
    }
}
