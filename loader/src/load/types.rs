//! The calls on types. Maps and programs are made without types where the kernel refuses these; one that cannot do
//! without says why it has none.

use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::libc::{EINVAL, ENOSPC};

use super::{Execution, Outcome};
use crate::diagnosis::why_types_refused;
use crate::error::{Error, Quoted, RefusalKind, Result, quote};
use crate::kernel::{LoadedBtf, VerifierLog};
use crate::plan::{BtfLoad, Call, On, ProgLoad};
use crate::uapi::bpf::MapType;

/// What has become of the object's types.
#[derive(Default)]
pub(super) struct Types {
    /// They, if the kernel has taken them.
    pub(super) btf: Option<LoadedBtf>,
    /// Why it has not.
    pub(super) refusal: Option<Error>,
    /// The calls that were made again without types, and why.
    untyped: Vec<(Call, Error)>,
}

impl Execution<'_> {
    pub(super) fn load_btf(&mut self, load: BtfLoad, log: Option<&mut VerifierLog>) -> Result<Outcome> {
        let data = self.plan.btf_bytes(load.without)?;
        let has_log = log.is_some();
        let btf = LoadedBtf::load(&data, log).map_err(|mut refusal| {
            if has_log {
                refusal = self.without_a_word(refusal);
            }
            self.types.refusal = Some(refusal.clone());
            refusal
        })?;
        let outcome = Outcome::Fd(btf.as_fd().as_raw_fd());
        (self.types.btf, self.types.refusal) = (Some(btf), None);
        Ok(outcome)
    }

    /// Says of a refusal that came without a word which rule the types break, if that is known.
    #[cold]
    fn without_a_word(&self, refusal: Error) -> Error {
        let (None, None, Some(errno)) = (refusal.kernel_message(), refusal.rule(), refusal.errno()) else {
            return refusal;
        };
        let rule = self.plan.btf.as_ref().and_then(|btf| why_types_refused(btf, errno));
        match rule {
            None if errno == EINVAL => refusal.with_rule("the kernel gives no reason"),
            None => refusal,
            Some(rule) => refusal.with_rule(rule),
        }
    }

    /// Asks the kernel what it does not like, with a log that grows until its words fit.
    pub(super) fn load_btf_with_log(&mut self, load: BtfLoad) -> Result<()> {
        let mut log = VerifierLog::new(VerifierLog::PATH);
        let call = Call::BtfLoad(load);
        loop {
            match self.recorded(&call, &mut |execution| execution.load_btf(load, Some(&mut log))) {
                Err(error) if error.errno() == Some(ENOSPC) && log.grow() => {}
                answer => return answer,
            }
        }
    }

    /// Keeps why a call is made again without types.
    #[cold]
    pub(super) fn note_refusal_of_types(&mut self, call: &Call, other: On, refusal: &Error) {
        if matches!(other, On::EntryTypes | On::ProgInfo) {
            self.types.untyped.push((call.clone(), refusal.clone()));
        }
    }

    /// Says of a refusal that it comes of types which the kernel has refused before, where it does.
    #[cold]
    pub(super) fn for_want_of_types(&self, refusal: Error, call: &Call) -> Error {
        match call {
            Call::ProgLoad(load) => self.untyped_program(refusal, load),
            Call::MapCreate(create)
                if refusal.errno() == Some(EINVAL) && needs_types(create.shape.map_type) =>
            {
                let is_it = |call: &Call| matches!(call, Call::MapCreate(other) if other.map == create.map);
                match self.why_untyped(is_it) {
                    Some((_, reason)) => refusal.with_rule(format!(
                        "maps of this type must come with the types of their entries, and the kernel has refused \
                         those: {}",
                        told(reason)
                    )),
                    None => refusal,
                }
            }
            _ => refusal,
        }
    }

    fn untyped_program(&self, refusal: Error, load: &ProgLoad) -> Error {
        let explanation = refusal.explanation();
        let Some(explanation) = explanation.filter(|it| it.kind == RefusalKind::TypesMissing) else {
            return refusal;
        };
        // Of a map the verifier has the kernel's name.
        let map = explanation.words.strip_prefix("map '").and_then(|rest| rest.split('\'').next());
        let is_used = |map| load.map_references.iter().any(|reference| reference.map == map);
        let reason = self.why_untyped(|call| match (call, map) {
            (Call::MapCreate(create), Some(map)) => {
                is_used(create.map) && create.name.is_some_and(|name| name.as_str() == map)
            }
            (Call::ProgLoad(other), None) => other.program == load.program,
            _ => false,
        });
        let Some((call, reason)) = reason else { return refusal };
        let mut explanation = explanation.clone();
        // The compiler has written types.
        (explanation.rule, explanation.help) = match call {
            Some(Call::MapCreate(create)) if create.shape.map_type.is_per_cpu() => {
                let map_type = create.shape.map_type;
                in_per_cpu_map(&explanation.words, quote(&self.plan.maps[create.map.0]), map_type)
            }
            _ => (format!("{}, since it has refused them: {}", explanation.rule, told(reason)), None),
        };
        refusal.with_explanation(explanation)
    }

    /// Why a call had to do without types: the kernel has refused the object's, or those that came with the call, which
    /// it is then.
    fn why_untyped(&self, is_it: impl Fn(&Call) -> bool) -> Option<(Option<&Call>, &Error)> {
        let of_call = || self.types.untyped.iter().find(|(call, _)| is_it(call));
        let of_all = self.types.refusal.as_ref().map(|refusal| (None, refusal));
        of_all.or_else(|| of_call().map(|(call, refusal)| (Some(call), refusal)))
    }
}

/// A refusal with its rule, in one line.
fn told(refusal: &Error) -> String {
    let rule = refusal.rule().map_or_else(String::new, |rule| format!("; {rule}"));
    format!("{refusal}{rule}")
}

/// The rule and the help about a lock, a timer or the like, with which the verifier's `words` end, in a value of a map
/// that has one for each CPU. No kernel takes them there (`map_check_btf()` in `kernel/bpf/syscall.c`).
fn in_per_cpu_map(words: &str, map: Quoted<'_>, map_type: MapType) -> (String, Option<String>) {
    let what = words.rsplit(' ').next().unwrap_or(words);
    let rule = format!("the values of map {map} have a {what}, which maps of type {map_type} cannot have");
    let help =
        format!("use a map of type array or hash, or leave the {what} out: each CPU has its own value there");
    (rule, Some(help))
}

/// Whether the kernel refuses a map of this type without the types of its entries
/// (`bpf_local_storage_map_alloc_check()` in `kernel/bpf/bpf_local_storage.c`).
fn needs_types(map_type: MapType) -> bool {
    [MapType::SK_STORAGE, MapType::INODE_STORAGE, MapType::TASK_STORAGE, MapType::CGRP_STORAGE]
        .contains(&map_type)
}
