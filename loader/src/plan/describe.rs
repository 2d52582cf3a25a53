//! A plan's calls in the words of strace(1): the system calls that each makes, with their arguments.
//!
//! What does not exist yet has a name in angle brackets: `<map blacklist>` stands for the fd of that map.

use std::fmt;

use super::call::{
    BpfLinkCall, BtfLoad, Call, CopyBy, Device, Existing, FdValue, GuardMessage, LinkCreate, MapCreate,
    ProgLoad, SetXdp,
};
use super::slot::{MapSlot, ModuleSlot, ProgramSlot};
use super::{Attachment, FIRST_LOG_SIZE, PinsAction, Plan, ProgArrayPins, own_link, prog_array_directory};
use crate::btf::BtfAddition;
use crate::bytes::ByteOrder;
use crate::error::escape;
use crate::features::Feature;
use crate::insn::encode_all;
use crate::netlink::{InterfaceRef, Mode, XdpChange, XdpFlags, get_link, probe_compare, set_xdp};
use crate::uapi::bpf::{MAP_FLAGS, PROG_FLAGS, flag_names};
use crate::uapi::btf::{FUNC_INFO_SIZE, LINE_INFO_SIZE};

/// One system call.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelCall {
    /// Its name, as `bpf`.
    pub name: &'static str,
    /// For bpf(2) the command; for netlink the type of the message.
    pub command: Option<&'static str>,
    /// Its arguments by name; for bpf(2) those fields of `union bpf_attr` that are not zero, and some that are.
    pub arguments: Vec<(&'static str, String)>,
    /// What its result is called in later calls.
    pub result: Option<String>,
    /// The bytes that it hands over: instructions, or a netlink message in which what is not known yet is 0.
    pub data: Vec<u8>,
}

impl KernelCall {
    fn new(name: &'static str) -> Self {
        Self { name, command: None, arguments: Vec::new(), result: None, data: Vec::new() }
    }

    fn bpf(command: &'static str) -> Self {
        Self { command: Some(command), ..Self::new("bpf") }
    }

    fn with(mut self, argument: &'static str, value: impl Into<String>) -> Self {
        self.arguments.push((argument, value.into()));
        self
    }

    fn with_some(self, argument: &'static str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(argument, value),
            None => self,
        }
    }

    fn with_data(self, data: Vec<u8>) -> Self {
        Self { data, ..self }
    }

    fn gives(self, result: impl Into<String>) -> Self {
        Self { result: Some(result.into()), ..self }
    }
}

/// As strace(1) prints it: `bpf(BPF_MAP_CREATE, {map_type=BPF_MAP_TYPE_HASH, key_size=4}) = <map m>`.
impl fmt::Display for KernelCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named =
            || self.arguments.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        let values = || self.arguments.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>();
        match self.command {
            Some(command) if self.name == "bpf" => write!(f, "bpf({command}, {{{}}})", named().join(", "))?,
            Some(command) => write!(f, "{}({command} {{{}}})", self.name, named().join(", "))?,
            None => write!(f, "{}({})", self.name, values().join(", "))?,
        }
        match &self.result {
            Some(result) => write!(f, " = {result}"),
            None => Ok(()),
        }
    }
}

impl Plan {
    /// The system calls that `call` makes at one of the plan's interfaces, in order: what is one for each of several
    /// has the interface's place in its name, `<ifindex 2>`.
    pub fn kernel_calls_at(&self, at: usize, call: &Call) -> Vec<KernelCall> {
        Describer { plan: self, at: (self.attach.len() > 1).then_some(at) }.kernel_calls(call)
    }

    /// The system calls that `call` makes, in order, at the plan's only interface if at one.
    pub fn kernel_calls(&self, call: &Call) -> Vec<KernelCall> {
        Describer { plan: self, at: None }.kernel_calls(call)
    }
}

/// Names what a call is about.
#[derive(Clone, Copy)]
struct Describer<'p> {
    plan: &'p Plan,
    /// At which interface, where the plan has several.
    at: Option<usize>,
}

impl Describer<'_> {
    /// The name of what there is one of at each interface.
    fn here(self, what: &str) -> String {
        match self.at {
            Some(at) => format!("<{what} {}>", at + 1),
            None => format!("<{what}>"),
        }
    }

    fn ifindex(self) -> String {
        self.here("ifindex")
    }

    fn attached(self) -> String {
        self.here("attached program")
    }

    fn attached_id(self) -> String {
        self.here("id of the attached program")
    }

    fn kernel_calls(self, call: &Call) -> Vec<KernelCall> {
        match call {
            Call::Statfs { path } => vec![KernelCall::new("statfs").with("path", text(path))],
            Call::MountBpffs { path } => vec![mount_bpffs(path)],
            Call::Lock { path } => lock(path, BPFFS),
            Call::Unlock => vec![flock(BPFFS, "LOCK_UN")],
            Call::LockMountPoint { path } => lock(path, "<mount point>"),
            Call::Mkdir { path } => vec![mkdir(path)],
            Call::ObjGet { path, map } => vec![obj_get(path).gives(self.map(*map))],
            Call::MapInfo { map, .. } => vec![info(self.map(*map))],
            Call::MovePin { from, to, .. } => vec![rename(from, to)],
            Call::PutPinBack { map, from, to } => {
                vec![obj_pin(from, self.map_before(*map)), rename(from, to)]
            }
            Call::BtfLoad(load) => vec![self.btf_load(*load)],
            Call::ModuleBtf { module } => self.find_module_btf(*module),
            Call::MapCreate(create) => vec![self.map_create(create)],
            Call::MapUpdate { map, key, value, .. } => {
                vec![self.map_update(*map, *key, self.fd_value(*value))]
            }
            Call::EntryBefore { map, key, value } => self.entry_before(*map, *key, *value),
            Call::PutEntryBack { map, key, .. } => {
                vec![self.map_update(*map, *key, self.before_in(*map, *key))]
            }
            Call::MapDelete { map, key, .. } => vec![self.entry("BPF_MAP_DELETE_ELEM", *map, *key)],
            Call::MapFill { map, content } => vec![self.map_fill(*map, content)],
            Call::MapMmap { map, address, len, content } => {
                vec![KernelCall { data: content.clone(), ..mmap(self.map(*map), *address, *len) }]
            }
            Call::MapFreeze { map } => vec![self.on_map("BPF_MAP_FREEZE", *map)],
            Call::ObjPin { map, path } => vec![obj_pin(path, self.map(*map))],
            Call::ProgLoad(load) => vec![self.prog_load(load)],
            Call::OpenExtended { existing } => open_extended(existing),
            Call::Extend { program } => vec![extend(self.program(*program))],
            Call::OpenProgram { program, existing } => self.open_program(*program, existing),
            Call::PinProgram { program, path } => vec![obj_pin(path, self.program(*program))],
            Call::FindSameProgram { program, path } => self.find_same(*program, path),
            Call::ProgBindMap { program, map } => vec![self.bind_map(*program, *map)],
            Call::OpenRouteSocket { netns } => open_route_socket(netns.as_deref()),
            Call::GetInterface { named } => look_at_interface(named),
            Call::NetnsCookie => vec![netns_cookie()],
            Call::ProgArrayPins(pins) => vec![self.prog_array_pins(pins)],
            Call::ProgGetFdById => {
                open_by_id("BPF_PROG_GET_FD_BY_ID", "prog_id", &self.attached_id(), &self.attached()).into()
            }
            Call::FindProgram { bpffs } => {
                open_existing(&Existing::Pinned(format!("{bpffs}/<each pin>")), &self.attached()).into()
            }
            Call::SetXdp(set) => self.set_program(set),
            Call::PutBack(set) => self.put_back(set),
            Call::ProgInfo { program } => vec![info(self.program(*program))],
            Call::RunningMapIds => vec![info(self.attached())],
            Call::OpenRunningMaps { .. } => {
                open_by_id("BPF_MAP_GET_FD_BY_ID", "map_id", "<id of its map>", ITS_MAP).into()
            }
            Call::CopyMap { map, by } => self.copy_map(*map, *by),
            Call::BpfLink(call) => self.bpf_link(call),
            Call::Guard(message) => tell_guard(contents(message)).into(),
            Call::ProbeCompare => vec![probe_of_compare(self.ifindex()), receive()],
            Call::RaiseMemlock => vec![raise_memlock()],
            Call::Probe(feature) => vec![probe(*feature)],
            Call::Unlink { path } => vec![KernelCall::new("unlink").with("pathname", text(path))],
            Call::Rmdir { path } => vec![KernelCall::new("rmdir").with("pathname", text(path))],
            Call::Umount { path } => vec![umount(path)],
        }
    }

    fn bpf_link(self, call: &BpfLinkCall) -> Vec<KernelCall> {
        match call {
            BpfLinkCall::Find => find_link(),
            BpfLinkCall::Open { path } => open_link(path),
            BpfLinkCall::OpenOwn { bpffs } => open_link(&own_link(bpffs, NETNS_COOKIE, self.ifindex())),
            BpfLinkCall::Create(create) => self.link_create(*create),
            BpfLinkCall::Update { program } => vec![link_update(&self.program(*program), &self.attached())],
            BpfLinkCall::PutBack { program } => vec![link_update(&self.attached(), &self.program(*program))],
            BpfLinkCall::Pin { path } => vec![obj_pin(path, LINK)],
            BpfLinkCall::Info => vec![info(LINK)],
            BpfLinkCall::Detach => vec![KernelCall::bpf("BPF_LINK_DETACH").with("link_fd", LINK)],
        }
    }

    fn on_map(self, command: &'static str, map: MapSlot) -> KernelCall {
        KernelCall::bpf(command).with("map_fd", self.map(map))
    }

    fn entry(self, command: &'static str, map: MapSlot, key: u32) -> KernelCall {
        self.on_map(command, map).with("key", key.to_string())
    }

    fn map_update(self, map: MapSlot, key: u32, value: String) -> KernelCall {
        self.entry("BPF_MAP_UPDATE_ELEM", map, key).with("value", value).with("flags", "BPF_ANY")
    }

    fn map_fill(self, map: MapSlot, content: &[u8]) -> KernelCall {
        self.map_update(map, 0, format!("<{} bytes>", content.len())).with_data(content.to_vec())
    }

    fn bind_map(self, program: ProgramSlot, map: MapSlot) -> KernelCall {
        KernelCall::bpf("BPF_PROG_BIND_MAP")
            .with("prog_fd", self.program(program))
            .with("map_fd", self.map(map))
    }

    /// What was at `key` of the map.
    fn before_in(self, map: MapSlot, key: u32) -> String {
        format!("<entry {key} of map {} before>", escape(&self.plan.maps[map.0]))
    }

    /// Looks for the id of what is there, and opens that.
    fn entry_before(self, map: MapSlot, key: u32, value: FdValue) -> Vec<KernelCall> {
        let look = self.entry("BPF_MAP_LOOKUP_ELEM", map, key);
        let (command, argument) = match value {
            FdValue::Program(_) => ("BPF_PROG_GET_FD_BY_ID", "prog_id"),
            FdValue::Map(_) => ("BPF_MAP_GET_FD_BY_ID", "map_id"),
        };
        let id = format!("<id of entry {key} of map {}>", escape(&self.plan.maps[map.0]));
        let mut calls = vec![look];
        calls.extend(open_by_id(command, argument, &id, &self.before_in(map, key)));
        calls
    }

    /// The map that one of the plan takes the place of.
    fn map_before(self, slot: MapSlot) -> String {
        format!("<map {} before>", escape(&self.plan.maps[slot.0]))
    }

    fn map(self, slot: MapSlot) -> String {
        format!("<map {}>", escape(&self.plan.maps[slot.0]))
    }

    fn program(self, slot: ProgramSlot) -> String {
        format!("<program {}>", escape(&self.plan.programs[slot.0]))
    }

    fn prog_array_pins(self, pins: &ProgArrayPins) -> KernelCall {
        let id = match pins.of {
            Attachment::New(program) => format!("<id of {}>", escape(&self.plan.programs[program.0])),
            Attachment::Replaced => self.attached_id(),
        };
        let dir = prog_array_directory(&pins.bpffs, NETNS_COOKIE, self.ifindex(), id);
        let unlink = |name: &str| KernelCall::new("unlink").with("pathname", text(&format!("{dir}/{name}")));
        match &pins.action {
            PinsAction::MakeDir => mkdir(&dir),
            PinsAction::Pin { map, name } => obj_pin(&format!("{dir}/{name}"), self.map(*map)),
            PinsAction::Unpin { name } => unlink(name),
            PinsAction::UnpinAll => unlink(EACH_PIN),
            PinsAction::RemoveDir => KernelCall::new("rmdir").with("pathname", text(&dir)),
        }
    }

    fn fd_value(self, value: FdValue) -> String {
        match value {
            FdValue::Map(map) => self.map(map),
            FdValue::Program(program) => self.program(program),
        }
    }

    fn module(self, slot: ModuleSlot) -> String {
        format!("<BTF of {}>", escape(&self.plan.modules[slot.0]))
    }

    /// The three calls that are made for one BTF after the other, until one has the module's name.
    fn find_module_btf(self, slot: ModuleSlot) -> Vec<KernelCall> {
        let module = self.module(slot);
        vec![
            KernelCall::bpf("BPF_BTF_GET_NEXT_ID").with("start_id", "<each id>"),
            KernelCall::bpf("BPF_BTF_GET_FD_BY_ID").with("btf_id", "<next id>").gives(module.clone()),
            KernelCall::bpf("BPF_OBJ_GET_INFO_BY_FD").with("bpf_fd", module),
        ]
    }

    fn btf_load(self, load: BtfLoad) -> KernelCall {
        // The types have been read from a file, whose sizes fit into the format.
        let data = self.plan.btf_bytes(load.without).unwrap_or_default();
        KernelCall::bpf("BPF_BTF_LOAD")
            .with("btf_size", data.len().to_string())
            .with_some("btf_log_size", load.log.then(|| format!("{FIRST_LOG_SIZE} or more")))
            .with_some("btf_log_level", load.log.then_some("1"))
            .gives(BTF)
            .with_data(data)
    }

    fn map_create(self, create: &MapCreate) -> KernelCall {
        let shape = &create.shape;
        KernelCall::bpf("BPF_MAP_CREATE")
            .with("map_type", format!("{:?}", shape.map_type))
            .with("key_size", shape.key_size.to_string())
            .with("value_size", shape.value_size.to_string())
            .with("max_entries", shape.max_entries.to_string())
            .with("map_flags", flag_names(shape.flags, MAP_FLAGS))
            .with_some("inner_map_fd", create.inner.map(|inner| self.map(inner)))
            .with_some("numa_node", create.numa_node.map(|node| node.to_string()))
            .with_some("map_name", create.name.as_ref().map(|name| text(name.as_str())))
            .with_some("map_ifindex", (create.device != Device::None).then(|| self.ifindex()))
            .with_some("btf_fd", create.types.map(|_| BTF))
            .with_some("btf_key_type_id", create.types.map(|types| types.key.to_string()))
            .with_some("btf_value_type_id", create.types.map(|types| types.value.to_string()))
            .with_some("map_extra", (shape.map_extra != 0).then(|| format!("{:#x}", shape.map_extra)))
            .gives(self.map(create.map))
    }

    fn prog_load(self, load: &ProgLoad) -> KernelCall {
        let version = load.kern_version.to_be_bytes();
        let version = format!("KERNEL_VERSION({}, {}, {})", version[1], version[2], version[3]);
        let lines = load.info.as_ref().map(|info| &info.lines).filter(|lines| !lines.is_empty());
        let fds = load.modules.iter().map(|module| self.module(*module));
        let fd_array =
            format!("[{}]", ["0".to_owned()].into_iter().chain(fds).collect::<Vec<_>>().join(", "));
        KernelCall::bpf("BPF_PROG_LOAD")
            .with("prog_type", format!("{:?}", load.prog_type))
            .with("insn_cnt", load.insns.len().to_string())
            .with("license", text(&load.license))
            .with_some("log_level", load.log.then_some("1"))
            .with_some("log_size", load.log.then(|| format!("{FIRST_LOG_SIZE} or more")))
            .with_some("kern_version", (load.kern_version != 0).then_some(version))
            .with_some("prog_flags", (load.flags != 0).then(|| flag_names(load.flags, PROG_FLAGS)))
            .with_some("prog_name", load.name.as_ref().map(|name| text(name.as_str())))
            .with_some("prog_ifindex", (load.device != Device::None).then(|| self.ifindex()))
            .with_some("expected_attach_type", load.expected_attach_type.map(|kind| format!("{kind:?}")))
            .with_some("prog_btf_fd", load.info.as_ref().map(|_| BTF))
            .with_some("func_info_rec_size", load.info.as_ref().map(|_| FUNC_INFO_SIZE.to_string()))
            .with_some("func_info_cnt", load.info.as_ref().map(|info| info.functions.len().to_string()))
            .with_some("line_info_rec_size", lines.map(|_| LINE_INFO_SIZE.to_string()))
            .with_some("line_info_cnt", lines.map(|lines| lines.len().to_string()))
            .with_some(
                "attach_btf_id",
                load.extends.as_ref().map(|name| format!("<function {}>", escape(name))),
            )
            .with_some("attach_prog_fd", load.extends.as_ref().map(|_| EXTENDED))
            .with_some("fd_array", (!load.modules.is_empty()).then_some(fd_array))
            .gives(self.program(load.program))
            .with_data(encode_all(&load.insns, ByteOrder::NATIVE))
    }

    fn open_program(self, program: ProgramSlot, existing: &Existing) -> Vec<KernelCall> {
        open_existing(existing, &self.program(program)).into()
    }

    /// Asks what was to be pinned, then what is, by name: twice, as it tells of its maps in a second answer.
    fn find_same(self, program: ProgramSlot, path: &str) -> Vec<KernelCall> {
        let ours = self.program(program);
        let [open, ask] = open_existing(&Existing::Pinned(path.to_owned()), &ours);
        vec![info(&*ours), open, ask, info(ours)]
    }

    fn link_create(self, create: LinkCreate) -> Vec<KernelCall> {
        let mut calls = Vec::new();
        if create.elsewhere {
            calls.push(enter_namespace("<netns of the route socket>"));
        }
        let create = KernelCall::bpf("BPF_LINK_CREATE")
            .with("prog_fd", self.program(create.program))
            .with("target_ifindex", self.ifindex())
            .with("attach_type", "BPF_XDP")
            .with("flags", XdpFlags::mode_alone(create.mode))
            .gives(LINK);
        calls.push(create);
        calls
    }

    /// Reads entries of the attached program's map, and writes them into the one that takes its name.
    fn copy_map(self, map: MapSlot, by: CopyBy) -> Vec<KernelCall> {
        let (from, to) = (self.map_before(map), self.map(map));
        let read = |command| KernelCall::bpf(command).with("map_fd", from.clone());
        let write = |command| KernelCall::bpf(command).with("map_fd", to.clone());
        let inner = || KernelCall::bpf("BPF_MAP_GET_FD_BY_ID").with("map_id", "<id of an inner map>");
        match by {
            CopyBy::Page => vec![read("BPF_MAP_LOOKUP_BATCH"), write("BPF_MAP_UPDATE_BATCH")],
            CopyBy::Entry => {
                vec![read("BPF_MAP_GET_NEXT_KEY"), read("BPF_MAP_LOOKUP_ELEM"), write("BPF_MAP_UPDATE_ELEM")]
            }
            CopyBy::InnerMap => vec![
                read("BPF_MAP_GET_NEXT_KEY"),
                read("BPF_MAP_LOOKUP_ELEM"),
                inner(),
                write("BPF_MAP_UPDATE_ELEM"),
            ],
        }
    }

    fn set_program(self, set: &SetXdp) -> Vec<KernelCall> {
        let expected = set.replace.then(|| self.attached());
        self.change_program(change(set), set.mode, self.program(set.program), expected)
    }

    fn put_back(self, set: &SetXdp) -> Vec<KernelCall> {
        let new = if set.replace { self.attached() } else { "-1".to_owned() };
        let back = change(set).undo().expect("a program that was put on can be taken off");
        self.change_program(back, set.mode, new, Some(self.program(set.program)))
    }

    /// `change` of the program in `mode`, or in the mode of the one that is there, with the names of its fds.
    fn change_program(
        self,
        change: XdpChange,
        mode: Option<Mode>,
        new: String,
        expected: Option<String>,
    ) -> Vec<KernelCall> {
        let flags = match mode {
            Some(mode) => change.flags(mode).to_string(),
            None => format!("{}|<flag of its mode>", change.flags(Mode::Native).without_mode()),
        };
        let send = KernelCall { command: Some("RTM_SETLINK"), ..KernelCall::new("sendto") }
            .with("ifi_index", self.ifindex())
            .with("IFLA_XDP_FD", new)
            .with("IFLA_XDP_FLAGS", flags)
            .with_some("IFLA_XDP_EXPECTED_FD", expected)
            .with_data(set_xdp(0, mode.unwrap_or(Mode::Native), change, 2));
        vec![send, receive()]
    }
}

/// The change that `set` makes, with all fds still 0.
fn change(set: &SetXdp) -> XdpChange {
    if set.replace { XdpChange::Replace { new: 0, expected: 0 } } else { XdpChange::Attach { new: 0 } }
}

const BTF: &str = "<BTF>";
const BPFFS: &str = "<root of bpffs>";
const ROUTE: &str = "<route socket>";
const NETNS_COOKIE: &str = "<netns cookie>";
const EACH_PIN: &str = "<each pin>";
const ITS_MAP: &str = "<its map>";
const A_LINK: &str = "<a bpf_link>";
const LINK: &str = "<bpf_link>";
const EXTENDED: &str = "<program to extend>";
const ITS_TYPES: &str = "<BTF of the program to extend>";

fn info(fd: impl Into<String>) -> KernelCall {
    KernelCall::bpf("BPF_OBJ_GET_INFO_BY_FD").with("bpf_fd", fd)
}

fn mkdir(path: &str) -> KernelCall {
    KernelCall::new("mkdir").with("pathname", text(path)).with("mode", "0700")
}

fn obj_get(path: &str) -> KernelCall {
    KernelCall::bpf("BPF_OBJ_GET").with("pathname", text(path))
}

fn obj_pin(path: &str, fd: impl Into<String>) -> KernelCall {
    KernelCall::bpf("BPF_OBJ_PIN").with("pathname", text(path)).with("bpf_fd", fd)
}

/// Opens what the kernel has told the id of, and asks what it is.
fn open_by_id(command: &'static str, argument: &'static str, id: &str, what: &str) -> [KernelCall; 2] {
    [KernelCall::bpf(command).with(argument, id).gives(what), info(what)]
}

/// Opens a program that is loaded already, and asks what it is.
fn open_existing(existing: &Existing, gives: &str) -> [KernelCall; 2] {
    let open = match existing {
        Existing::Pinned(path) => obj_get(path),
        Existing::Id(id) => KernelCall::bpf("BPF_PROG_GET_FD_BY_ID").with("prog_id", id.to_string()),
    };
    [open.gives(gives), info(gives)]
}

/// Opens the program to extend, and reads its types: first how many bytes they have, then the bytes.
fn open_extended(existing: &Existing) -> Vec<KernelCall> {
    let [open, ask] = open_existing(existing, EXTENDED);
    let types = KernelCall::bpf("BPF_BTF_GET_FD_BY_ID").with("btf_id", "<id of its types>").gives(ITS_TYPES);
    vec![open, ask, types, info(ITS_TYPES), info(ITS_TYPES)]
}

/// Makes the link of an extension, whose place was named when it was loaded.
fn extend(program: String) -> KernelCall {
    KernelCall::bpf("BPF_RAW_TRACEPOINT_OPEN").with("name", "NULL").with("prog_fd", program).gives(LINK)
}

fn mmap(map: String, address: u64, len: u64) -> KernelCall {
    let (address, flags) = match address {
        0 => ("NULL".to_owned(), "MAP_SHARED"),
        _ => (format!("{address:#x}"), "MAP_SHARED|MAP_FIXED_NOREPLACE"),
    };
    KernelCall::new("mmap")
        .with("addr", address)
        .with("length", len.to_string())
        .with("prot", "PROT_READ|PROT_WRITE")
        .with("flags", flags)
        .with("fd", map)
        .with("offset", "0")
}

fn open_link(path: &str) -> Vec<KernelCall> {
    vec![obj_get(path).gives(LINK), info(LINK)]
}

fn rename(from: &str, to: &str) -> KernelCall {
    KernelCall::new("rename").with("oldpath", text(from)).with("newpath", text(to))
}

/// What a message to the guard has in it.
fn contents(message: &GuardMessage) -> &'static str {
    match message {
        GuardMessage::Arm(_) => "<what is put back, and fds of it>",
        GuardMessage::Unchanged => "<that nothing is changed>",
        GuardMessage::HandOver => "<the bpf_link>",
        GuardMessage::Made => "<that it is made>",
    }
}

/// A message to the guard of a trial, and its answer.
fn tell_guard(message: &str) -> [KernelCall; 2] {
    let to_guard = |name| KernelCall::new(name).with("sockfd", "<guard>");
    [to_guard("sendmsg").with("msg", message), to_guard("recvmsg")]
}

/// Puts `new` in the place of `old` in the link.
fn link_update(new: &str, old: &str) -> KernelCall {
    KernelCall::bpf("BPF_LINK_UPDATE")
        .with("link_fd", LINK)
        .with("new_prog_fd", new)
        .with("flags", "BPF_F_REPLACE")
        .with("old_prog_fd", old)
}

/// Goes through all links of the kernel.
fn find_link() -> Vec<KernelCall> {
    let next = KernelCall::bpf("BPF_LINK_GET_NEXT_ID").with("start_id", "<id of the link before>");
    let [open, info] = open_by_id("BPF_LINK_GET_FD_BY_ID", "link_id", "<id of a bpf_link>", A_LINK);
    vec![next, open, info]
}

fn enter_namespace(fd: &str) -> KernelCall {
    KernelCall::new("setns").with("fd", fd).with("nstype", "CLONE_NEWNET")
}

fn mount_bpffs(path: &str) -> KernelCall {
    KernelCall::new("mount")
        .with("source", text("bpf"))
        .with("target", text(path))
        .with("filesystemtype", text("bpf"))
        .with("mountflags", "MS_NOSUID|MS_NODEV|MS_NOEXEC|MS_RELATIME")
        .with("data", text("mode=0700"))
}

fn umount(path: &str) -> KernelCall {
    KernelCall::new("umount2").with("target", text(path)).with("flags", "0")
}

/// Opens the directory for nothing but its lock.
fn lock(path: &str, name: &str) -> Vec<KernelCall> {
    let open = KernelCall::new("openat")
        .with("dirfd", "AT_FDCWD")
        .with("pathname", text(path))
        .with("flags", "O_RDONLY|O_DIRECTORY|O_CLOEXEC")
        .gives(name);
    vec![open, flock(name, "LOCK_EX")]
}

fn flock(name: &str, operation: &str) -> KernelCall {
    KernelCall::new("flock").with("fd", name).with("operation", operation)
}

fn raise_memlock() -> KernelCall {
    KernelCall::new("prlimit64")
        .with("pid", "0")
        .with("resource", "RLIMIT_MEMLOCK")
        .with("new_limit", "{rlim_cur=RLIM64_INFINITY, rlim_max=RLIM64_INFINITY}")
        .with("old_limit", "NULL")
}

/// The smallest call that only a kernel with the feature takes.
fn probe(feature: Feature) -> KernelCall {
    let array = || {
        KernelCall::bpf("BPF_MAP_CREATE")
            .with("map_type", "BPF_MAP_TYPE_ARRAY")
            .with("key_size", "4")
            .with("value_size", "4")
            .with("max_entries", "1")
    };
    match feature {
        Feature::ObjectNames => array().with("map_name", text("probe")),
        Feature::GlobalData => array().with("map_flags", "BPF_F_RDONLY_PROG"),
        Feature::MmapableArrays => array().with("map_flags", "BPF_F_MMAPABLE"),
        Feature::ExpectedAttachType => KernelCall::bpf("BPF_PROG_LOAD")
            .with("prog_type", "BPF_PROG_TYPE_XDP")
            .with("insn_cnt", "2")
            .with("license", text("GPL"))
            .with("expected_attach_type", "BPF_XDP"),
        Feature::BtfWith(addition) => probe_of_types(addition),
        Feature::XdpLinks => KernelCall::bpf("BPF_LINK_CREATE")
            .with("prog_fd", "-1")
            .with("target_ifindex", "0")
            .with("attach_type", "BPF_XDP"),
        Feature::MemcgAccounting => KernelCall::bpf("BPF_PROG_LOAD")
            .with("prog_type", "BPF_PROG_TYPE_SOCKET_FILTER")
            .with("insn_cnt", "2")
            .with("license", text("GPL")),
        Feature::FunctionCalls => KernelCall::bpf("BPF_PROG_LOAD")
            .with("prog_type", "BPF_PROG_TYPE_SOCKET_FILTER")
            .with("insn_cnt", "4")
            .with("license", text("GPL")),
        Feature::DevmapPrograms => map_of_programs("BPF_MAP_TYPE_DEVMAP"),
        Feature::CpumapPrograms => map_of_programs("BPF_MAP_TYPE_CPUMAP"),
        Feature::XdpFrags => KernelCall::bpf("BPF_PROG_LOAD")
            .with("prog_type", "BPF_PROG_TYPE_XDP")
            .with("insn_cnt", "2")
            .with("license", text("GPL"))
            .with("prog_flags", "BPF_F_XDP_HAS_FRAGS"),
    }
}

fn map_of_programs(map_type: &'static str) -> KernelCall {
    KernelCall::bpf("BPF_MAP_CREATE")
        .with("map_type", map_type)
        .with("key_size", "4")
        .with("value_size", "8")
        .with("max_entries", "1")
}

fn probe_of_types(addition: BtfAddition) -> KernelCall {
    let data = addition.smallest(ByteOrder::NATIVE);
    KernelCall::bpf("BPF_BTF_LOAD").with("btf_size", data.len().to_string()).with_data(data)
}

fn open_route_socket(netns: Option<&str>) -> Vec<KernelCall> {
    let mut calls = Vec::new();
    if let Some(path) = netns {
        let open = KernelCall::new("openat")
            .with("dirfd", "AT_FDCWD")
            .with("pathname", text(path))
            .with("flags", "O_RDONLY|O_NONBLOCK|O_CLOEXEC")
            .gives("<netns>");
        calls.extend([open, enter_namespace("<netns>")]);
    }
    let socket = KernelCall::new("socket")
        .with("domain", "AF_NETLINK")
        .with("type", "SOCK_RAW|SOCK_CLOEXEC")
        .with("protocol", "NETLINK_ROUTE")
        .gives(ROUTE);
    let extended_acks = KernelCall::new("setsockopt")
        .with("sockfd", ROUTE)
        .with("level", "SOL_NETLINK")
        .with("optname", "NETLINK_EXT_ACK")
        .with("optval", "[1]")
        .with("optlen", "4");
    calls.extend([socket, extended_acks]);
    calls
}

/// A change that changes nothing, since it names no program.
fn probe_of_compare(ifindex: String) -> KernelCall {
    KernelCall { command: Some("RTM_SETLINK"), ..KernelCall::new("sendto") }
        .with("ifi_index", ifindex)
        .with("IFLA_XDP_FLAGS", XdpFlags::compare(Mode::Generic).to_string())
        .with_data(probe_compare(0, 3))
}

fn netns_cookie() -> KernelCall {
    KernelCall::new("getsockopt")
        .with("sockfd", ROUTE)
        .with("level", "SOL_SOCKET")
        .with("optname", "SO_NETNS_COOKIE")
        .with("optval", NETNS_COOKIE)
        .with("optlen", "[8]")
}

fn look_at_interface(link: &InterfaceRef) -> Vec<KernelCall> {
    let (first, second) = link.questions();
    let mut calls = Vec::new();
    for link in [Some(first), second].into_iter().flatten() {
        let send = KernelCall { command: Some("RTM_GETLINK"), ..KernelCall::new("sendto") };
        let send = match &link {
            InterfaceRef::Name(name) | InterfaceRef::Digits(name, _) => {
                let attribute = if name.is_alternative() { "IFLA_ALT_IFNAME" } else { "IFLA_IFNAME" };
                send.with(attribute, text(name.as_str()))
            }
            InterfaceRef::Index(index) => send.with("ifi_index", index.to_string()),
        };
        calls.extend([send.with_data(get_link(&link, 1)), receive()]);
    }
    calls
}

fn receive() -> KernelCall {
    KernelCall::new("recvfrom").with("sockfd", ROUTE)
}

/// A string in the double quotes of strace(1).
fn text(string: &str) -> String {
    format!("\"{}\"", escape(string))
}
