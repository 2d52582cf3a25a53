//! Links in Markdown: what they point to in the repository is there.

use std::collections::BTreeSet;

use crate::tree::{File, Violation};

/// Every link to a file or directory of the repository resolves.
pub(crate) fn links_resolve(files: &[File]) -> Vec<Violation> {
    let mut places = BTreeSet::new();
    for file in files {
        places.extend(file.path.match_indices('/').map(|(at, _)| &file.path[..at]));
        places.insert(&file.path);
    }
    let pages = files.iter().filter(|file| file.extension() == "md");
    pages.flat_map(|page| broken_links(page, &places)).collect()
}

fn broken_links(page: &File, places: &BTreeSet<&str>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut is_listing = false;
    for (number, line) in page.lines() {
        is_listing ^= line.trim_start().starts_with("```");
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        for target in targets.filter(|_| !is_listing) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains(':') && !places.contains(resolve(&page.path, path).as_str())
            {
                found.push(page.breach(number, format!("there is no `{path}` to link to")));
            }
        }
    }
    found
}

/// The place in the repository that `link` means on `page`.
fn resolve(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_links_are_found() {
        let text = "[a](b.md#x), [c](../README.md), [d](https://example.org/), [e](#here)\n\
            [f](gone.md) and [g](../scripts/)\n```\n[h](listing)\n```\n";
        let files = ["docs/a.md", "docs/b.md", "README.md", "scripts/setup"]
            .map(|path| File::new(path, if path == "docs/a.md" { text.as_bytes() } else { b"" }));
        assert_eq!(links_resolve(&files), [files[0].breach(2, "there is no `gone.md` to link to")]);
    }
}
