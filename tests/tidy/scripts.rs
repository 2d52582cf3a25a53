//! Scripts: each stops at the first error, explains itself, and is called from somewhere.

use crate::tree::{File, Violation};

/// Where the scripts lie.
const PLACES: [&str; 2] = ["scripts/", ".ci/"];

/// A script is bash, stops at the first error and has `--help`.
pub(crate) fn scripts_are_alike(file: &File) -> Vec<Violation> {
    if !file.is_under(&PLACES) {
        return Vec::new();
    }
    let wants = [
        ("#!/usr/bin/env bash\n", "a script starts with `#!/usr/bin/env bash`"),
        ("\nset -euo pipefail\n", "a script stops at the first error: `set -euo pipefail`"),
        ("--help", "a script answers `--help`"),
    ];
    let missing = wants.iter().filter(|(text, _)| !file.text.contains(text));
    missing.map(|(_, rule)| file.breach(1, *rule)).collect()
}

/// A script is called by the Makefile or by another script; the CI calls `.ci/run` by itself.
pub(crate) fn scripts_are_called(files: &[File]) -> Vec<Violation> {
    let is_caller = |file: &&File| file.path == "Makefile" || file.is_under(&PLACES);
    let has_caller = |script: &File| {
        files
            .iter()
            .filter(is_caller)
            .any(|file| file.path != script.path && file.text.contains(&script.path))
    };
    files
        .iter()
        .filter(|file| file.is_under(&["scripts/"]) && !has_caller(file))
        .map(|file| file.breach(1, "the Makefile or another script calls every script by its path"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaches;

    #[test]
    fn scripts_look_alike() {
        let good = "#!/usr/bin/env bash\n# x\nset -euo pipefail\n[[ $1 != --help ]]\n";
        assert!(breaches(scripts_are_alike, "scripts/a", good).is_empty());
        assert_eq!(breaches(scripts_are_alike, ".ci/run", "#!/bin/sh\nls\n").len(), 3);
    }

    #[test]
    fn a_script_that_nobody_calls_is_found() {
        let file = |path, text: &str| File::new(path, text.as_bytes());
        let files = [
            file("Makefile", "all:\n\tscripts/used --x\n"),
            file("scripts/used", "scripts/helper\n"),
            file("scripts/helper", ""),
            file("scripts/lost", "# scripts/lost --help\n"),
        ];
        let found = scripts_are_called(&files);
        assert_eq!(found.iter().map(|breach| breach.path.as_str()).collect::<Vec<_>>(), ["scripts/lost"]);
    }
}
