//! bpf(2): one function per command, for those whose lengths the kernel is told.
//!
//! None of them tries again by itself. Only `BPF_PROG_TEST_RUN` gives EINTR for a signal, between two runs: the batch
//! commands use it to say that an entry went away, and `BPF_PROG_LOAD` gives EAGAIN for a signal, which its caller
//! handles.
//! Every fd that the kernel makes here is close-on-exec by itself.

use std::ffi::{CStr, c_int};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use super::Errno;
use super::attr::{
    BtfInfo, BtfLoad, ById, LinkCreate, LinkDetach, LinkInfo, LinkUpdate, MapElem, MapInfo, Obj, ObjInfo,
    ProgBindMap, ProgInfo, ProgLoad, ProgRunLive, ProgTestRun, RawTracepointOpen,
};
use crate::uapi::bpf::{
    AttachType, BPF_CALL, BPF_F_REPLACE, BPF_F_TEST_XDP_LIVE_FRAMES, BPF_INSN_SIZE, BPF_LD_IMM64,
    BPF_PSEUDO_KFUNC_CALL, BPF_PSEUDO_MAP_IDX, BPF_PSEUDO_MAP_IDX_VALUE, Cmd,
};
use crate::uapi::btf::{FUNC_INFO_SIZE, LINE_INFO_SIZE};

/// How `cmd` is refused when nothing is handed over with it; none where it is not refused, or is one that might do
/// something even so. The kernel's own checks refuse it for its content, a filter in front of them for its name.
pub(crate) fn refusal_of_blank(cmd: Cmd) -> Option<i32> {
    let is_harmless = matches!(
        cmd,
        Cmd::MAP_CREATE
            | Cmd::PROG_LOAD
            | Cmd::BTF_LOAD
            | Cmd::OBJ_GET
            | Cmd::PROG_GET_NEXT_ID
            | Cmd::MAP_GET_NEXT_ID
            | Cmd::PROG_GET_FD_BY_ID
            | Cmd::MAP_GET_FD_BY_ID
            | Cmd::BTF_GET_FD_BY_ID
    );
    if !is_harmless {
        return None;
    }
    // SAFETY: with a length of 0 the kernel reads nothing, and takes all of the attributes for 0: a map or program of
    // no type, an object without id, a path that nobody can read.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, cmd.0, std::ptr::null::<u8>(), 0) };
    (answer == -1).then(|| Errno::last().0)
}

/// Makes `fd` findable at `path` in a bpffs.
pub(crate) fn obj_pin(fd: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let mut attr = Obj { pathname: c_str_address(path), bpf_fd: number(fd), ..Obj::default() };
    // SAFETY: the kernel reads the path up to its NUL byte, which a CStr has.
    unsafe { bpf(Cmd::OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens the map, program or link that is pinned at `path`.
pub(crate) fn obj_get(path: &CStr) -> Result<OwnedFd, Errno> {
    let mut attr = Obj { pathname: c_str_address(path), ..Obj::default() };
    // SAFETY: the kernel reads the path up to its NUL byte, which a CStr has, and returns a new fd.
    unsafe { bpf_fd(Cmd::OBJ_GET, &mut attr) }
}

/// Hands over the types in `data`. An empty `log` goes with level 0.
///
/// Beside the answer comes the number of bytes that the whole log takes, which the kernel tells since 6.4; 0 before.
pub(crate) fn btf_load(data: &[u8], level: u32, log: &mut [u8]) -> (Result<OwnedFd, Errno>, u32) {
    let (Ok(btf_size), Ok(btf_log_size)) = (u32::try_from(data.len()), u32::try_from(log.len())) else {
        return (Err(Errno::E2BIG), 0);
    };
    let mut attr = BtfLoad {
        btf: address(data),
        btf_log_buf: address_mut(log),
        btf_size,
        btf_log_size,
        btf_log_level: level,
        ..BtfLoad::default()
    };
    // SAFETY: the kernel reads `btf_size` bytes and writes no more than `btf_log_size`; both were taken from the
    // slices. The answer is a new fd.
    let answer = unsafe { bpf_fd(Cmd::BTF_LOAD, &mut attr) };
    (answer, attr.btf_log_true_size)
}

/// The parts of a program that [`prog_load`] hands over by their addresses.
#[derive(Clone, Copy, Default)]
pub(crate) struct ProgContent<'a> {
    /// A part of an instruction at the end is not sent.
    pub(crate) insns: &'a [u8],
    pub(crate) license: &'a CStr,
    /// The types that `func_info` and `line_info` speak of.
    pub(crate) btf: Option<BorrowedFd<'a>>,
    /// Records of [`FUNC_INFO_SIZE`] bytes.
    pub(crate) func_info: &'a [u8],
    /// Records of [`LINE_INFO_SIZE`] bytes.
    pub(crate) line_info: &'a [u8],
    /// The types of modules that calls refer to by their place here, counted from 1.
    pub(crate) modules: &'a [BorrowedFd<'a>],
    /// The program that this one extends, and the number of the function that it replaces.
    pub(crate) extends: Option<(BorrowedFd<'a>, u32)>,
}

/// Loads a program: `attr` says what it is, `content` of what it is made. An empty `log` goes with `log_level` 0.
///
/// Beside the answer comes the number of bytes that the whole log takes, which the kernel tells since 6.4; 0 before.
pub(crate) fn prog_load(
    mut attr: ProgLoad,
    content: &ProgContent<'_>,
    log: &mut [u8],
) -> (Result<OwnedFd, Errno>, u32) {
    let count = |bytes: &[u8], size: usize| u32::try_from(bytes.len() / size);
    let (Ok(insn_cnt), Ok(func_info_cnt), Ok(line_info_cnt), Ok(log_size)) = (
        count(content.insns, BPF_INSN_SIZE),
        count(content.func_info, FUNC_INFO_SIZE),
        count(content.line_info, LINE_INFO_SIZE),
        u32::try_from(log.len()),
    ) else {
        return (Err(Errno::E2BIG), 0);
    };
    attr.insn_cnt = insn_cnt;
    attr.insns = address(content.insns);
    attr.license = c_str_address(content.license);
    attr.prog_btf_fd = content.btf.map_or(0, number);
    if let Some((program, btf_id)) = content.extends {
        attr.attach_prog_fd = number(program);
        attr.attach_btf_id = btf_id;
    }
    if func_info_cnt > 0 {
        attr.func_info_rec_size = record_size(FUNC_INFO_SIZE);
        attr.func_info = address(content.func_info);
        attr.func_info_cnt = func_info_cnt;
    }
    if line_info_cnt > 0 {
        attr.line_info_rec_size = record_size(LINE_INFO_SIZE);
        attr.line_info = address(content.line_info);
        attr.line_info_cnt = line_info_cnt;
    }
    // Calls have 0 for the kernel itself, so that the first place stays empty.
    let fds: Vec<u32> = std::iter::once(0).chain(content.modules.iter().copied().map(number)).collect();
    if !content.modules.is_empty() {
        if content.insns.chunks_exact(BPF_INSN_SIZE).any(|insn| fd_place(insn) >= fds.len()) {
            return (Err(Errno::EINVAL), 0);
        }
        attr.fd_array = fds.as_ptr().expose_provenance() as u64;
    }
    attr.log_size = log_size;
    attr.log_buf = address_mut(log);
    // SAFETY: the kernel reads `insn_cnt` instructions of 8 bytes, `func_info_cnt` and `line_info_cnt` records of the
    // sizes that it is told, and a string up to its NUL byte, and writes no more than `log_size` bytes; all were taken
    // from the slices. In the array of fds it reads the places that instructions name, which are in there.
    // The other addresses in `attr` are private to this module and stay 0, with counts of 0. The answer is a new fd.
    let answer = unsafe { bpf_fd(Cmd::PROG_LOAD, &mut attr) };
    (answer, attr.log_true_size)
}

/// How the kernel refuses a program that is to be attached to what is neither a program nor BTF.
pub(crate) fn refusal_of_target(mut attr: ProgLoad, content: &ProgContent<'_>) -> Option<Errno> {
    attr.attach_prog_fd = u32::MAX;
    prog_load(attr, content, &mut []).0.err()
}

/// Which place in the array of fds an instruction names: a call by its `off`, a load by its `imm`; 0 for any other.
fn fd_place(insn: &[u8]) -> usize {
    let registers = insn[1];
    let src = if cfg!(target_endian = "big") { registers & 0xf } else { registers >> 4 };
    match (insn[0], src) {
        (BPF_CALL, BPF_PSEUDO_KFUNC_CALL) => u16::from_ne_bytes([insn[2], insn[3]]).into(),
        (BPF_LD_IMM64, BPF_PSEUDO_MAP_IDX | BPF_PSEUDO_MAP_IDX_VALUE) => {
            u32::from_ne_bytes([insn[4], insn[5], insn[6], insn[7]]) as usize
        }
        _ => 0,
    }
}

/// A size as the kernel's structs hold it.
fn record_size(size: usize) -> u32 {
    u32::try_from(size).expect("records have a few bytes")
}

/// What came of [`prog_test_run`].
pub(crate) struct TestRun {
    /// What the program returned.
    pub(crate) retval: u32,
    /// Nanoseconds that one run took on average.
    pub(crate) duration: u32,
    /// The packet as the program left it.
    pub(crate) data: Vec<u8>,
}

/// Runs the program `fd` on the packet `data`, `repeat` times over, of which 0 means once.
pub(crate) fn prog_test_run(fd: BorrowedFd<'_>, data: &[u8], repeat: u32) -> Result<TestRun, Errno> {
    let mut out = vec![0; TEST_RUN_ROOM];
    let mut attr = ProgTestRun {
        prog_fd: number(fd),
        data_size_in: u32::try_from(data.len()).map_err(|_| Errno::EINVAL)?,
        data_size_out: u32::try_from(out.len()).map_err(|_| Errno::EINVAL)?,
        data_in: address(data),
        data_out: address_mut(&mut out),
        repeat,
        ..ProgTestRun::default()
    };
    // SAFETY: the kernel reads `data_size_in` bytes of the packet, and writes the packet to `data_out`: no more than
    // `data_size_out` bytes since 5.0, and before that no more than TEST_RUN_ROOM, see there.
    unsafe { bpf(Cmd::PROG_TEST_RUN, &mut attr) }?;
    out.truncate(attr.data_size_out as usize);
    Ok(TestRun { retval: attr.retval, duration: attr.duration, data: out })
}

/// Runs the XDP program `fd` on `repeat` copies of the packet `data`, as if they had come in by the interface
/// `ifindex`, and has them go where its verdicts say.
pub(crate) fn prog_run_live(fd: BorrowedFd<'_>, data: &[u8], ifindex: u32, repeat: u32) -> Result<(), Errno> {
    let len = u32::try_from(data.len()).map_err(|_| Errno::EINVAL)?;
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, len, 0, ifindex, 0, 0].map(u32::to_ne_bytes);
    let context = context.as_flattened();
    let mut attr = ProgRunLive {
        prog_fd: number(fd),
        data_size_in: len,
        data_in: address(data),
        repeat,
        ctx_size_in: u32::try_from(context.len()).map_err(|_| Errno::EINVAL)?,
        ctx_in: address(context),
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        ..ProgRunLive::default()
    };
    // SAFETY: the kernel reads `data_size_in` bytes of the packet and `ctx_size_in` of the context.
    unsafe { bpf(Cmd::PROG_TEST_RUN, &mut attr) }.map(drop)
}

/// Bytes of room for the packet that a test run leaves.
///
/// Kernels before 5.0 write it without minding how much room there is (`bpf_test_finish()` in `net/bpf/test_run.c`).
/// They take a packet of at most one page, which an XDP program can make longer by its headroom alone, and a program
/// on socket buffers up to the MTU of the loopback interface, 64 KiB.
const TEST_RUN_ROOM: usize = 1 << 17;

/// The first program id above `id`. ENOENT where there is none.
pub(crate) fn prog_next_id(id: u32) -> Result<u32, Errno> {
    next_id(Cmd::PROG_GET_NEXT_ID, id)
}

/// The first map id above `id`. ENOENT where there is none.
pub(crate) fn map_next_id(id: u32) -> Result<u32, Errno> {
    next_id(Cmd::MAP_GET_NEXT_ID, id)
}

/// The first id above `id` of types that the kernel holds. ENOENT where there is none.
pub(crate) fn btf_next_id(id: u32) -> Result<u32, Errno> {
    next_id(Cmd::BTF_GET_NEXT_ID, id)
}

/// The first link id above `id`. ENOENT where there is none.
pub(crate) fn link_next_id(id: u32) -> Result<u32, Errno> {
    next_id(Cmd::LINK_GET_NEXT_ID, id)
}

/// Opens the program with this id.
pub(crate) fn prog_fd_by_id(id: u32) -> Result<OwnedFd, Errno> {
    fd_by_id(Cmd::PROG_GET_FD_BY_ID, id)
}

/// Opens the map with this id.
pub(crate) fn map_fd_by_id(id: u32) -> Result<OwnedFd, Errno> {
    fd_by_id(Cmd::MAP_GET_FD_BY_ID, id)
}

/// Opens the types with this id.
pub(crate) fn btf_fd_by_id(id: u32) -> Result<OwnedFd, Errno> {
    fd_by_id(Cmd::BTF_GET_FD_BY_ID, id)
}

/// The name of the types `fd` if they are the kernel's or a module's. ENOSPC for a name that no module can have.
pub(crate) fn kernel_btf_name(fd: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
    let mut name = vec![0; MODULE_NAME_ROOM as usize * size_of::<u64>()];
    let mut info = BtfInfo { name: address_mut(&mut name), name_len: MODULE_NAME_ROOM, ..BtfInfo::default() };
    // SAFETY: the only address is that of `name`, where the kernel writes at most `name_len` bytes. Should `fd` be a
    // link, then the kernel writes (up to 6.18) at most `name_len` characters of a name there, or as many addresses
    // of functions, for which there is room too. Any other fd's info has no address at that offset.
    unsafe { obj_info(fd, &mut info) }?;
    name.truncate(info.name_len as usize);
    Ok((info.kernel_btf == 1).then_some(name))
}

/// Bytes for the name of a module, which has at most 55 (`MODULE_NAME_LEN` in `include/linux/moduleparam.h`).
const MODULE_NAME_ROOM: u32 = 64;

/// Copies the types `fd` to `data` as far as there is room, and tells how many bytes they have.
pub(crate) fn btf_data(fd: BorrowedFd<'_>, data: &mut [u8]) -> Result<u32, Errno> {
    let btf_size = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut info = BtfInfo { btf: address_mut(data), btf_size, ..BtfInfo::default() };
    // SAFETY: the only address is that of `data`, where the kernel writes at most `btf_size` bytes. Should `fd` be no
    // types, then its info has no address at that offset (up to 6.18), and is written over ours.
    unsafe { obj_info(fd, &mut info) }?;
    Ok(info.btf_size)
}

/// Opens the link with this id.
pub(crate) fn link_fd_by_id(id: u32) -> Result<OwnedFd, Errno> {
    fd_by_id(Cmd::LINK_GET_FD_BY_ID, id)
}

/// Makes a link that holds `program` on the interface `ifindex` of the calling thread's network namespace. `flags`
/// are `XDP_FLAGS_*_MODE`.
pub(crate) fn link_create_xdp(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> Result<OwnedFd, Errno> {
    let attach_type = AttachType::XDP.0;
    let mut attr = LinkCreate { prog_fd: number(program), target: ifindex, attach_type, flags };
    // SAFETY: the command reads no address for this attach type, and returns a new fd.
    unsafe { bpf_fd(Cmd::LINK_CREATE, &mut attr) }
}

/// Asks for a link of a program that does not exist: EBADF from a kernel with links for XDP, EINVAL from one without.
pub(crate) fn probe_xdp_links() -> Errno {
    let mut attr = LinkCreate { prog_fd: u32::MAX, attach_type: AttachType::XDP.0, ..LinkCreate::default() };
    // SAFETY: the command reads no address for this attach type; should it succeed, it returns a new fd.
    unsafe { bpf_fd(Cmd::LINK_CREATE, &mut attr) }.err().unwrap_or(Errno::EBADF)
}

/// Makes a link that lets the extension `program` take the place of the function that it was loaded for.
pub(crate) fn extend(program: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut attr = RawTracepointOpen { name: 0, prog_fd: number(program), padding: 0 };
    // SAFETY: without a name the command reads no address, and returns a new fd.
    unsafe { bpf_fd(Cmd::RAW_TRACEPOINT_OPEN, &mut attr) }
}

/// Puts `new` in the place of `old` in the link `fd`, if `old` is there.
pub(crate) fn link_update(fd: BorrowedFd<'_>, new: BorrowedFd<'_>, old: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = LinkUpdate {
        link_fd: number(fd),
        new_prog_fd: number(new),
        flags: BPF_F_REPLACE,
        old_prog_fd: number(old),
    };
    // SAFETY: the command reads no address.
    unsafe { bpf(Cmd::LINK_UPDATE, &mut attr) }.map(drop)
}

/// Detaches what the link `fd` holds, for good.
pub(crate) fn link_detach(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = LinkDetach { link_fd: number(fd) };
    // SAFETY: the command reads no address.
    unsafe { bpf(Cmd::LINK_DETACH, &mut attr) }.map(drop)
}

/// What the kernel says of the link `fd`; fields that it does not know are 0.
pub(crate) fn link_info(fd: BorrowedFd<'_>) -> Result<LinkInfo, Errno> {
    let mut info = LinkInfo::default();
    // SAFETY: the struct is all zeros, so that there is no address in it for the kernel to follow.
    unsafe { obj_info(fd, &mut info) }?;
    Ok(info)
}

/// What the kernel says of the map `fd`; fields that it does not know are 0.
pub(crate) fn map_info(fd: BorrowedFd<'_>) -> Result<MapInfo, Errno> {
    let mut info = MapInfo::default();
    // SAFETY: the struct is all zeros, so that there is no address in it for the kernel to follow.
    unsafe { obj_info(fd, &mut info) }?;
    Ok(info)
}

/// What the kernel says of the program `fd`; fields that it does not know are 0.
///
/// `map_ids` receives the ids of its maps as far as there is room; `nr_map_ids` is how many there are.
pub(crate) fn prog_info(fd: BorrowedFd<'_>, map_ids: &mut [u32]) -> Result<ProgInfo, Errno> {
    let mut info = ProgInfo {
        nr_map_ids: u32::try_from(map_ids.len()).unwrap_or(u32::MAX),
        map_ids: map_ids.as_mut_ptr().expose_provenance() as u64,
        ..ProgInfo::default()
    };
    // SAFETY: the only address is that of `map_ids`, where the kernel writes at most `nr_map_ids` numbers of 32
    // bits. Should `fd` be no program, then its info has no address at that offset (up to 6.18), and is written
    // over ours.
    unsafe { obj_info(fd, &mut info) }?;
    Ok(info)
}

/// Takes from user space the right to change the map, for good.
pub(crate) fn map_freeze(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = MapElem { map_fd: number(fd), ..MapElem::default() };
    // SAFETY: the command reads no address.
    unsafe { bpf(Cmd::MAP_FREEZE, &mut attr) }.map(drop)
}

/// Has the program hold the map for as long as it lives.
pub(crate) fn prog_bind_map(prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = ProgBindMap { prog_fd: number(prog), map_fd: number(map), ..ProgBindMap::default() };
    // SAFETY: the command reads no address.
    unsafe { bpf(Cmd::PROG_BIND_MAP, &mut attr) }.map(drop)
}

fn next_id(cmd: Cmd, id: u32) -> Result<u32, Errno> {
    let mut attr = ById { id, ..ById::default() };
    // SAFETY: the command reads no address.
    unsafe { bpf(cmd, &mut attr) }?;
    Ok(attr.next_id)
}

fn fd_by_id(cmd: Cmd, id: u32) -> Result<OwnedFd, Errno> {
    let mut attr = ById { id, ..ById::default() };
    // SAFETY: the command reads no address, and returns a new fd.
    unsafe { bpf_fd(cmd, &mut attr) }
}

/// # Safety
///
/// Every address in `info` must be good for as many bytes as the kernel writes there.
unsafe fn obj_info<T>(fd: BorrowedFd<'_>, info: &mut T) -> Result<(), Errno> {
    let mut attr = ObjInfo {
        bpf_fd: number(fd),
        info_len: u32::try_from(size_of::<T>()).unwrap_or(u32::MAX),
        info: std::ptr::from_mut(info).expose_provenance() as u64,
    };
    // SAFETY: the kernel writes at most `info_len` bytes, the size of `T`, which is made of integers so that any
    // bytes are a value of it; the addresses inside are the caller's promise.
    unsafe { bpf(Cmd::OBJ_GET_INFO_BY_FD, &mut attr) }.map(drop)
}

/// The call itself. `attr` is both what the kernel reads and where it answers.
///
/// # Safety
///
/// Every address in `attr` must be good for as many bytes as the kernel reads or writes there for `cmd`.
pub(super) unsafe fn bpf<T>(cmd: Cmd, attr: &mut T) -> Result<c_int, Errno> {
    // SAFETY: `attr` is borrowed for us alone and as long as we say; the kernel reads and writes no more of it. The
    // addresses inside are the caller's promise.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, libc::c_ulong::from(cmd.0), std::ptr::from_mut(attr), size_of::<T>())
    };
    // A failed call gives -1, any other an fd or 0.
    c_int::try_from(answer).ok().filter(|&answer| answer >= 0).ok_or_else(Errno::last)
}

/// [`bpf`] for a command whose answer is a new fd.
///
/// # Safety
///
/// As for [`bpf`], and `cmd` must be such a command.
pub(super) unsafe fn bpf_fd<T>(cmd: Cmd, attr: &mut T) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(cmd, attr) }?;
    // SAFETY: the kernel has just made this fd for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An fd as the kernel's structs hold it.
pub(super) fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("an open fd is not negative")
}

/// The address of bytes that the kernel will read, 0 where there are none.
pub(super) fn address(bytes: &[u8]) -> u64 {
    if bytes.is_empty() { 0 } else { bytes.as_ptr().expose_provenance() as u64 }
}

/// The address of bytes that the kernel will write, 0 where there are none.
pub(super) fn address_mut(bytes: &mut [u8]) -> u64 {
    if bytes.is_empty() { 0 } else { bytes.as_mut_ptr().expose_provenance() as u64 }
}

fn c_str_address(text: &CStr) -> u64 {
    address(text.to_bytes_with_nul())
}
