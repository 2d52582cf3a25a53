//! Logs of the verifier, `logs/<kernel>/<name>.log`, and what each is explained as, in a `.txt` beside it.
//!
//! Those of 6.18 were recorded, the others have the sentences of that kernel's `kernel/bpf/verifier.c` after
//! instructions as it prints them. `UPDATE_GOLDEN=1` writes the explanations anew.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use loader::verifier::{Subject, explain, verdict};
use loader::{Explanation, RefusalKind};

#[test]
fn each_log_is_explained_as_it_was() {
    for path in logs() {
        let explanation = explain(&Subject::default(), &fs::read_to_string(&path).unwrap());
        let told = format!("{}\n{explanation}\n", explanation.kind.name());
        let golden = path.with_extension("txt");
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, told).unwrap();
            continue;
        }
        let wanted =
            fs::read_to_string(&golden).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
        assert_eq!(told, wanted, "{}", path.display());
    }
}

/// Words of an older kernel are recognised as those of a newer one.
#[test]
fn only_words_that_nobody_has_said_are_not_recognised() {
    let unknown: Vec<_> = logs()
        .into_iter()
        .filter(|path| {
            let explanation = explain(&Subject::default(), &fs::read_to_string(path).unwrap());
            explanation.kind == RefusalKind::Unrecognised
        })
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    // What an instruction without a number was meant to be is known to the plan alone.
    assert_eq!(unknown, ["unknown_words"]);
}

/// The page lists each kind that there is.
#[test]
fn the_page_has_each_kind() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verifier.md");
    let page = fs::read_to_string(page).unwrap();
    let listed: BTreeSet<_> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let all: BTreeSet<_> = RefusalKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(listed, all);
}

/// Logs that were cut, or that no verifier has written.
#[test]
fn any_text_has_an_explanation() {
    for text in
        ["", "\n\n", "0: (", ": (61) x", "R1 ", "0: (61) r1\nR99999999999 !read_ok", "\u{1b}[31m\n\u{202e}"]
    {
        told(text);
    }
    for path in logs() {
        let log = fs::read_to_string(&path).unwrap();
        for end in (0..log.len()).step_by(11) {
            told(&log[..end]);
            told(&log[end..]);
        }
        for at in (0..log.len()).step_by(5) {
            let mut bytes = log.clone().into_bytes();
            bytes[at] ^= 0x2a;
            told(&String::from_utf8_lossy(&bytes));
        }
        // Letters that C allows, and that are no single bytes.
        told(&log.replace("->", "ß->").replace('[', "ß["));
        for digits in ["99999999999999999999999999999999999999999", "-", "0x", "18446744073709551615"] {
            told(&log.replace(|c: char| c.is_ascii_digit(), digits));
            told(&log.replace("26", digits).replace('8', digits));
        }
    }
}

#[test]
fn the_verdict_is_found_in_each_log() {
    for path in logs() {
        assert!(verdict(&fs::read_to_string(&path).unwrap()).is_some(), "{}", path.display());
    }
}

/// Explains a text, in few lines that steer no terminal.
fn told(log: &str) -> Explanation {
    let explanation = explain(&Subject::default(), log);
    let told = explanation.to_string();
    assert!((1..=3).contains(&told.lines().count()), "{told}");
    assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
    explanation
}

fn logs() -> Vec<PathBuf> {
    let entries = |directory: &Path| {
        let entries =
            fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let kernels = entries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs"));
    let mut logs: Vec<_> = kernels.iter().flat_map(|kernel| entries(kernel)).collect();
    logs.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    logs.sort();
    assert!(!logs.is_empty());
    logs
}
