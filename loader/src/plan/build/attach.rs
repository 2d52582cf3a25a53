//! The steps that attach a program to an interface.

use super::Target;
use crate::netlink::ModeChoice;
use crate::plan::call::{Call, ProgramSlot, SetLink};
use crate::plan::{On, Step, When};

/// Looks at the interface before anything is made, so that a wrong name costs nothing.
pub(super) fn find_interface(target: &Target) -> [Step; 2] {
    [
        Step::new(Call::OpenRouteSocket { netns: target.netns.clone() }),
        Step::new(Call::GetLink { link: target.link.clone() }),
    ]
}

pub(super) fn attach_steps(program: ProgramSlot, target: &Target) -> Vec<Step> {
    let set = |mode, replace| {
        let set = SetLink { program, mode, replace };
        let put_back = Step::new(Call::PutBack(set.clone()));
        Step::new(Call::SetLink(set)).or(On::Unanswered, vec![put_back])
    };
    let mut attach = set(Some(target.mode.first()), false);
    if let Some(mode) = target.mode.fallback() {
        attach = attach.or(On::Driver, vec![set(Some(mode), false)]);
    }
    if !target.replace {
        return vec![attach];
    }
    let same_mode = match target.mode {
        ModeChoice::Only(mode) => Some(mode),
        ModeChoice::Auto => None,
    };
    let replace = set(same_mode, true).or(On::Unexplained, vec![Step::new(Call::ProbeCompare)]);
    vec![
        Step::new(Call::ProgGetFdById).when(When::Occupied),
        replace.when(When::Occupied),
        attach.when(When::Vacant),
    ]
}
