//! Programs that ask the network card about a packet: the kernel wants them bound to their interface.

use super::Loader;
use super::attach::several;
use super::externs::Externs;
use crate::error::{Error, ErrorKind, Remedy, Result, quote};
use crate::linker::Linked;
use crate::netlink::{Mode, ModeChoice};
use crate::object::ProgramSpec;
use crate::plan::call::Device;
use crate::plan::externs::ExternValue;
use crate::uapi::bpf::BPF_CALL;

/// How the functions are called that ask the network card (6.3, `XDP_METADATA_KFUNC_xxx` in `include/net/xdp.h`).
const ASKS_CARD: &str = "bpf_xdp_metadata_rx_";

impl Loader<'_> {
    /// What maps are made for.
    pub(super) fn device_of_maps(&self) -> Device {
        if self.is_offload() { Device::Card } else { Device::None }
    }

    /// What the program is loaded for. The verifier refuses calls of the functions that ask the network card, reached
    /// or not, in a program that could run on another one: it must be bound to the interface that it is attached to.
    pub(super) fn device(&self, program: &ProgramSpec, linked: &Linked, externs: &Externs) -> Result<Device> {
        let Some(function) = self.asks_card(linked, externs) else {
            return Ok(self.device_of_maps());
        };
        let calls = format!("program {} calls {}", quote(&program.function.name), quote(function));
        let Some(target) = self.targets.first() else {
            let message = format!("{calls}, and so must be bound to an interface when it is loaded");
            return Err(Error::new(ErrorKind::InvalidInput, message).with_help((
                "attach it in the same step, or name the interface to plan for: ",
                Remedy::NameInterface,
            )));
        };
        if let ModeChoice::Only(mode @ (Mode::Generic | Mode::Offload)) = target.mode {
            let message = format!("{calls}, which works only in native mode, not in {mode} mode");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        if target.netns.is_some() {
            let message = format!("{calls}, and so must be loaded in the network namespace of its interface");
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_help("load it from that namespace, with `ip netns exec NAME`"));
        }
        if self.targets.len() > 1 {
            return Err(several(&format!("{calls}, and so can be loaded for one interface only")));
        }
        Ok(Device::Interface)
    }

    /// A function that asks the network card and that the program calls, if this kernel has it.
    fn asks_card(&self, linked: &Linked, externs: &Externs) -> Option<&str> {
        linked.externs.iter().find_map(|reference| {
            let name = &*self.object.externs[reference.external].name;
            let is_call = linked.insns[reference.insn].code == BPF_CALL;
            let is_there =
                matches!(externs.get(reference.external), Some(ExternValue::Btf { module: None, .. }));
            (is_call && is_there && name.starts_with(ASKS_CARD)).then_some(name)
        })
    }
}
