//! What the libraries promise to those who build on them: which types may grow without breaking anybody.

use crate::tree::{File, Violation};

/// Files of plain data that anybody may make, since it has the form of what it describes: objects, types, numbers.
const PLAIN: [&str; 4] =
    ["loader/src/object/", "loader/src/btf/types.rs", "loader/src/uapi/", "loader/src/sys/"];

/// The other types that callers make, or that are complete by what they are.
const OPEN: [&str; 36] = [
    // One of so many, and there can be no other.
    "Answer",
    "Buffers",
    "ByteOrder",
    "InterfaceRef",
    "Letter",
    "Mode",
    "ModeChoice",
    "Setting",
    "Stop",
    "SymbolSection",
    "Unlisted",
    "Value",
    // Records of a format, or of so many parts by what they are.
    "CoreRelocation",
    "FuncInfo",
    "Insn",
    "KernelVersion",
    "AttachmentKey",
    "LineInfo",
    "Place",
    "XdpProgram",
    // Questions and facts that callers put together.
    "AttachWish",
    "CompilerInfo",
    "ExecuteOptions",
    "FunctionOf",
    "KernelTypes",
    "Process",
    "Protected",
    "Subject",
    "Variable",
    "VariablePlace",
    "Verdict",
    "Whereabouts",
    // Between the program and its guard.
    "Heard",
    "Leftover",
    "RolledBack",
    "Trial",
];

/// A public type whose variants or fields all are public can grow only if it is `#[non_exhaustive]`.
pub(crate) fn public_types_may_grow(file: &File) -> Vec<Violation> {
    let is_library = file.is_under(&["loader/src/", "blocklist/src/"]);
    if !is_library || PLAIN.iter().any(|plain| file.path.starts_with(plain)) {
        return Vec::new();
    }
    let lines: Vec<&str> = file.code.lines().collect();
    let is_closed = |at: usize| {
        let attributes =
            lines[..at].iter().rev().take_while(|line| line.trim().is_empty() || line.starts_with('#'));
        attributes.into_iter().any(|line| line.starts_with("#[non_exhaustive]"))
    };
    let grows = |at: usize, line: &str| {
        let (kind, rest) = line.strip_prefix("pub ")?.split_once(' ')?;
        let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
        let of_public_fields = || {
            let fields = lines[at + 1..].iter().take_while(|line| !line.starts_with('}'));
            let mut fields = fields.filter(|line| line.starts_with("    ") && line.contains(": ")).peekable();
            line.ends_with('{')
                && fields.peek().is_some()
                && fields.all(|field| field.starts_with("    pub "))
        };
        let is_of_these = kind == "enum" || kind == "struct" && of_public_fields();
        (is_of_these && !OPEN.contains(&&*name) && !is_closed(at)).then_some(name)
    };
    let found = lines.iter().enumerate().filter_map(|(at, line)| Some((at + 1, grows(at, line)?)));
    found
        .map(|(line, name)| file.breach(line, format!("{name} is `#[non_exhaustive]`, or listed as open")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaches;

    #[test]
    fn a_type_that_cannot_grow_is_seen() {
        let found = |sample| breaches(public_types_may_grow, "loader/src/map/a.rs", sample);
        assert_eq!(
            found("pub enum Kind {\n    One,\n}\n"),
            ["1: Kind is `#[non_exhaustive]`, or listed as open"]
        );
        assert_eq!(
            found("#[derive(Debug)]\npub struct Info {\n    /// Its id.\n    pub id: u32,\n}\n").len(),
            1
        );
        let good = [
            "#[non_exhaustive]\n#[derive(Debug)]\npub enum Kind {\n    One,\n}\n",
            "pub struct Info {\n    pub id: u32,\n    fd: u32,\n}\n",
            "pub struct Slot(pub usize);\n",
            "pub(crate) enum Kind {\n    One,\n}\n",
            "pub enum Mode {\n    One,\n}\n",
        ];
        assert!(good.iter().all(|sample| found(sample).is_empty()));
    }
}
