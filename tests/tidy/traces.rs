//! Traces of the workplace that no file may carry: paths of somebody's machine, other package sources, loose ends.

use crate::lexer::words;
use crate::tree::{File, Violation, numbered};

/// Where people's own files lie. Joined here from halves, so that this list does not report itself.
const PRIVATE: [&str; 4] =
    [concat!("/", "home/"), concat!("/", "root/"), concat!("/", "work/"), concat!("/", "tmp/")];

/// The only place that crates come from, as Cargo.lock spells it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What a manifest or a cargo configuration says when crates come from elsewhere.
const ELSEWHERE: [&str; 5] = ["[source.", "[registries", "replace-with", "registry = ", "sparse+"];

/// Marks of a loose end.
const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// No absolute path into somebody's home or scratch directory, not even inside an object file.
pub(crate) fn no_private_paths(file: &File) -> Vec<Violation> {
    let private = |line: &str| {
        PRIVATE.into_iter().find(|path| line.match_indices(path).any(|(at, _)| starts_a_path(&line[..at])))
    };
    let breach = |(line, text)| {
        let rule = format!("a path below `{}` is of no use on another machine", private(text)?);
        Some(file.breach(line, rule))
    };
    file.lines().filter_map(breach).collect()
}

/// Whether a slash after `before` is the first of an absolute path.
fn starts_a_path(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "._-~}/*".contains(c))
}

/// Crates come from crates.io under its public name.
pub(crate) fn crates_come_from_the_registry(file: &File) -> Vec<Violation> {
    let is_lock = file.path.ends_with("Cargo.lock");
    let is_other = |line: &str| {
        line.strip_prefix("source = ").is_some_and(|source| source.trim_matches('"') != REGISTRY)
    };
    let is_config = file.path.ends_with("Cargo.toml") || file.path.contains(".cargo/");
    let is_elsewhere = |line: &str| ELSEWHERE.into_iter().any(|word| line.trim_start().starts_with(word));
    file.lines()
        .filter(|(_, line)| is_lock && is_other(line) || is_config && is_elsewhere(line))
        .map(|(line, _)| file.breach(line, "crates come from crates.io and nowhere else"))
        .collect()
}

/// A mark of a loose end says in a sentence what is left to do.
pub(crate) fn loose_ends_are_explained(file: &File) -> Vec<Violation> {
    if file.is_binary || file.extension() == "lock" {
        return Vec::new();
    }
    let text = if file.is_rust() { &file.comments } else { &file.text };
    let is_bare = |line: &str, mark: &str| {
        words(line, mark).any(|at| line[at + mark.len()..].split_whitespace().count() < 4)
    };
    numbered(text)
        .filter(|(_, line)| MARKS.into_iter().any(|mark| is_bare(line, mark)))
        .map(|(line, _)| file.breach(line, "say in a sentence what is left to do, or do it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaches;

    #[test]
    fn private_paths_are_found() {
        let text = format!("cd {0}me\na{0}b\nx=\"{1}x\"\n", PRIVATE[0], PRIVATE[3]);
        assert_eq!(breaches(no_private_paths, "README.md", &text).len(), 2);
        assert_eq!(breaches(no_private_paths, "a.o", &format!("\0{}x", PRIVATE[1])).len(), 1);
        assert!(breaches(no_private_paths, "README.md", "net/work/x, $PWD/tmp/y, /usr/bin\n").is_empty());
    }

    #[test]
    fn other_registries_are_found() {
        let rule = crates_come_from_the_registry;
        assert!(breaches(rule, "Cargo.lock", &format!("source = \"{REGISTRY}\"\n")).is_empty());
        assert_eq!(breaches(rule, "Cargo.lock", "source = \"sparse+https://mirror.example/\"\n").len(), 1);
        assert_eq!(breaches(rule, ".cargo/config.toml", "[source.mirror]\nx = 1\n").len(), 1);
    }

    #[test]
    fn bare_marks_are_found() {
        let mark = MARKS[0];
        assert_eq!(
            breaches(loose_ends_are_explained, "cli/a.rs", &format!("f(); // {mark}: later\n")).len(),
            1
        );
        assert!(breaches(loose_ends_are_explained, "cli/a.rs", &format!("f(\"{mark}\");\n")).is_empty());
        let sentence = format!("# {mark}: read the second table too.\n");
        assert!(breaches(loose_ends_are_explained, "scripts/a", &sentence).is_empty());
    }
}
