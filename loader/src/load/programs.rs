//! A plan's calls on programs: loading one, opening a loaded one, pinning it, and telling of it.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::Path;

use nix::libc::{EAGAIN, EINVAL, ENOSPC, EOPNOTSUPP};

use super::{Execution, Outcome};
use crate::bytes::ByteOrder;
use crate::error::{Context as _, Error, ErrorKind, Result, quote};
use crate::features::Feature;
use crate::insn::encode_all;
use crate::kernel::{self, LoadedBtf, VerifierLog};
use crate::order::InOrder as _;
use crate::pin;
use crate::plan::{Call, Device, Existing, ModuleSlot, ProgLoad, ProgramSlot};
use crate::program::{CompilerInfo, Program, ProgramInfo, ProgramParams};
use crate::uapi::bpf::ProgType;

/// How often a load is tried again that a signal has interrupted (EAGAIN).
const MAX_INTERRUPTIONS: usize = 5;

impl Existing {
    pub(super) fn open(&self) -> Result<(Program, ProgramInfo)> {
        match self {
            Self::Pinned(path) => Program::open_pinned_with_info(Path::new(path)),
            Self::Id(id) => Program::from_id_with_info(*id),
        }
    }
}

impl Execution<'_> {
    pub(super) fn program(&self, slot: ProgramSlot) -> &Program {
        self.slots.programs[slot.0].as_ref().expect("a plan uses a program after the step that loads it")
    }

    /// The types of a module that an earlier step of the plan has found.
    pub(super) fn module(&self, slot: ModuleSlot) -> BorrowedFd<'_> {
        self.slots.modules[slot.0].as_ref().expect("a plan uses types after the step that finds them").as_fd()
    }

    pub(super) fn find_module_btf(&mut self, slot: ModuleSlot) -> Result<Outcome> {
        let btf = LoadedBtf::of_module(&self.plan.modules[slot.0])?;
        let outcome = Outcome::Fd(btf.as_fd().as_raw_fd());
        self.slots.modules[slot.0] = Some(btf);
        Ok(outcome)
    }

    /// Loads without a log, again where only a signal came in between.
    pub(super) fn load_uninterrupted(&mut self, call: &Call, load: &ProgLoad) -> Result<()> {
        for _ in 0..MAX_INTERRUPTIONS {
            match self.recorded(call, &mut |execution| execution.load_program(load, None)) {
                Err(error) if error.errno() == Some(EAGAIN) => {}
                answer => return answer,
            }
        }
        self.recorded(call, &mut |execution| execution.load_program(load, None))
    }

    /// Loads with a log that grows until the verifier's words fit.
    pub(super) fn load_with_log(&mut self, call: &Call, load: &ProgLoad) -> Result<()> {
        let mut log = VerifierLog::new(VerifierLog::PATH);
        let (mut interruptions, mut cut_short) = (0, None);
        loop {
            let answer = self.recorded(call, &mut |execution| execution.load_program(load, Some(&mut log)));
            match answer {
                Err(error) if error.errno() == Some(ENOSPC) && log.grow() => cut_short = Some(error),
                // As much of the log as this kernel writes says more than that it writes no more.
                Err(error) if error.errno() == Some(EINVAL) && log.may_be_too_large() => {
                    return Err(cut_short.unwrap_or(error));
                }
                Err(error) if error.errno() == Some(EAGAIN) && interruptions < MAX_INTERRUPTIONS => {
                    interruptions += 1;
                }
                answer => return answer,
            }
        }
    }

    pub(super) fn load_program(&mut self, load: &ProgLoad, log: Option<&mut VerifierLog>) -> Result<Outcome> {
        let mut insns = load.insns.to_vec();
        for reference in &load.map_references {
            insns[reference.insn].imm = self.map(reference.map).as_fd().as_raw_fd();
        }
        for reference in &load.module_references {
            insns[reference.insn].imm = self.module(reference.module).as_raw_fd();
        }
        let modules: Vec<_> = load.modules.iter().map(|module| self.module(*module)).collect();
        let license = CString::new(load.license.as_str())
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "the license has a NUL byte"))?;
        let program = Program::load(
            &ProgramParams {
                label: &self.plan.programs[load.program.0],
                prog_type: load.prog_type,
                expected_attach_type: load.expected_attach_type.unwrap_or_default(),
                name: load.name,
                license: &license,
                kern_version: load.kern_version,
                flags: load.flags,
                insns: &encode_all(&insns, ByteOrder::NATIVE),
                ifindex: self.ifindex_of(load.device),
                modules: &modules,
                extends: load
                    .extends
                    .as_deref()
                    .map(|function| self.function_to_replace(function))
                    .transpose()?,
                info: self.types.btf.as_ref().zip(load.info.as_ref()).map(|(btf, info)| CompilerInfo {
                    btf,
                    functions: &info.functions,
                    lines: &info.lines,
                }),
            },
            log,
        )
        .map_err(|error| self.explained(error, load))
        .map_err(|error| self.for_device(error, load.device))
        .map_err(|error| self.for_bpf_link(error, load.program))?;
        let outcome = Outcome::Fd(program.as_fd().as_raw_fd());
        // One that was loaded before may be attached elsewhere, where it is known by its fd.
        self.slots.superseded.extend(self.slots.programs[load.program.0].replace(program));
        Ok(outcome)
    }

    /// Opens a program that somebody has loaded, and refuses one of another type, which could not be attached.
    pub(super) fn open_program(&mut self, slot: ProgramSlot, existing: &Existing) -> Result<Outcome> {
        let (program, info) = existing.open()?;
        if info.prog_type != ProgType::XDP {
            let name = &self.plan.programs[slot.0];
            let message = format!("the program {name} is of type {}, not an XDP program", info.prog_type);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let outcome = Outcome::Fd(program.as_fd().as_raw_fd());
        self.slots.programs[slot.0] = Some(program);
        Ok(outcome)
    }

    pub(super) fn pin_program(&self, slot: ProgramSlot, path: &str) -> Result<()> {
        let name = quote(&self.plan.programs[slot.0]);
        pin::pin_in_bpffs(self.program(slot).as_fd(), Path::new(path))
            .context(|| format!("pinning program {name}"))
    }

    /// What was pinned by an earlier run of the same load, perhaps by one that was killed, is taken over.
    pub(super) fn find_same_program(&mut self, slot: ProgramSlot, path: &str) -> Result<Outcome> {
        let ours = self.program(slot).info()?;
        let pinned = Program::open_pinned(Path::new(path))?;
        let there = pinned.info()?;
        let maps = |info: &ProgramInfo| info.map_ids.iter().copied().into_set();
        let difference = if there.tag != ours.tag {
            "with other code"
        } else if maps(&there) != maps(&ours) {
            "the same code with other maps"
        } else {
            self.slots.programs[slot.0] = Some(pinned);
            return Ok(Outcome::Found(format!("program {}, the same", there.id)));
        };
        let name = quote(&self.plan.programs[slot.0]);
        let message =
            format!("pinning program {name}: {} is pinned already: program {}", quote(path), there.id);
        Err(Error::new(ErrorKind::Conflict, format!("{message}, {difference}"))
            .with_help("remove that pin, or pin below another directory"))
    }

    /// Asks for what is told of a program that was pinned or attached.
    pub(super) fn ask_for_info(&mut self, slot: ProgramSlot) -> Result<Outcome> {
        let info = self.program(slot).info()?;
        let outcome = Outcome::Found(format!("id {}", info.id));
        if let Some(attached) = &mut self.here_mut().attached {
            attached.info = Some(info.clone());
        }
        self.slots.infos[slot.0] = Some(info);
        Ok(outcome)
    }

    /// Says what the verifier's log of a refusal means for this program.
    pub(super) fn explained(&self, error: Error, load: &ProgLoad) -> Error {
        match error.verifier_log().map(|log| self.plan.explain(load, log)) {
            Some(explanation) => error.with_explanation(explanation),
            None => error,
        }
    }

    /// The interface that a program or a map is made for.
    pub(super) fn ifindex_of(&self, device: Device) -> u32 {
        match device {
            Device::None => 0,
            Device::Card | Device::Interface => self.interface().index,
        }
    }

    /// Says of a refusal whom it comes from: the network card that was asked to hold the map or the program, or the
    /// driver of the interface that the program was to be bound to, which must run programs itself.
    pub(super) fn for_device(&self, error: Error, device: Device) -> Error {
        let refused = matches!(error.kind(), ErrorKind::VerifierRejected | ErrorKind::PermissionDenied);
        match device {
            Device::Card if !refused => error
                .context(format!("offload mode, to the network card {}", quote(&self.interface().name)))
                .with_help("few network cards run programs themselves; native mode runs them in the driver"),
            Device::Interface if error.errno() == Some(EOPNOTSUPP) => {
                error.context(format!("bound to interface {}", quote(&self.interface().name))).with_help(
                    "its driver does not run XDP programs, and only in a driver can they ask about packets",
                )
            }
            _ => error,
        }
    }

    pub(super) fn probe(&mut self, feature: Feature) -> Outcome {
        let answer = kernel::probe(feature);
        self.kernel.learn(feature, answer);
        Outcome::Found(format!("{feature}: {answer}"))
    }
}
