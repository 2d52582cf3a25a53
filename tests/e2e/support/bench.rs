//! What tests of refusals share: an interface, an object whose names no other test has, and what a refusal looks like.

use crate::command::Ran;
use crate::edit::{Edit, unique_name};
use crate::leftovers::assert_none_named;
use crate::objects::object;
use crate::peers::attached_by_ip;
use crate::requirement::Missing;
use crate::sandbox::Sandbox;
use crate::veth::{NEAR, Veth, pair};
use crate::xdpload::xdpload;

/// A sandbox with an interface, and names by which to find what a test may have left in the kernel.
pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    _veth: Veth,
    /// What the kernel calls its program.
    pub(crate) program: String,
    /// What the kernel calls its map.
    pub(crate) map: String,
}

impl Bench {
    pub(crate) fn new(tools: &[&str]) -> Result<Self, Missing> {
        let (sandbox, veth) = pair(&[&["bpftool"], tools].concat())?;
        Ok(Self { sandbox, _veth: veth, program: unique_name(), map: unique_name() })
    }

    /// The blacklist with one map in libbpf's old dialect, whose names are all in the symbol table.
    pub(crate) fn blacklist(&self) -> Edit {
        let mut edit = Edit::of(&object("blacklist_libbpf"));
        edit.rename_symbol("xdp_ip_filter", &self.program);
        edit.rename_symbol("blacklist", &self.map);
        edit
    }

    /// Attaching the object `edit` with `options` fails with exit code `code` and says `words`.
    #[track_caller]
    pub(crate) fn refuses(&self, edit: &Edit, options: &[&str], code: i32, words: &[&str]) -> Ran {
        self.refuses_file(&edit.save(&self.sandbox), options, code, words)
    }

    #[track_caller]
    pub(crate) fn refuses_file(&self, path: &str, options: &[&str], code: i32, words: &[&str]) -> Ran {
        let before = (attached_by_ip(NEAR), self.sandbox.pins());
        let ran = refused(&[&["attach", NEAR, path], options].concat(), code, words);
        assert_eq!((attached_by_ip(NEAR), self.sandbox.pins()), before, "{}", ran.report());
        ran
    }

    /// Nothing that the test has loaded is in the kernel any more.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert_none_named(&self.program);
        assert_none_named(&self.map);
    }
}

/// `xdpload` with `arguments` fails with exit code `code`, with one message that has all `words`.
#[track_caller]
pub(crate) fn refused(arguments: &[&str], code: i32, words: &[&str]) -> Ran {
    let ran = xdpload(arguments).fails(code);
    assert_well_said(&ran);
    words.iter().fold(ran, |ran, word| ran.stderr_has(word))
}

/// One message, on standard error alone, that no terminal can be harmed by and that no panic has written.
#[track_caller]
pub(crate) fn assert_well_said(ran: &Ran) {
    let report = ran.report();
    assert_eq!(ran.stdout(), "", "{report}");
    let is_message = |line: &&str| line.starts_with("error: ");
    assert_eq!(ran.stderr().lines().filter(is_message).count(), 1, "{report}");
    assert!(!ran.stderr().contains("panicked"), "{report}");
    let is_usage = ran.stderr().contains("For more information, try '--help'");
    let belongs = |line: &str| line.starts_with("error: ") || line.starts_with("  ");
    assert!(is_usage || ran.stderr().lines().all(belongs), "{report}");
    assert!(is_usage || ran.stderr().lines().all(|line| !line.ends_with('.')), "{report}");
    assert_safe(ran.stderr(), &report);
}

/// Nothing in `text` steers a terminal.
#[track_caller]
pub(crate) fn assert_safe(text: &str, report: &str) {
    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(steers), "{}", report.escape_debug());
}
