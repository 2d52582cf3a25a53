//! Folds the lines of a plan at the right edge of a terminal, below their own beginning, so that the numbers stand out.
//! Whatever else reads them is given each line whole.

use std::io::{self, IsTerminal as _};
use std::iter;

use loader::Result;
use terminal_size::{Width, terminal_size_of};

use crate::output;

/// Prints the lines of a plan.
pub(super) fn print(text: &str) -> Result<()> {
    let out = io::stdout();
    if !out.is_terminal() {
        return output::print(&text);
    }
    let columns = terminal_size_of(&out).map_or(output::WIDTH, |(Width(columns), _)| columns.into());
    output::print(&folded(text, columns))
}

/// The text with lines of at most so many columns, as far as there are spaces.
fn folded(text: &str, columns: usize) -> String {
    const DEEPER: usize = 4;
    let mut folded = String::with_capacity(text.len() + text.len() / 8);
    for line in text.lines() {
        let words = line.trim_start();
        let after_number = match words.split_once(' ') {
            Some((number, text)) if number.starts_with(|c: char| c.is_ascii_digit()) => text.trim_start(),
            _ => words,
        };
        // On a narrow terminal the indentation leaves no room.
        let indent = (line.len() - after_number.len() + DEEPER).min(columns / 2);
        let mut column = 0;
        for word in line.split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if column > indent && column + length > columns {
                folded.truncate(folded.trim_end().len());
                folded.push('\n');
                folded.extend(iter::repeat_n(' ', indent));
                column = indent;
            }
            folded.push_str(word);
            column += word.chars().count();
        }
        folded.push('\n');
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_folded_below_its_own_words() {
        let text =
            "  7 bpf(A, {one=1, two=2, three=3})\n  7a    bpf(A, {one=1, two=2})\n    if refused: go on\n";
        let lines = "  7 bpf(A, {one=1,\n        two=2, three=3})\n\
                     \x20 7a    bpf(A, {one=1,\n            two=2})\n    if refused: go on\n";
        assert_eq!(folded(text, 24), lines);
        assert_eq!(folded(text, 200), text);
        // No word is broken, and no line is left empty.
        assert_eq!(folded("aaaaaaaa bbbb\n\ncc", 4), "aaaaaaaa\n  bbbb\n\ncc\n");
    }
}
