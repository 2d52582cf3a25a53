//! A program in the kernel: loading it, finding it again, asking about it.

mod info;
mod test_run;

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::btf::{FuncInfo, LineInfo};
use crate::error::{Context as _, Error, ErrorKind, Explanation, Result, quote};
use crate::kernel::{LoadedBtf, Privilege, duplicate, explain_refusal, explain_rejection};
use crate::pin::{self, Kind};
use crate::sys::{Errno, attr, bpf};
use crate::uapi::bpf::{AttachType, BPF_INSN_SIZE, Cmd, ObjName, ProgType};

pub use crate::kernel::VerifierLog;
pub use crate::verifier::verdict;
pub use info::ProgramInfo;
pub use test_run::TestRun;

/// What is loaded: the fields of `BPF_PROG_LOAD`. [`ProgramParams::new`] has those that each program needs.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct ProgramParams<'a> {
    /// What errors call the program: its symbol, of which the kernel keeps only 15 bytes.
    pub label: &'a str,
    /// The type, which says what the program may do and where it may be attached.
    pub prog_type: ProgType,
    /// What it will be attached to, where the type asks for it (4.17).
    pub expected_attach_type: AttachType,
    /// The name that lists show. None for a kernel before 4.15, which refuses it with E2BIG.
    pub name: Option<ObjName>,
    /// The license; some helpers want one that is compatible with the GPL.
    pub license: &'a CStr,
    /// `LINUX_VERSION_CODE`, which the kernel compares for kprobes before 5.0.
    pub kern_version: u32,
    /// `BPF_F_*`, for instance `BPF_F_XDP_HAS_FRAGS`.
    pub flags: u32,
    /// The instructions in the machine's byte order, 8 bytes each, with map fds in place.
    pub insns: &'a [u8],
    /// The index of the network card that runs the program; 0 for the kernel itself (4.16).
    pub ifindex: u32,
    /// What the compiler said of its functions and lines (5.0).
    pub info: Option<CompilerInfo<'a>>,
    /// The types of modules whose functions it calls: a call has in `off` its module's place here, counted from 1
    /// (5.14).
    pub modules: &'a [BorrowedFd<'a>],
    /// For an extension (`BPF_PROG_TYPE_EXT`), the function that it replaces (5.6).
    pub extends: Option<FunctionOf<'a>>,
}

impl<'a> ProgramParams<'a> {
    /// A program for an interface (`BPF_PROG_TYPE_XDP`), without flags, without a name in lists, and without what the
    /// compiler said of it.
    pub fn new(label: &'a str, license: &'a CStr, insns: &'a [u8]) -> Self {
        Self {
            label,
            prog_type: ProgType::XDP,
            expected_attach_type: AttachType::XDP,
            name: None,
            license,
            kern_version: 0,
            flags: 0,
            insns,
            ifindex: 0,
            info: None,
            modules: &[],
            extends: None,
        }
    }
}

/// A function of a loaded program.
#[derive(Clone, Copy, Debug)]
pub struct FunctionOf<'a> {
    /// The program.
    pub program: BorrowedFd<'a>,
    /// The number of the function (`BTF_KIND_FUNC`) in the types that the program was loaded with.
    pub btf_id: u32,
}

/// What the compiler said of a program, in types that the kernel has taken.
#[derive(Clone, Copy, Debug)]
pub struct CompilerInfo<'a> {
    /// The types.
    pub btf: &'a LoadedBtf,
    /// Where each function begins.
    pub functions: &'a [FuncInfo],
    /// Which lines the instructions come from; empty for none.
    pub lines: &'a [LineInfo],
}

/// How many maps a program may use: `MAX_USED_MAPS` in `include/linux/bpf_verifier.h`, up to 6.18. Should a kernel
/// allow more, the question is asked again.
const MAX_USED_MAPS: usize = 64;

/// A program in the kernel, held by an fd. Dropping it closes the fd; what is attached or pinned lives on.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    label: String,
}

/// As [`Program::from_fd`].
impl TryFrom<OwnedFd> for Program {
    type Error = Error;

    fn try_from(fd: OwnedFd) -> Result<Self> {
        Self::from_fd(fd)
    }
}

impl Program {
    /// Loads a program: exactly one `BPF_PROG_LOAD`.
    ///
    /// The error has the kernel's errno. With a `log`, the verifier writes down its way through the program, whether
    /// it takes it or not, and the error has that text too; ENOSPC then means that the log did not fit, whatever
    /// the verdict. EAGAIN means that a signal came: load again.
    pub fn load(params: &ProgramParams<'_>, mut log: Option<&mut VerifierLog>) -> Result<Self> {
        let label = label(params.label, None);
        if params.insns.len() % BPF_INSN_SIZE != 0 {
            let len = params.insns.len();
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{label} has {len} bytes of instructions, which is no multiple of {BPF_INSN_SIZE}"),
            ));
        }
        let mut attr = attributes(params);
        let mut buffer: &mut [u8] = &mut [];
        if let Some(log) = log.as_deref_mut() {
            attr.log_level = log.level();
            buffer = log.prepare();
        }
        let info = params.info.as_ref();
        let content = bpf::ProgContent {
            insns: params.insns,
            license: params.license,
            btf: info.map(|info| info.btf.as_fd()),
            func_info: &info.map(|info| func_info(info.functions)).unwrap_or_default(),
            line_info: &info.map(|info| line_info(info.lines)).unwrap_or_default(),
            modules: params.modules,
            extends: params.extends.map(|function| (function.program, function.btf_id)),
        };
        let (answer, log_size) = bpf::prog_load(attr, &content, buffer);
        if let Some(log) = log.as_deref_mut() {
            log.set_size(log_size);
        }
        match answer {
            Ok(fd) => Ok(Self { fd, label }),
            Err(errno) => Err(load_error(&label, errno, log.as_deref())),
        }
    }

    /// Takes over `fd`, which must be that of a program: one `BPF_OBJ_GET_INFO_BY_FD`, for its name.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::with_info(fd).map(|(program, _)| program)
    }

    /// As [`Program::from_fd`], and gives what that call told, without the ids of the maps.
    pub fn with_info(fd: OwnedFd) -> Result<(Self, ProgramInfo)> {
        pin::expect(Kind::Program, fd.as_fd())?;
        Self::described(fd)
    }

    /// The same of an fd that can only be that of a program.
    fn described(fd: OwnedFd) -> Result<(Self, ProgramInfo)> {
        let info = bpf::prog_info(fd.as_fd(), &mut [])
            .map_err(|errno| Error::os(&Cmd::OBJ_GET_INFO_BY_FD.call(), "the program", errno.0))?;
        let info = ProgramInfo::new(&info, Vec::new());
        Ok((Self { fd, label: label(&info.name, Some(info.id)) }, info))
    }

    /// Opens the program with this id: one `BPF_PROG_GET_FD_BY_ID`, and one `BPF_OBJ_GET_INFO_BY_FD` for its name. It
    /// needs CAP_SYS_ADMIN.
    pub fn from_id(id: u32) -> Result<Self> {
        Self::from_id_with_info(id).map(|(program, _)| program)
    }

    /// As [`Program::from_id`], and gives what the kernel told, without the ids of the maps.
    pub fn from_id_with_info(id: u32) -> Result<(Self, ProgramInfo)> {
        let fd = bpf::prog_fd_by_id(id).map_err(|errno| by_id_error(id, errno))?;
        Self::described(fd).context(|| label("", Some(id)))
    }

    /// Opens the program that is pinned at `path`: one `BPF_OBJ_GET`, and the call of [`Program::from_fd`].
    pub fn open_pinned(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_pinned_with_info(path).map(|(program, _)| program)
    }

    /// As [`Program::open_pinned`], and gives what the kernel told, without the ids of the maps.
    pub fn open_pinned_with_info(path: impl AsRef<Path>) -> Result<(Self, ProgramInfo)> {
        let path = path.as_ref();
        Self::with_info(pin::open(path)?).context(|| format!("pin {}", pin::show(path)))
    }

    /// Pins the program at `path`: one `BPF_OBJ_PIN`.
    pub fn pin(&self, path: impl AsRef<Path>) -> Result<()> {
        pin::pin(self.as_fd(), path.as_ref()).context(|| format!("pinning {}", self.label))
    }

    /// Has the program hold `map` for as long as it lives, as if its instructions used it: one `BPF_PROG_BIND_MAP`
    /// (5.10).
    pub fn bind_map(&self, map: BorrowedFd<'_>) -> Result<()> {
        bpf::prog_bind_map(self.as_fd(), map)
            .map_err(|errno| Error::os(&Cmd::PROG_BIND_MAP.call(), &self.label, errno.0))
    }

    /// What the kernel says of the program: one `BPF_OBJ_GET_INFO_BY_FD`.
    pub fn info(&self) -> Result<ProgramInfo> {
        let ask = |map_ids: &mut [u32]| {
            bpf::prog_info(self.as_fd(), map_ids)
                .map_err(|errno| Error::os(&Cmd::OBJ_GET_INFO_BY_FD.call(), &self.label, errno.0))
        };
        let mut map_ids = vec![0; MAX_USED_MAPS];
        let mut info = ask(&mut map_ids)?;
        if info.nr_map_ids as usize > map_ids.len() {
            map_ids.resize(info.nr_map_ids as usize, 0);
            info = ask(&mut map_ids)?;
        }
        map_ids.truncate(info.nr_map_ids as usize);
        Ok(ProgramInfo::new(&info, map_ids))
    }

    /// A second handle of the same program.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { fd: duplicate(&self.fd, &self.label)?, label: self.label.clone() })
    }
}

impl From<Program> for OwnedFd {
    fn from(program: Program) -> Self {
        program.fd
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `struct bpf_func_info`, one after the other.
fn func_info(functions: &[FuncInfo]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(functions));
    for info in functions {
        for word in [insn_index(info.offset), info.ty.0] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
    }
    bytes
}

/// `struct bpf_line_info`, one after the other.
fn line_info(lines: &[LineInfo]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(lines));
    for line in lines {
        for word in [insn_index(line.offset), line.file.offset(), line.text.offset(), line.line_col()] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
    }
    bytes
}

/// The kernel counts in instructions, the compiler in bytes.
fn insn_index(offset: u32) -> u32 {
    offset / 8
}

fn attributes(params: &ProgramParams<'_>) -> attr::ProgLoad {
    let mut attr = attr::ProgLoad::default();
    attr.prog_type = params.prog_type.0;
    attr.expected_attach_type = params.expected_attach_type.0;
    attr.prog_name = params.name.map_or([0; 16], |name| name.bytes());
    attr.kern_version = params.kern_version;
    attr.prog_flags = params.flags;
    attr.prog_ifindex = params.ifindex;
    attr
}

fn by_id_error(id: u32, errno: Errno) -> Error {
    if errno == Errno::ENOENT {
        return Error::new(ErrorKind::NotFound, format!("there is no program with id {id}"));
    }
    let error = Error::os(&Cmd::PROG_GET_FD_BY_ID.call(), label("", Some(id)), errno.0);
    explain_refusal(error, &[Privilege::Admin])
}

/// A refusal is the verifier's if it has written why. It may do so with EPERM too, but then a privilege is missing.
fn load_error(label: &str, errno: Errno, log: Option<&VerifierLog>) -> Error {
    let error = Error::os(&Cmd::PROG_LOAD.call(), label, errno.0);
    let text = log.map(VerifierLog::text).unwrap_or_default();
    match (errno, verdict(&text)) {
        // So the verifier refuses, too, and is heard when the program is loaded with a log.
        (Errno(libc::EACCES), None) if log.is_none() => error,
        (_, None) => explain_refusal(error, &[Privilege::Bpf, Privilege::BpfNetwork]),
        (Errno::EPERM, _) => {
            let error =
                explain_refusal(error.with_verifier_log(text), &[Privilege::Bpf, Privilege::BpfNetwork]);
            if error.rule().is_none() { explain_rejection(error) } else { error }
        }
        (Errno::ENOSPC | Errno::EAGAIN, _) => error.with_verifier_log(text),
        (_, Some(verdict)) => {
            // Whoever knows the object behind the instructions can say more.
            let explanation = Explanation::new(verdict, text.lines().count());
            let message = format!("{label} was refused by the verifier");
            let error = Error::new(ErrorKind::VerifierRejected, message).with_errno(errno.0);
            explain_rejection(error.with_verifier_log(text)).with_explanation(explanation)
        }
    }
}

/// The program as messages call it.
fn label(name: &str, id: Option<u32>) -> String {
    match id {
        _ if !name.is_empty() => format!("program {}", quote(name)),
        Some(id) => format!("program {id}"),
        None => "the program".to_owned(),
    }
}
