//! What a refusal by the verifier means: which instruction, which rule, and the usual repair.

use std::fmt;

use super::{escape, quote};

/// What sort of rule the verifier saw broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalKind {
    /// Packet bytes that are not proven to be there.
    PacketBounds,
    /// Bytes beyond a map's value.
    MapValueBounds,
    /// Bytes beyond other memory, such as a record of a ring buffer.
    MemoryBounds,
    /// Memory that may only be read.
    ReadOnly,
    /// Memory that may only be written.
    WriteOnly,
    /// An access that the memory's alignment does not allow.
    Misaligned,
    /// A pointer that may be NULL.
    NullUnchecked,
    /// A number, or a pointer that leads to nothing readable, in the place of a pointer.
    NotAPointer,
    /// A register, or bytes of the stack, that nothing was put into.
    Uninitialised,
    /// Bytes beyond a function's stack.
    StackBounds,
    /// Functions that need too much stack together.
    StackDepth,
    /// Too many functions that are active at once.
    CallDepth,
    /// A loop that nothing ends.
    EndlessLoop,
    /// More ways through the program than the verifier walks.
    TooComplex,
    /// A jump back, on a kernel or with rights that take none.
    BackEdge,
    /// A helper that is not for this type of program, or that the kernel does not have.
    HelperNotAllowed,
    /// A function of the kernel that is not for this type of program.
    KfuncNotAllowed,
    /// An argument of the wrong type.
    ArgumentType,
    /// A function for GPL-compatible programs, from another.
    GplOnly,
    /// A place in the context that is no field, or not for this access.
    ContextAccess,
    /// An instruction that no way leads to.
    Unreachable,
    /// Code that ends too early, or jumps or calls to where there is none.
    CodeMissing,
    /// A return value that is not among those allowed.
    ReturnValue,
    /// An address of the kernel that would become visible.
    PointerLeak,
    /// Arithmetic that pointers do not take.
    PointerArithmetic,
    /// A number that an operation does not take.
    InvalidNumber,
    /// One instruction for memory of two sorts.
    MixedPointers,
    /// What was got from the kernel is not given back.
    ReferenceLeak,
    /// A call, or the end, where a lock is held or a critical section is open, or an end of one that was not begun.
    CriticalSection,
    /// A lock, timer or the like in a map's value, which programs must leave to the kernel.
    KernelField,
    /// An instruction that no kernel has, or that this one does not know.
    UnknownInstruction,
    /// The object's BTF is needed, and the kernel was not given it.
    TypesMissing,
    /// The program reaches what this kernel does not have.
    KernelLacks,
    /// Words that this library does not know.
    Unrecognised,
}

impl RefusalKind {
    /// Every sort that there is.
    pub const ALL: [Self; 34] = [
        Self::PacketBounds,
        Self::MapValueBounds,
        Self::MemoryBounds,
        Self::ReadOnly,
        Self::WriteOnly,
        Self::Misaligned,
        Self::NullUnchecked,
        Self::NotAPointer,
        Self::Uninitialised,
        Self::StackBounds,
        Self::StackDepth,
        Self::CallDepth,
        Self::EndlessLoop,
        Self::TooComplex,
        Self::BackEdge,
        Self::HelperNotAllowed,
        Self::KfuncNotAllowed,
        Self::ArgumentType,
        Self::GplOnly,
        Self::ContextAccess,
        Self::Unreachable,
        Self::CodeMissing,
        Self::ReturnValue,
        Self::PointerLeak,
        Self::PointerArithmetic,
        Self::InvalidNumber,
        Self::MixedPointers,
        Self::ReferenceLeak,
        Self::CriticalSection,
        Self::KernelField,
        Self::UnknownInstruction,
        Self::TypesMissing,
        Self::KernelLacks,
        Self::Unrecognised,
    ];

    /// The name in documents and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::PacketBounds => "packet_bounds",
            Self::MapValueBounds => "map_value_bounds",
            Self::MemoryBounds => "memory_bounds",
            Self::ReadOnly => "read_only",
            Self::WriteOnly => "write_only",
            Self::Misaligned => "misaligned",
            Self::NullUnchecked => "null_unchecked",
            Self::NotAPointer => "not_a_pointer",
            Self::Uninitialised => "uninitialised",
            Self::StackBounds => "stack_bounds",
            Self::StackDepth => "stack_depth",
            Self::CallDepth => "call_depth",
            Self::EndlessLoop => "endless_loop",
            Self::TooComplex => "too_complex",
            Self::BackEdge => "back_edge",
            Self::HelperNotAllowed => "helper_not_allowed",
            Self::KfuncNotAllowed => "kfunc_not_allowed",
            Self::ArgumentType => "argument_type",
            Self::GplOnly => "gpl_only",
            Self::ContextAccess => "context_access",
            Self::Unreachable => "unreachable",
            Self::CodeMissing => "code_missing",
            Self::ReturnValue => "return_value",
            Self::PointerLeak => "pointer_leak",
            Self::PointerArithmetic => "pointer_arithmetic",
            Self::InvalidNumber => "invalid_number",
            Self::MixedPointers => "mixed_pointers",
            Self::ReferenceLeak => "reference_leak",
            Self::CriticalSection => "critical_section",
            Self::KernelField => "kernel_field",
            Self::UnknownInstruction => "unknown_instruction",
            Self::TypesMissing => "types_missing",
            Self::KernelLacks => "kernel_lacks",
            Self::Unrecognised => "unrecognised",
        }
    }
}

/// What a refusal by the verifier means. `Display` prints it as two or three indented lines.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// Which rule was broken.
    pub kind: RefusalKind,
    /// The instruction, where the verifier was at one.
    pub at: Option<Instruction>,
    /// The rule in plain words, with the numbers of this case.
    pub rule: String,
    /// The usual repair, where there is one.
    pub help: Option<String>,
    /// The verifier's own words.
    pub words: String,
    /// How many lines its log has.
    pub log_lines: usize,
}

/// An instruction that the verifier refused.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instruction {
    /// Its index in the program, as the verifier counts.
    pub index: usize,
    /// What it does, in the syntax of clang's assembler; in the verifier's where only the log is known.
    pub text: String,
    /// The function that it is in, unless that is the program itself.
    pub function: Option<String>,
    /// The line of source that it is from, where the object or the log has lines.
    pub source: Option<SourceLine>,
}

/// A line of source.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceLine {
    /// The file as the compiler names it; empty where a log of an old kernel is all that is known.
    pub file: String,
    /// The line's number, counted from 1; 0 if it is not known.
    pub line: u32,
    /// The column, counted from 1; 0 if it is not known.
    pub column: u16,
    /// What stands there, without the space around it.
    pub text: String,
}

/// How many characters of a line of source are printed.
const MAX_TEXT: usize = 100;

impl Explanation {
    /// One of an unknown sort, for the verifier's `words` in a log of `log_lines` lines.
    pub fn new(words: impl Into<String>, log_lines: usize) -> Self {
        let words = words.into();
        Self {
            kind: RefusalKind::Unrecognised,
            at: None,
            rule: match &*words {
                "" => "the verifier did not say why".to_owned(),
                words => format!("in the verifier's words: {}", words.trim_end_matches('.')),
            },
            help: None,
            words,
            log_lines,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            writeln!(f, "  at:   {at}")?;
        }
        write!(f, "  rule: {}", escape(&self.rule))?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {}", escape(help)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {}", self.index)?;
        if let Some(function) = &self.function {
            write!(f, " in {}", quote(function))?;
        }
        let text = match &self.source {
            Some(source) => {
                if !source.file.is_empty() {
                    write!(f, ", {source}")?;
                }
                &source.text
            }
            None => &self.text,
        };
        if text.is_empty() {
            return Ok(());
        }
        let short: String = text.chars().take(MAX_TEXT).collect();
        let more = if short.len() < text.len() { "..." } else { "" };
        write!(f, "   {}{more}", escape(&short))
    }
}

impl fmt::Display for SourceLine {
    /// The place: `bpf-src/blacklist.bpf.c:41`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Clang is told to begin paths so where the repository must not be in them.
        let file = self.file.strip_prefix("./").unwrap_or(&self.file);
        write!(f, "{}:{}", escape(file), self.line)
    }
}
