//! The steps that attach a program to an interface.

use std::collections::BTreeMap;

use nix::libc::{EEXIST, ENOPROTOOPT, ENOTEMPTY};

use super::{Loader, Target};
use crate::error::{Error, ErrorKind, Result, quote};
use crate::netlink::ModeChoice;
use crate::plan::call::{Call, MapSlot, ProgramSlot, SetLink};
use crate::plan::keep::{Attachment, Keep, KeepAction, keep_name, keep_root};
use crate::plan::{On, Step, When};

/// Looks at the interface before anything is made, so that a wrong name costs nothing.
pub(super) fn find_interface(target: &Target) -> [Step; 2] {
    [
        Step::new(Call::OpenRouteSocket { netns: target.netns.clone() }),
        Step::new(Call::GetLink { link: target.link.clone() }),
    ]
}

/// Asks for what tells the namespace from others, which kernels before 5.14 cannot.
pub(super) fn netns_cookie() -> Step {
    Step::new(Call::NetnsCookie).or(On::Errno(&[ENOPROTOOPT]), Vec::new())
}

impl Loader<'_> {
    /// Pins the prog arrays `maps` for as long as the program is attached; see [`keep_dir`](crate::plan::keep_dir).
    pub(super) fn keep_steps(&self, program: ProgramSlot, maps: &[usize]) -> Result<Vec<Step>> {
        let of = Attachment::New(program);
        let there = |call| Step::new(call).or(On::Errno(&[EEXIST]), Vec::new());
        let mut steps = vec![
            // The directory is called after the program's id.
            Step::new(Call::ProgInfo { program }),
            there(Call::Mkdir { path: keep_root(&self.bpffs) }),
            there(self.keep(of, KeepAction::MakeDir)),
        ];
        let mut names = BTreeMap::new();
        for &map in maps {
            let own = &self.object.maps[map].name;
            let name = keep_name(own);
            if let Some(other) = names.insert(name.clone(), own) {
                let message = format!(
                    "maps {} and {} would both be pinned as {}",
                    quote(other),
                    quote(own),
                    quote(&name)
                );
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
            let pin = KeepAction::Pin { map: MapSlot(map), name: name.clone() };
            let pin = || Step::new(self.keep(of, pin.clone()));
            // What is there was left by another program, whose id has come round again.
            let unpin = Step::new(self.keep(of, KeepAction::Unpin { name: name.clone() }));
            steps.push(pin().or(On::Errno(&[EEXIST]), vec![unpin, pin()]));
        }
        Ok(steps)
    }

    /// Removes the pins of the program that was replaced, if it has any. What cannot be removed stays, since the new
    /// program is attached by then.
    pub(super) fn let_go_steps(&self) -> Step {
        let step = |action| Step::new(self.keep(Attachment::Replaced, action));
        let try_to = |action| step(action).or(On::AnyErrno, Vec::new());
        let filled = vec![try_to(KeepAction::UnpinAll), try_to(KeepAction::RemoveDir)];
        let remove = step(KeepAction::RemoveDir).or(On::Errno(&[ENOTEMPTY]), filled);
        remove.or(On::AnyErrno, Vec::new()).when(When::Occupied)
    }

    fn keep(&self, of: Attachment, action: KeepAction) -> Call {
        Call::Keep(Keep { bpffs: self.bpffs.clone(), of, action })
    }
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
