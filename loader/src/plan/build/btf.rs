//! The step that hands over the object's BTF.

use super::NEWER;
use crate::btf::{Btf, BtfAddition};
use crate::features::{Answer, Feature, Kernel};
use crate::plan::call::{BtfLoad, Call};
use crate::plan::{On, Step};

/// Hands over the types; if the kernel refuses them, as many as it knows, and none if it refuses those as well.
///
/// The oldest thing that a kernel lacks tells what else it lacks, so that they are looked for from the oldest on.
pub(super) fn btf_step(btf: &Btf, kernel: &Kernel) -> Step {
    let call = |without, log| Call::BtfLoad(BtfLoad { without, log });
    let explain = |without| vec![Step::new(call(without, true)).or(On::AnyErrno, Vec::new())];
    let used: Vec<_> = BtfAddition::ALL.into_iter().filter(|&addition| btf.uses(addition)).collect();
    let has = |addition: BtfAddition| kernel.has(Feature::BtfWith(addition));
    let lack = used.iter().copied().find(|&addition| has(addition) == Answer::No);
    let mut step = Step::new(call(lack, false));
    for addition in used.into_iter().take_while(|addition| lack.is_none_or(|lack| *addition < lack)) {
        if has(addition) == Answer::Unknown {
            let reduced = Step::new(call(Some(addition), false)).or(On::AnyErrno, explain(Some(addition)));
            step = step.or_lacking(NEWER, Feature::BtfWith(addition), vec![reduced]);
        }
    }
    step.or(On::AnyErrno, explain(lack))
}
