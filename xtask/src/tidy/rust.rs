//! Rules about Rust source: it says what it is for, a cfg stands where one looks for it, an allow gives its reason.

use super::Fault;
use super::scrub::code_only;

pub(super) fn check(path: &str, text: &str) -> Vec<Fault> {
    let code = code_only(text);
    let attributes = attributes(&code);
    let mut faults: Vec<_> = module_doc(path, text).into_iter().collect();
    faults.extend(features(path, &code, &attributes));
    faults.extend(allows(path, text, &code, &attributes));
    faults
}

/// A library's source file begins with what it is for; a file of tests is known by its name.
fn module_doc(path: &str, text: &str) -> Option<Fault> {
    let mut parts = path.split('/');
    let is_library = parts.next() == Some("crates") && parts.nth(1) == Some("src");
    let is_tests = path.ends_with("/tests.rs") || path.contains("/tests/");
    let begins = ["//!", "/*!", "#![doc = include_str!("].iter().any(|start| text.starts_with(start));
    let fault =
        || Fault::new(path, 1, "begins without a module doc: say in a `//!` line what the file is for");
    (is_library && !is_tests && !begins).then(fault)
}

/// A feature is looked at on `mod` and `use` lines alone, so that code reads the same whatever is switched on.
fn features(path: &str, code: &str, attributes: &[Attribute<'_>]) -> Vec<Fault> {
    if path.ends_with("/sync.rs") || path.ends_with("/trace.rs") {
        return Vec::new();
    }
    let mut offsets = Vec::new();
    for attribute in attributes.iter().filter(|attribute| names_a_feature(attribute.text)) {
        // A file of tests or an example has no `mod` line to stand on: there it stands on top.
        let is_target = attribute.text.starts_with("#![cfg(") && !path.contains("/src/");
        let is_outer = attribute.text.starts_with("#[cfg(");
        if (is_outer && !stands_on_a_module(&code[attribute.end..]))
            || (attribute.is_inner_cfg() && !is_target)
        {
            offsets.push(attribute.start);
        }
    }
    offsets.extend(
        code.match_indices("cfg!(").map(|(at, _)| at).filter(|&at| names_a_feature(line_at(code, at))),
    );
    let message =
        "a feature may be asked for on `mod` and `use` lines alone: move the code to a module of its own";
    offsets.into_iter().map(|at| Fault::new(path, line_number(code, at), message)).collect()
}

fn names_a_feature(text: &str) -> bool {
    text.match_indices("feature").any(|(at, word)| text[at + word.len()..].trim_start().starts_with('='))
}

/// Whether an attribute stands on a `mod` or a `use`, with other attributes between them or not.
fn stands_on_a_module(after: &str) -> bool {
    let mut rest = after.trim_start();
    while rest.starts_with("#[") {
        rest = rest[bracketed(rest)..].trim_start();
    }
    if let Some(public) = rest.strip_prefix("pub") {
        rest = public.trim_start();
        if let Some((_, inner)) = rest.strip_prefix('(').and_then(|scope| scope.split_once(')')) {
            rest = inner.trim_start();
        }
    }
    rest.starts_with("mod ") || rest.starts_with("use ")
}

/// A lint that is switched off says why, in a `reason` or in a comment on its line.
fn allows(path: &str, text: &str, code: &str, attributes: &[Attribute<'_>]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for attribute in attributes {
        let inside = attribute.text.trim_start_matches(['#', '!', '[']);
        let is_allow = inside.starts_with("allow(") || inside.starts_with("expect(");
        let line_end = text[attribute.end..].find('\n').map_or(text.len(), |at| attribute.end + at);
        // A comment is what stands in the text and not in the code.
        let commented = text[attribute.start..line_end].contains("// ");
        if is_allow && !commented && !attribute.text.contains("reason =") {
            let message =
                "switches a lint off without saying why: add `reason = \"...\"` or a comment on the line";
            faults.push(Fault::new(path, line_number(code, attribute.start), message));
        }
    }
    faults
}

/// An attribute, from its `#` to its `]`, in source without comments and literals.
struct Attribute<'a> {
    text: &'a str,
    start: usize,
    end: usize,
}

impl Attribute<'_> {
    fn is_inner_cfg(&self) -> bool {
        self.text.starts_with("#![cfg(")
    }
}

fn attributes(code: &str) -> Vec<Attribute<'_>> {
    let hashes = code.match_indices('#').map(|(start, _)| start);
    let starts = hashes.filter(|&start| code[start..].starts_with("#[") || code[start..].starts_with("#!["));
    starts
        .map(|start| {
            let end = start + bracketed(&code[start..]);
            Attribute { text: &code[start..end], start, end }
        })
        .collect()
}

/// The length of an attribute that begins here.
fn bracketed(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '[' => depth += 1,
            ']' if depth == 1 => return at + 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    code.len()
}

fn line_number(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

fn line_at(code: &str, at: usize) -> &str {
    let end = code[at..].find('\n').map_or(code.len(), |end| at + end);
    &code[at..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(path, text).into_iter().map(|fault| fault.line).collect()
    }

    #[test]
    fn a_library_file_says_what_it_is_for() {
        assert_eq!(lines("crates/a/src/lib.rs", "//! A.\n"), NONE);
        assert_eq!(lines("crates/a/src/lib.rs", "#![doc = include_str!(\"a.md\")]\n"), NONE);
        assert_eq!(lines("crates/a/src/b/tests.rs", "use super::*;\n"), NONE);
        assert_eq!(lines("crates/a/tests/b.rs", "fn a() {}\n"), NONE);
        assert_eq!(lines("crates/a/src/b.rs", "\n//! Late.\n"), [1]);
        assert_eq!(lines("crates/a/src/b.rs", "/// Of an item.\nfn b() {}\n"), [1]);
    }

    #[test]
    fn a_feature_stands_on_modules_alone() {
        let check = |item: &str| lines("xtask/src/a.rs", item);
        for item in
            ["mod a;", "pub mod a;", "pub(crate) mod a {}", "use a::b;", "#[doc(inline)]\npub use a::b;"]
        {
            assert_eq!(check(&format!("#[cfg(feature = \"a\")]\n{item}\n")), NONE, "{item}");
        }
        for item in ["fn a() {}", "pub struct A;", "#[inline]\nfn a() {}", "module!();", "pub fn a() {}"] {
            assert_eq!(check(&format!("\n#[cfg(feature = \"a\")]\n{item}\n")), [2], "{item}");
        }
        assert_eq!(check("#[cfg(any(\n    feature = \"a\",\n    test\n))]\nfn a() {}\n"), [1]);
        assert_eq!(check("fn a() {\n    if cfg!(feature = \"a\") {}\n}\n"), [2]);
        assert_eq!(check("#![cfg(feature = \"a\")]\n"), [1]);
        assert_eq!(lines("crates/a/tests/b.rs", "#![cfg(feature = \"a\")]\n"), NONE);
        assert_eq!(lines("crates/a/src/trace.rs", "//! A.\n#[cfg(feature = \"a\")]\nfn a() {}\n"), NONE);
        let hidden =
            "// #[cfg(feature = \"a\")]\nconst A: &str = \"#[cfg(feature = 1)]\";\n#[cfg(test)]\nfn a() {}\n";
        assert_eq!(check(hidden), NONE);
    }

    #[test]
    fn an_allow_gives_its_reason() {
        let check = |text: &str| lines("xtask/src/a.rs", text);
        assert_eq!(check("#[allow(dead_code)]\nfn a() {}\n"), [1]);
        assert_eq!(check("\n#![allow(dead_code)]\n"), [2]);
        assert_eq!(check("#[expect(\n    dead_code\n)]\nfn a() {} // elsewhere\n"), [1]);
        assert_eq!(check("#[allow(dead_code, reason = \"of use on Windows\")]\nfn a() {}\n"), NONE);
        assert_eq!(check("#[allow(dead_code)] // of use on Windows\nfn a() {}\n"), NONE);
        assert_eq!(check("const A: &str = \"#[allow(dead_code)]\";\n// #[allow(dead_code)]\n"), NONE);
    }
}
