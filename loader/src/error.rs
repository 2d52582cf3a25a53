//! The one error type: what failed, where, and what the kernel said about it.
//!
//! The type is opaque so that a new kind of failure breaks no caller; callers branch on [`Error::kind`].
//! The text of an error is one line without a full stop. It reads from the outside in, and names the thing at
//! fault: for a file the section and the offset, for a refused system call the call, the object and the errno.
//!
//! ```no_run
//! use loader::{Cause, ErrorKind, Interface, Loader, Mode, Object, attach};
//!
//! let object = Object::open("drop.o")?;
//! match Loader::new(&object).plan_for_running_kernel()?.execute(|_| {}) {
//!     Ok(loaded) => {
//!         let program = loaded.program("xdp_drop")?;
//!         match attach::attach(program, &Interface::named("eth0")?, Mode::Native) {
//!             Err(error) if error.cause() == Some(Cause::Occupied) => println!("another program is there"),
//!             attached => attached?.persist(),
//!         }
//!     }
//!     Err(error) if error.kind() == ErrorKind::PermissionDenied => println!("not permitted: {error}"),
//!     Err(error) => {
//!         println!("{error}");
//!         error.rule().iter().for_each(|rule| println!("rule: {rule}"));
//!         error.help().iter().for_each(|help| println!("help: {help}"));
//!     }
//! }
//! # Ok::<(), loader::Error>(())
//! ```
//!
//! [`Error::help`] is a line for who calls this library. A program that speaks to others matches the [`Remedy`] in it,
//! and puts that into its own words, or does it:
//!
//! ```
//! use loader::{Error, Object, Remedy};
//!
//! fn advice(error: &Error) -> Option<String> {
//!     let help = error.help()?;
//!     Some(help.told(|remedy| match remedy {
//!         Remedy::ChooseProgram => "the field \"program\" of filter.toml".to_owned(),
//!         Remedy::Replace { .. } => "set \"replace\" in filter.toml".to_owned(),
//!         other => other.to_string(),
//!     }))
//! }
//!
//! # let object = std::fs::read("tests/fixtures/clang-19/kinds.o").unwrap();
//! let object = Object::parse(&object)?;
//! let error = object.only_program().unwrap_err();
//! assert_eq!(error.remedy(), Some(&Remedy::ChooseProgram));
//! assert_eq!(error.help().unwrap().to_string(), "say which: `Loader::program`");
//! assert_eq!(advice(&error).unwrap(), "say which: the field \"program\" of filter.toml");
//! # Ok::<(), loader::Error>(())
//! ```

mod explanation;
mod help;

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::io;

use nix::errno::Errno;

pub use explanation::{Explanation, Instruction, RefusalKind, SourceLine};
pub use help::{Help, Process, Remedy, Whereabouts};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes of a file or of a kernel message contradict their own format.
    Malformed,
    /// The file is sound, but it asks for what this loader or this kernel does not have.
    Unsupported,
    /// The caller asked for something that does not fit, for instance a program that the object does not have.
    InvalidInput,
    /// The file, interface, map, program or entry is not there.
    NotFound,
    /// Something else is in the place: a program on the interface, a file at the pin path.
    Conflict,
    /// A pinned map has another shape than the object asks for.
    Mismatch,
    /// The kernel wants a privilege that this process does not have.
    PermissionDenied,
    /// The verifier refused the program; [`Error::verifier_log`] has its words.
    VerifierRejected,
    /// Any other refusal by the operating system; [`Error::errno`] has its number.
    Os,
}

impl ErrorKind {
    const ALL: [Self; 9] = [
        Self::Malformed,
        Self::Unsupported,
        Self::InvalidInput,
        Self::NotFound,
        Self::Conflict,
        Self::Mismatch,
        Self::PermissionDenied,
        Self::VerifierRejected,
        Self::Os,
    ];

    /// The opposite of [`name`](Self::name).
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What logs and documents call it: `permission_denied`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::InvalidInput => "invalid_input",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Mismatch => "mismatch",
            Self::PermissionDenied => "permission_denied",
            Self::VerifierRejected => "verifier_rejected",
            Self::Os => "os",
        }
    }
}

impl Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a caller may act on beside the kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// A program is on the interface, and is not to be displaced or cannot be replaced in another mode.
    Occupied,
    /// There is no room for more entries: in a map, for another key.
    Full,
    /// An entry has the key already that was to be new ([`UpdateFlags::NO_EXIST`](crate::UpdateFlags::NO_EXIST)), or
    /// something is at the path already where a pin was to be made.
    Exists,
    /// No entry has the key that was to be overwritten ([`UpdateFlags::EXIST`](crate::UpdateFlags::EXIST)), or nothing
    /// is at the path where a pin was to be.
    Missing,
    /// An array has no entry of this number.
    OutOfRange,
    /// A key or a value has another length than those of the map.
    WrongSize,
    /// The map is frozen: user space may change it no more.
    Frozen,
    /// What is pinned at the path, or held by the fd, is of another kind: a program where a map was to be, or a
    /// directory.
    OtherKind,
    /// The path is not in a bpffs, so that nothing can be pinned there.
    NotBpffs,
    /// Whoever asks for a lock has it already, and would wait for itself.
    Locked,
    /// Another program is on the interface than the one that was to be replaced or detached.
    Changed,
    /// A `bpf_link` holds the program on the interface, which only that link can change.
    HeldByLink,
    /// The kernel cannot compare the program on the interface with the one that was seen there (before 5.7).
    CannotCompare,
}

/// Where in a file an error lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The section, or a table of the file such as `section header table`.
    pub section: String,
    /// Distance in bytes from the start of that section or table.
    pub offset: u64,
}

/// Everything that this library can fail with.
///
/// One word wide, so that a `Result` stays cheap on the way without errors.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    cause: Option<Cause>,
    target: Option<usize>,
    done: Option<usize>,
    /// What was being done, outermost last: each caller adds its own noun.
    contexts: Vec<String>,
    message: String,
    place: Option<Place>,
    errno: Option<i32>,
    call: Option<String>,
    kernel_message: Option<String>,
    verifier_log: Option<String>,
    explanation: Option<Explanation>,
    rule: Option<String>,
    help: Option<Help>,
    notes: Vec<String>,
}

impl Error {
    /// An error of `kind` with a one-line `message`: lower case, no full stop.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            cause: None,
            target: None,
            done: None,
            contexts: Vec::new(),
            message: message.into(),
            place: None,
            errno: None,
            call: None,
            kernel_message: None,
            verifier_log: None,
            explanation: None,
            rule: None,
            help: None,
            notes: Vec::new(),
        }))
    }

    /// The bytes at `offset` of `section` are not what the format asks for.
    #[cold]
    pub fn malformed(section: impl Into<String>, offset: u64, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::Malformed, message);
        error.0.place = Some(Place { section: section.into(), offset });
        error
    }

    /// The system call `call` (as it is written in its manual page) was refused while working on `object`.
    #[cold]
    pub fn os(call: &str, object: impl Display, errno: i32) -> Self {
        Self::refused(call, &object, errno)
    }

    fn refused(call: &str, object: &dyn Display, errno: i32) -> Self {
        let kind = match Errno::from_raw(errno) {
            Errno::EPERM | Errno::EACCES => ErrorKind::PermissionDenied,
            Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => ErrorKind::NotFound,
            Errno::EBUSY | Errno::EEXIST => ErrorKind::Conflict,
            Errno::EOPNOTSUPP | Errno::ENOSYS => ErrorKind::Unsupported,
            _ if errno == ENOTSUPP => ErrorKind::Unsupported,
            _ => ErrorKind::Os,
        };
        let mut error = Self::new(kind, format!("{call} for {object} failed: {}", errno_text(errno)));
        error.0.errno = Some(errno);
        error.0.call = Some(call.to_owned());
        error
    }

    /// The same for an error of the standard library, which tells it in its own words where it has no number.
    #[cold]
    pub fn io(call: &str, object: impl Display, error: &io::Error) -> Self {
        Self::failed(call, &object, error)
    }

    fn failed(call: &str, object: &dyn Display, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::refused(call, object, errno),
            None => Self::new(ErrorKind::Os, format!("{call} for {object} failed: {error}")),
        }
    }

    /// Adds the number that the refused system call gave, where [`Error::os`] does not make the message.
    pub fn with_errno(mut self, errno: i32) -> Self {
        self.0.errno = Some(errno);
        self
    }

    /// Replaces the kind, where the caller knows better than the errno does.
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Says what stands behind the kind.
    pub fn with_cause(mut self, cause: Cause) -> Self {
        self.0.cause = Some(cause);
        self
    }

    /// Says how many entries a call in bulk had written or deleted before it failed.
    pub(crate) fn after(mut self, done: usize) -> Self {
        self.0.done = Some(done);
        self
    }

    /// Says at which of the interfaces of a plan it failed.
    pub(crate) fn at_target(mut self, index: usize) -> Self {
        self.0.target = Some(index);
        self
    }

    /// Replaces the message; the contexts that were added to it go with it.
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.0.contexts.clear();
        self.0.message = message.into();
        self
    }

    /// Says what was being done: `error.context("loading blacklist.o")` prefixes the text with it.
    pub fn context(mut self, doing: impl Into<String>) -> Self {
        self.0.contexts.push(doing.into());
        self
    }

    /// Says the place in a file, for an error that was found away from the bytes that cause it.
    pub fn at(mut self, section: impl Into<String>, offset: u64) -> Self {
        self.0.place = Some(Place { section: section.into(), offset });
        self
    }

    /// Adds the kernel's own explanation, such as a netlink extended ack. An empty text is left out.
    pub fn with_kernel_message(mut self, text: impl Into<String>) -> Self {
        self.0.kernel_message = Some(text.into()).filter(|text| !text.is_empty());
        self
    }

    /// Adds the verifier's log.
    pub fn with_verifier_log(mut self, log: impl Into<String>) -> Self {
        self.0.verifier_log = Some(log.into());
        self
    }

    /// Adds what the verifier's log means, with its help.
    pub fn with_explanation(mut self, mut explanation: Explanation) -> Self {
        // What is certain about the process comes before what is usual for the program.
        if let Some(rule) = &self.0.rule {
            explanation.rule.clone_from(rule);
            explanation.help = self.0.help.as_ref().map(Help::to_string);
        }
        self.0.explanation = Some(explanation);
        self
    }

    /// Adds the one rule that was broken, with the numbers of this case: one line. Only where it is certain.
    pub fn with_rule(mut self, rule: impl Into<String>) -> Self {
        self.0.rule = Some(rule.into());
        self
    }

    /// Adds one line that says what to do: words, a [`Remedy`], or the one between the other. Only for a cause that is
    /// certain.
    pub fn with_help(mut self, help: impl Into<Help>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Adds lines that say more than one line can, such as a table.
    #[cold]
    pub fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.0.notes = notes;
        self
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What stands behind the kind, where a caller may act on it.
    pub fn cause(&self) -> Option<Cause> {
        self.0.cause
    }

    /// Of entries that were being written or deleted in bulk, how many there are that were.
    pub fn done(&self) -> Option<usize> {
        self.0.done
    }

    /// Of a plan that was being carried out, where the step that failed belongs: the index of the interface in
    /// [`Plan::attach`](crate::plan::Plan::attach), which is 0 also for what is done for all of them.
    pub fn target(&self) -> Option<usize> {
        self.0.target
    }

    /// The place in the file, when the file is at fault.
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// The number that the refused system call gave, as in errno(3).
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// The system call that was refused, as its manual page writes it: `bpf(BPF_MAP_CREATE)`.
    pub fn call(&self) -> Option<&str> {
        self.0.call.as_deref()
    }

    /// The kernel's own explanation of a refused netlink request.
    pub fn kernel_message(&self) -> Option<&str> {
        self.0.kernel_message.as_deref()
    }

    /// The verifier's log, when it refused a program.
    pub fn verifier_log(&self) -> Option<&str> {
        self.0.verifier_log.as_deref()
    }

    /// The one rule that was broken, when it is certain.
    pub fn rule(&self) -> Option<&str> {
        let explained = self.explanation().map(|explanation| &*explanation.rule);
        self.0.rule.as_deref().or(explained)
    }

    /// Lines that say more than one line can.
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    /// What the verifier's log means, when it refused a program.
    pub fn explanation(&self) -> Option<&Explanation> {
        self.0.explanation.as_ref()
    }

    /// What failed, without the explanation of the verifier's refusal: the headline above that. Its text is escaped as
    /// that of the error is.
    pub fn headline(&self) -> impl Display + '_ {
        Headline(self)
    }

    /// All that is known of it, laid out as the command line does: the error's line, and below it, indented, the
    /// [notes](Self::notes), the [rule](Self::rule) and the [help](Self::help). Each line is escaped.
    pub fn report(&self) -> impl Display + '_ {
        Report(self)
    }

    /// One line on what to do about it, when the cause is certain.
    pub fn help(&self) -> Option<Help> {
        let explained = || self.explanation()?.help.as_deref().map(Help::from);
        self.0.help.clone().or_else(explained)
    }

    /// What to do about it as a value, where it is more than words.
    pub fn remedy(&self) -> Option<&Remedy> {
        self.0.help.as_ref()?.remedy()
    }
}

/// An error's text, up to what the verifier has to do with it.
struct Headline<'e>(&'e Error);

impl Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { contexts, message, place, kernel_message, .. } = &*self.0.0;
        for context in contexts.iter().rev() {
            write!(f, "{context}: ")?;
        }
        if let Some(place) = place {
            write!(f, "{} at offset {:#x}: ", escape(&place.section), place.offset)?;
        }
        f.write_str(message)?;
        match kernel_message {
            Some(text) => write!(f, " (kernel: {})", escape(text)),
            None => Ok(()),
        }
    }
}

/// An error's text, and what is known beside it.
struct Report<'e>(&'e Error);

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        f.write_str(&escape(&error.to_string()))?;
        error.notes().iter().try_for_each(|note| write!(f, "\n  {}", escape(note)))?;
        let help = error.help().map(|help| help.to_string());
        for (label, text) in [("rule", error.rule()), ("help", help.as_deref())] {
            if let Some(text) = text {
                write!(f, "\n  {label}: {}", escape(text))?;
            }
        }
        Ok(())
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.headline())?;
        let Some(explanation) = self.explanation() else { return Ok(()) };
        write!(f, ": ")?;
        if let Some(at) = &explanation.at {
            write!(f, "instruction {}: ", at.index)?;
        }
        write!(f, "{}", escape(&explanation.rule))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

/// Adds to a failed result what was being done.
pub trait Context<T> {
    /// Prefixes the error's text with what `doing` returns.
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.context(doing()))
    }
}

/// An errno as people know it: its text and its name, `Operation not permitted (EPERM)`.
pub fn errno_text(errno: i32) -> String {
    match (errno, Errno::from_raw(errno)) {
        (ENOTSUPP, _) => "Operation is not supported (ENOTSUPP)".to_owned(),
        (_, Errno::UnknownErrno) => errno_name(errno),
        (_, known) => format!("{} ({known:?})", known.desc()),
    }
}

/// The name of an errno, `EPERM`, or its number if it has none.
pub fn errno_name(errno: i32) -> String {
    match (errno, Errno::from_raw(errno)) {
        (ENOTSUPP, _) => "ENOTSUPP".to_owned(),
        (_, Errno::UnknownErrno) => format!("errno {errno}"),
        (_, known) => format!("{known:?}"),
    }
}

/// Internal to the kernel (include/linux/errno.h); it leaks from some map types, and libc has no text for it.
pub const ENOTSUPP: i32 = 524;

/// A name that came from a file or from the kernel, made fit for a terminal: control characters and the marks
/// that change the writing direction are printed as escapes.
pub fn escape(name: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    // Nearly all names are plain ASCII.
    if name.bytes().all(|byte| matches!(byte, b' '..=b'~')) || !name.contains(harmful) {
        return Cow::Borrowed(name);
    }
    let mut safe = String::with_capacity(name.len());
    for c in name.chars() {
        if harmful(c) {
            let _ = write!(safe, "{}", c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// A name as a word of a command that is proposed: escaped, and in quotation marks where a shell would read more into
/// it. Interfaces may be called nearly anything, also by whoever is root in a container.
pub fn shell_word(name: &str) -> String {
    let name = escape(name);
    let is_plain = |c: char| c.is_alphanumeric() || "%+,-./:=@_".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.into_owned();
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

/// A name in the backquotes that set it off in a message, escaped. Only whoever writes it does the work.
pub fn quote(name: &str) -> Quoted<'_> {
    Quoted(name)
}

/// See [`quote`].
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", escape(self.0))
    }
}

/// Names as [`quote`] writes them, with commas between them; `none` where there is none.
pub fn quote_each(names: &mut dyn Iterator<Item = &str>) -> String {
    let mut list = String::new();
    for name in names {
        let comma = if list.is_empty() { "" } else { ", " };
        let _ = write!(list, "{comma}{}", quote(name));
    }
    if list.is_empty() { "none".to_owned() } else { list }
}

impl From<Quoted<'_>> for String {
    fn from(name: Quoted<'_>) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_from_the_outside_in() {
        let error = Error::malformed("section `maps/x`", 0x10, "expected 280 bytes, found 17")
            .context("map `x`")
            .context("reading a.o");
        assert_eq!(
            error.to_string(),
            "reading a.o: map `x`: section `maps/x` at offset 0x10: expected 280 bytes, found 17"
        );
        assert_eq!(error.place().map(|place| place.offset), Some(0x10));
    }

    #[test]
    fn an_os_error_names_call_object_and_errno() {
        let error = Error::os("bpf(BPF_MAP_CREATE)", quote("m"), 1);
        assert_eq!(error.to_string(), "bpf(BPF_MAP_CREATE) for `m` failed: Operation not permitted (EPERM)");
        assert_eq!((error.kind(), error.errno()), (ErrorKind::PermissionDenied, Some(1)));
        assert!(errno_text(524).ends_with("(ENOTSUPP)"));
        assert_eq!(Error::os("bpf(BPF_MAP_LOOKUP_ELEM)", "m", ENOTSUPP).kind(), ErrorKind::Unsupported);
        assert_eq!(errno_text(4000), "errno 4000");
    }

    #[test]
    fn an_error_without_a_number_keeps_its_words() {
        let io = |error: io::Error| Error::io("read(2)", "a list", &error);
        let known = io(io::Error::from_raw_os_error(5));
        assert_eq!(
            (known.to_string(), known.errno()),
            (Error::os("read(2)", "a list", 5).to_string(), Some(5))
        );
        let unknown = io(io::ErrorKind::UnexpectedEof.into());
        assert_eq!(unknown.to_string(), "read(2) for a list failed: unexpected end of file");
        assert_eq!(unknown.errno(), None);
    }

    #[test]
    fn a_report_has_all_that_is_known() {
        let error = Error::new(ErrorKind::Mismatch, "map `m` has another shape");
        assert_eq!(error.report().to_string(), error.to_string());
        let error =
            error.with_notes(vec!["  field  found".to_owned()]).with_rule("one \u{7}").with_help("two");
        assert_eq!(
            error.report().to_string(),
            "map `m` has another shape\n    field  found\n  rule: one \\u{7}\n  help: two"
        );
        assert_eq!(format!("{:>9}", error.kind()), " mismatch");
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(escape("plain.name"), "plain.name");
        assert_eq!(quote("a\u{1b}[31mb").to_string(), "`a\\u{1b}[31mb`");
        assert_eq!(quote_each(&mut ["a", "b\n"].into_iter()), "`a`, `b\\n`");
        assert_eq!(quote_each(&mut [].into_iter()), "none");
        assert_eq!(escape("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn a_shell_reads_nothing_but_the_name() {
        assert_eq!(["eth0.7@x", "/sys/fs/bpf/é"].map(shell_word), ["eth0.7@x", "/sys/fs/bpf/é"]);
        let odd = ["a;reboot", "$(id)", "it's", "a\nb", ""];
        assert_eq!(odd.map(shell_word), ["'a;reboot'", "'$(id)'", r"'it'\''s'", r"'a\nb'", "''"]);
    }
}
