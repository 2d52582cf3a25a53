//! Says of a refusal that the kernel is too old for what was asked of it, as far as a look tells.

use nix::libc::{E2BIG, EINVAL};

use crate::error::{Error, RefusalKind};
use crate::features::{Answer, Feature};
use crate::kernel::probe;
use crate::plan::{Call, ProgLoad};

/// `refusal` of `call`, with the feature that the kernel lacks for it; as it is where nothing is known to be lacking.
#[cold]
pub(super) fn explained(refusal: Error, call: &Call) -> Error {
    if !matches!(refusal.errno(), Some(EINVAL | E2BIG)) {
        return refusal;
    }
    if let (Some(E2BIG), Call::ProgLoad(ProgLoad { extends: Some(_), .. })) = (refusal.errno(), call) {
        return refusal.with_rule(
            "the kernel lacks programs that replace functions of others, which came with Linux 5.6",
        );
    }
    match call.needs().into_iter().find(|feature| probe(*feature) == Answer::No) {
        Some(feature) => with_age(refusal, feature),
        None => refusal,
    }
}

fn with_age(refusal: Error, feature: Feature) -> Error {
    let rule = format!("the kernel lacks {feature}, which came with Linux {}", feature.since());
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
