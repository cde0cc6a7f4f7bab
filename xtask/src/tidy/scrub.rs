//! Rust source without its comments and literals, so that a rule cannot mistake a word in a string for code.

/// Blanks comments, strings and character literals. Every other byte, and every line, keeps its place.
pub(super) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let hidden = hidden_length(rest, previous);
        let length = hidden.unwrap_or(first.len_utf8());
        let (token, after) = rest.split_at(length);
        if hidden.is_some() {
            code.extend(token.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        } else {
            code.push_str(token);
        }
        previous = token.chars().next_back().unwrap_or(' ');
        rest = after;
    }
    code
}

/// The length of the comment or literal that `rest` begins with, if it begins with one.
fn hidden_length(rest: &str, previous: char) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    if let Some(after) = rest.strip_prefix('\'') {
        // 'a' and '\n' are characters, 'a in any other company is a lifetime.
        let mut chars = after.chars();
        let is_escape = chars.next()? == '\\';
        return (is_escape || chars.next() == Some('\'')).then(|| quoted(rest, '\''));
    }
    let in_a_word = previous.is_alphanumeric() || previous == '_';
    if in_a_word { None } else { raw_string(rest) }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let after_prefix = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let after_hashes = after_prefix.trim_start_matches('#');
    let hashes = after_prefix.len() - after_hashes.len();
    let body = after_hashes.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let closing = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(rest.len() - body.len() + closing)
}

#[cfg(test)]
mod tests {
    use super::code_only;

    #[test]
    fn comments_and_literals_are_blank_and_the_rest_stays() {
        for (source, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ \n d */ e", "a              \n      e"),
            (r#"f("x\"y", z)"#, "f(      , z)"),
            (r##"f(r#"x"y"#, z)"##, "f(        , z)"),
            (r#"f(br"\", z)"#, "f(     , z)"),
        ] {
            let scrubbed = code_only(source);
            assert_eq!(scrubbed, code, "{source:?}");
        }
        assert_eq!(code_only(r"'\'' x &'a str '"), "     x &'a str '");
        assert_eq!(code_only("'\"' x"), "    x");
        assert_eq!(code_only("'é' x"), "     x"); // bytes keep their places
        assert_eq!(code_only("r#fn + for\"\""), "r#fn + for  ");
    }
}
