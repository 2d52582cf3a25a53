//! Tells Rust code from its comments and literals, well enough for rules that search for words.

/// A Rust source seen from three sides. All have the lines of the source, with blanks in place of what belongs to
/// another side, so that a line of one is the same line of the others.
#[derive(Default)]
pub(crate) struct Views {
    /// The code; the contents of comments and of string and character literals are blank.
    pub(crate) code: String,
    /// The comments alone.
    pub(crate) comments: String,
    /// The string and character literals alone.
    pub(crate) literals: String,
}

/// Splits `source` into its views.
pub(crate) fn split(source: &str) -> Views {
    let mut views = Views::default();
    let mut rest = source;
    while !rest.is_empty() {
        let (kind, len) = next_piece(rest);
        let (piece, tail) = rest.split_at(len);
        let blank: String = piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        let side = |view: &mut String, own: fn(&Kind) -> bool| {
            view.push_str(if own(&kind) { piece } else { &blank });
        };
        side(&mut views.code, |kind| matches!(kind, Kind::Code));
        side(&mut views.comments, |kind| matches!(kind, Kind::Comment));
        side(&mut views.literals, |kind| matches!(kind, Kind::Literal));
        rest = tail;
    }
    views
}

/// A `view` of a source without the items under `#[cfg(test)]` of its `code`, which are blank instead.
pub(crate) fn without_tests(code: &str, view: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(view.len());
    // A blank may stand for a longer character: only their number is the same.
    let mut view = view.chars();
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        let end = start + MARK.len() + item_len(&rest[start + MARK.len()..]);
        kept.extend(view.by_ref().take(rest[..start].chars().count()));
        let tests = view.by_ref().take(rest[start..end].chars().count());
        kept.extend(tests.map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    kept.extend(view);
    kept
}

/// How many bytes the item at the start of `code` takes: up to its `;`, or to the brace that closes it.
pub(crate) fn item_len(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && byte == b'}' {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The line, counted from 1, of the byte at `offset`.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Whether `c` may stand inside an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// The offsets at which `word` stands in `text` with no letter, digit or underscore joined to either of its ends.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let joins =
        |edge: Option<char>, next: Option<char>| edge.is_some_and(is_word) && next.is_some_and(is_word);
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !joins(word.chars().next(), before) && !joins(word.chars().next_back(), after)
    })
}

enum Kind {
    Code,
    Comment,
    Literal,
}

/// What `rest` starts with, and how many bytes long that is. Words are taken whole, so that the `r` of a raw string
/// is never the end of a name.
fn next_piece(rest: &str) -> (Kind, usize) {
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment_len(rest));
    }
    if rest.starts_with('"') {
        return (Kind::Literal, quoted_len(rest, '"'));
    }
    let prefix = usize::from(rest.starts_with(['b', 'c']));
    if let Some(len) = raw_string_len(&rest[prefix..]) {
        return (Kind::Literal, prefix + len);
    }
    if rest.starts_with('\'') && !is_lifetime(rest) {
        return (Kind::Literal, quoted_len(rest, '\''));
    }
    let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let other = rest.chars().next().map_or(0, char::len_utf8);
    (Kind::Code, word.max(other))
}

fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a literal in `quote`s, with the escapes in it.
fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of the raw string that `rest` starts with, such as `r#"..."#`.
fn raw_string_len(rest: &str) -> Option<usize> {
    let opening = rest.strip_prefix('r')?;
    let hashes = opening.len() - opening.trim_start_matches('#').len();
    let body = opening[hashes..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&closing).map_or(body.len(), |end| end + closing.len());
    Some(1 + hashes + 1 + end)
}

/// Whether the quote at the start of `rest` opens a lifetime or a label, and not a character.
fn is_lifetime(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    let name = chars.next().is_some_and(|c| c == '_' || c.is_alphabetic());
    name && chars.next() != Some('\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `text` with one blank for each run of blanks.
    fn squeezed(text: &str) -> String {
        let mut squeezed = String::new();
        for c in text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }) {
            if c != ' ' || !squeezed.ends_with(' ') {
                squeezed.push(c);
            }
        }
        squeezed
    }

    #[test]
    fn code_comments_and_literals_are_told_apart() {
        let views = split("f(\"// no\"); // yes \"x\"\ng(r#\"a \" b\"#); /* in /* out */ */ h(b'\\'')");
        assert_eq!(squeezed(&views.code), "f( ); g( ); h(b )");
        assert_eq!(squeezed(&views.comments), " // yes \"x\" /* in /* out */ */ ");
        assert_eq!(squeezed(&views.literals), " \"// no\" r#\"a \" b\"# '\\'' ");
    }

    #[test]
    fn a_lifetime_is_no_literal() {
        assert_eq!(
            split("fn f<'a>(x: &'a str) -> char { 'a' }").code,
            "fn f<'a>(x: &'a str) -> char {     }"
        );
    }

    #[test]
    fn test_items_are_left_out() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\n#[cfg(test)]\nuse c::d;\nfn e() {}";
        let kept = without_tests(code, code);
        assert_eq!(kept.lines().count(), code.lines().count());
        assert_eq!(kept.split_whitespace().collect::<String>(), "fna(){}fne(){}");
        let views = split("f(\"ä\");\n#[cfg(test)]\nfn b() { g(\"ü\") }\nh(\"ö\");");
        assert_eq!(squeezed(&without_tests(&views.code, &views.literals)), " \"ä\" \"ö\" ");
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("unsafe unsafe_code (unsafe)", "unsafe").collect::<Vec<_>>(), [0, 20]);
        assert_eq!(words("println! eprintln!(", "println!").collect::<Vec<_>>(), [0]);
    }
}
