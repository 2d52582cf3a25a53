//! What the verifier's log of a program means, with all that the plan knows of the program.

use super::{Call, Plan, ProgLoad};
use crate::error::{Explanation, RefusalKind};
use crate::uapi::bpf::BPF_INSN_SIZE;
use crate::verifier::{Subject, explain};

impl Plan {
    /// What the verifier's `log` of `load`, a step of this plan that was refused, means.
    pub fn explain(&self, load: &ProgLoad, log: &str) -> Explanation {
        let subject = Subject {
            insns: &load.insns,
            btf: self.btf.as_deref(),
            lines: load.info.as_ref().map_or(&[], |info| &info.lines),
            functions: self.functions(load),
            maps: self.maps_of(load),
            license: Some(&load.license),
            prog_type: Some(load.prog_type),
        };
        let mut explanation = explain(&subject, log);
        if let Some(lacking) = self.lacking(load.program, log) {
            explanation.kind = RefusalKind::KernelLacks;
            explanation.rule = lacking.rule;
            explanation.help = Some(lacking.help.to_owned());
        }
        explanation
    }

    /// Where functions begin, and their names, as far as the types tell.
    fn functions(&self, load: &ProgLoad) -> Vec<(usize, &str)> {
        let functions = load.info.iter().flat_map(|info| &info.functions);
        let named = functions.filter_map(|function| {
            let btf = self.btf.as_ref()?;
            Some((function.offset as usize / BPF_INSN_SIZE, btf.name(function.ty).ok()?))
        });
        named.collect()
    }

    /// The maps that the program refers to, and the sizes of their values.
    fn maps_of(&self, load: &ProgLoad) -> Vec<(&str, u32)> {
        let mut maps = Vec::new();
        for call in self.calls() {
            if let Call::MapCreate(create) = call {
                let is_referred_to = load.map_references.iter().any(|reference| reference.map == create.map);
                let name = self.maps.get(create.map.0).map(String::as_str);
                let map = name.map(|name| (name, create.shape.value_size));
                maps.extend(map.filter(|map| is_referred_to && !maps.contains(map)));
            }
        }
        maps
    }
}
