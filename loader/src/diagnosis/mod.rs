//! Why the kernel refuses: from facts that were gathered to the one rule that they break. Nothing is asked here.
//!
//! [`why_refused`] explains a refused attach by [`InterfaceFacts`], [`forecast`] says the same before it is tried, and
//! [`why_not_permitted`] finds what a process lacks by [`Permissions`]; [`why_types_refused`] looks at an object's
//! types. Who gathers the facts stands in the modules `attach`, `kernel` and `doctor`; a verdict follows from them
//! alone, so that one can be tried on the facts of any machine.

mod attach;
mod interface;
mod path;
mod permission;
mod rules;
mod types;

pub use crate::error::{Process, Whereabouts};
pub use attach::{AttachWish, forecast, held_otherwise, why_refused};
pub use interface::{Channels, DISPATCHER, Holder, InterfaceFacts, native_limit};
pub use path::{PathFacts, who_bars};
pub use permission::{
    Capabilities, Permissions, Privilege, Seccomp, how_to_mount, why_no_bpffs, why_no_perf_event,
    why_no_perf_memory, why_no_socket, why_not_permitted, why_rejected,
};
pub use types::why_types_refused;

use crate::error::{Error, Help};

/// The rule that a request breaks, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule, with the numbers of this case: one line, lower case, no full stop.
    pub rule: String,
    /// What to do; none where nothing is certain to work.
    pub help: Option<Help>,
}

impl Verdict {
    fn new(rule: impl Into<String>, help: impl Into<Help>) -> Self {
        Self { help: Some(help.into()), ..Self::without_help(rule) }
    }

    /// One that nothing is known to help against.
    pub fn without_help(rule: impl Into<String>) -> Self {
        Self { rule: rule.into(), help: None }
    }
}

impl Error {
    /// Adds the rule that was broken, and the way out if there is one.
    pub fn with_verdict(self, verdict: Verdict) -> Self {
        let error = self.with_rule(verdict.rule);
        match verdict.help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}
