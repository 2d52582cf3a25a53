//! Says of a refusal that the kernel is too old for what was asked of it, as far as a look tells.

use nix::libc::{E2BIG, EINVAL, EPERM};

use super::Execution;
use crate::error::{Error, ErrorKind, RefusalKind, quote};
use crate::features::{Answer, Feature, Kernel, lacking};
use crate::kernel::{explain_memlock, probe};
use crate::plan::{Call, ProgLoad};

/// `refusal` of `call`, with the feature that the kernel lacks for it; as it is where nothing is known to be lacking.
#[cold]
pub(super) fn explained(refusal: Error, call: &Call, kernel: &Kernel) -> Error {
    match refusal.errno() {
        Some(EINVAL | E2BIG) => {}
        Some(EPERM) if matches!(call, Call::MapCreate(_) | Call::ProgLoad(_)) => {
            return explain_memlock(refusal, kernel.has(Feature::MemcgAccounting));
        }
        _ => return refusal,
    }
    let extends = |call: &Call| matches!(call, Call::ProgLoad(load) if load.extends.is_some());
    if refusal.errno() == Some(E2BIG) && extends(call) {
        return refusal.with_rule(lacking("programs that replace functions of others", "5.6"));
    }
    match call.needs().into_iter().find(|feature| probe(*feature) == Answer::No) {
        Some(feature) => with_age(refusal, feature),
        None => refusal,
    }
}

fn with_age(refusal: Error, feature: Feature) -> Error {
    let rule = feature.lacking();
    match refusal.explanation().cloned() {
        // The verifier has stumbled over what it does not know.
        Some(mut explanation) => {
            explanation.kind = RefusalKind::KernelLacks;
            explanation.rule = rule;
            explanation.help = None;
            refusal.with_explanation(explanation)
        }
        None => refusal.with_rule(rule),
    }
}

impl Execution<'_> {
    /// A program of which the kernel has to know the types, which it has refused or the plan does without.
    #[cold]
    pub(super) fn cannot_do_without_types(&self, load: &ProgLoad) -> Error {
        let name = quote(&self.plan.programs[load.program.0]);
        let message = format!("program {name} has an exception callback, which the kernel finds by BTF only");
        match &self.types.refusal {
            Some(refusal) => refusal.clone().context(message),
            None => Error::new(ErrorKind::Unsupported, message),
        }
    }
}
