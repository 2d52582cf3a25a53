//! `xdpload status`: which XDP programs run on which interfaces.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use loader::attach::{Link, LinkState, RouteSocket, link_pins};
use loader::kernel::link_ids;
use loader::map::Map;
use loader::netlink::{InterfaceInfo, XdpProgram};
use loader::program::{Program, ProgramInfo};
use loader::uapi::bpf::LinkType;
use loader::{ErrorKind, Result, escape, pin, quote};
use serde::Serialize;

use crate::cmd::block;
use crate::cmd::trial::or_else;
use crate::format::hex;
use crate::guard::{Guards, Pending, is_without_sockets};
use crate::output::NamedInterface;
use crate::{args, output};

pub(crate) fn run(args: &args::Status) -> Result<()> {
    let netns = super::netns(&args.place)?;
    let socket = RouteSocket::open(netns.as_ref())?;
    let links = match &args.interface {
        Some(link) => vec![socket.interface(link)?],
        None => socket.interfaces()?,
    };
    let holders = Holders::new(&links, &args.bpffs.root);
    let pinned = Pinned { bpffs: &args.bpffs.root, found: OnceCell::new() };
    let default_drop = block::DefaultOnTrial::look(&args.bpffs.root);
    let mut guards = Guards::new(netns.as_ref());
    let absent = if args.interface.is_none() { guards.of_absent(&links) } else { Vec::new() };
    let (mut interfaces, mut blind) = (Vec::new(), None);
    for link in links {
        // A guard that does not answer is no reason to keep back the rest.
        let pending = match guards.pending(link.index) {
            Err(error) if is_without_sockets(&error) => {
                blind = Some(error);
                Ok(None)
            }
            pending => pending,
        };
        if args.interface.is_some() || !link.xdp.is_empty() || !matches!(pending, Ok(None)) {
            interfaces.push(Interface {
                default_drop_seconds_left: default_drop.left_on(&link),
                again: format!("{}{}", args.place.once_more(), args.bpffs.once_more()),
                ..Interface::new(&link, &holders, &pinned, pending)
            });
        }
    }
    if let Some(error) = blind {
        output::remark(format_args!("warning: whether changes are on trial cannot be told: {error}"));
    }
    let again = format!("{}{}", args.place.once_more(), args.bpffs.once_more());
    let absent = absent.into_iter().map(|(index, pending)| Absent::new(index, pending, &again)).collect();
    output::answer(args.form, &Document { interfaces, absent })
}

/// The bpf_links of the kernel, and their pins; without the privilege to ask, only those that are pinned.
struct Holders {
    links: Vec<LinkState>,
    pins: Vec<(u32, PathBuf)>,
}

impl Holders {
    /// Looks at all bpf_links, if there is a program that one may hold.
    fn new(interfaces: &[InterfaceInfo], bpffs: &Path) -> Self {
        if interfaces.iter().all(|link| link.xdp.is_empty()) {
            return Self { links: Vec::new(), pins: Vec::new() };
        }
        let is_xdp = |state: &LinkState| state.link_type == LinkType::XDP;
        let mut is_refused = false;
        // One may be gone meanwhile.
        let ids = link_ids().map_while(|id| id.inspect_err(|_| is_refused = true).ok());
        let mut links: Vec<_> =
            ids.filter_map(|id| Link::from_id(id).ok()?.state().ok()).filter(is_xdp).collect();
        let pins = if links.is_empty() && !is_refused { Vec::new() } else { link_pins(bpffs) };
        if is_refused {
            let states = pins.iter().filter_map(|(_, pin)| Link::open_pinned(pin).ok()?.state().ok());
            links.extend(states.filter(is_xdp));
        }
        Self { links, pins }
    }

    fn of(&self, interface: &InterfaceInfo, program: XdpProgram) -> Option<Holder> {
        let link = self.links.iter().find(|link| link.holds(interface.index, program))?;
        let pin = self.pins.iter().find(|(id, _)| *id == link.id);
        Some(Holder { id: link.id, pin: pin.map(|(_, path)| path.display().to_string()) })
    }
}

/// What is pinned, and so known without the privilege to ask by id; looked for once that matters.
struct Pinned<'b> {
    bpffs: &'b Path,
    found: OnceCell<Vec<Found>>,
}

enum Found {
    Program(ProgramInfo),
    Map { id: u32, name: String },
}

impl Pinned<'_> {
    fn found(&self) -> &[Found] {
        self.found.get_or_init(|| pin::walk(self.bpffs).0.iter().filter_map(|path| open(path)).collect())
    }

    fn program(&self, id: u32) -> Option<&ProgramInfo> {
        self.found().iter().find_map(|found| match found {
            Found::Program(info) if info.id == id => Some(info),
            _ => None,
        })
    }

    fn map(&self, wanted: u32) -> Option<String> {
        self.found().iter().find_map(|found| match found {
            Found::Map { id, name } if *id == wanted => Some(name.clone()),
            _ => None,
        })
    }
}

/// The program or map that is pinned there, if this user may open it.
fn open(path: &Path) -> Option<Found> {
    let fd = pin::get(path).ok()??;
    match pin::kind(fd.as_fd())? {
        pin::Kind::Program => Some(Found::Program(Program::from_fd(fd).ok()?.info().ok()?)),
        pin::Kind::Map => {
            let info = Map::with_info(fd).ok()?.1;
            Some(Found::Map { id: info.id, name: info.name })
        }
        _ => None,
    }
}

#[derive(Serialize)]
struct Document {
    interfaces: Vec<Interface>,
    /// Those that were moved to another network namespace, or removed, while a change of theirs is on trial.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    absent: Vec<Absent>,
}

/// An interface that was in the namespace when the change was made that is on trial.
#[derive(Serialize)]
struct Absent {
    #[serde(flatten)]
    at: NamedInterface,
    /// The network namespace where it is, if it was found.
    netns: Option<String>,
    /// Why it was found nowhere, so that its change can be neither confirmed nor undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<String>,
    trial: Trial,
    #[serde(skip)]
    again: String,
}

#[derive(Serialize)]
struct Interface {
    #[serde(flatten)]
    at: NamedInterface,
    mtu: u32,
    programs: Vec<Running>,
    /// What `xdpload confirm` would keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Trial>,
    /// Why that is not known, where a guard is but cannot be understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial_error: Option<String>,
    /// Seconds until the blocklist lets pass again what no rule is about, which `xdpload confirm` would drop for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_drop_seconds_left: Option<u64>,
    /// The option by which its namespace is named once more.
    #[serde(skip)]
    again: String,
}

/// A change that is taken back, unless it is confirmed.
#[derive(Serialize)]
struct Trial {
    seconds_left: f64,
    /// The process that waits.
    guard: u32,
    /// The ids of the programs that it puts back.
    puts_back: Vec<Option<u32>>,
    /// Why it could not do so yet: the time is up, and it tries again.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    #[serde(skip)]
    before: Vec<XdpProgram>,
}

#[derive(Serialize)]
struct Running {
    mode: String,
    id: Option<u32>,
    /// The bpf_link that holds it; none if it was attached by netlink, or without the privilege to ask and a pin.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<Holder>,
    /// What the kernel says of the program; without the privilege to ask, why not.
    #[serde(flatten)]
    details: Details,
}

#[derive(Serialize)]
struct Holder {
    id: u32,
    pin: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Details {
    Known(Known),
    Unknown { error: String },
}

#[derive(Serialize)]
struct Known {
    name: String,
    tag: String,
    maps: Vec<MapName>,
    /// Nanoseconds and runs; zero unless `kernel.bpf_stats_enabled` is on.
    run_time_ns: u64,
    run_count: u64,
}

#[derive(Serialize)]
struct MapName {
    id: u32,
    /// None without the privilege to ask and a pin.
    name: Option<String>,
}

impl Interface {
    fn new(
        link: &InterfaceInfo,
        holders: &Holders,
        pinned: &Pinned<'_>,
        pending: Result<Option<Pending>>,
    ) -> Self {
        let (pending, trial_error) = match pending {
            Ok(pending) => (pending, None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            at: NamedInterface::new(&link.name, link.index),
            mtu: link.mtu,
            programs: link
                .xdp
                .programs()
                .iter()
                .map(|program| Running::new(program, holders.of(link, *program), pinned))
                .collect(),
            trial: pending.map(Trial::new),
            trial_error,
            default_drop_seconds_left: None,
            again: String::new(),
        }
    }
}

impl Absent {
    fn new(ifindex: u32, pending: Pending, again: &str) -> Self {
        Self {
            at: NamedInterface::new(&pending.name, ifindex),
            netns: pending.netns.clone(),
            lost: pending.lost.clone(),
            trial: Trial::new(pending),
            again: again.to_owned(),
        }
    }
}

impl Trial {
    fn new(pending: Pending) -> Self {
        Self {
            seconds_left: pending.left.as_secs_f64(),
            guard: pending.pid,
            puts_back: pending.before.iter().map(|program| program.id).collect(),
            failure: pending.failure,
            before: pending.before,
        }
    }

    /// In a line that begins with `head`; `confirm` is the command that keeps the change.
    fn write(&self, f: &mut fmt::Formatter<'_>, head: &str, confirm: &str) -> fmt::Result {
        let seconds = self.seconds_left.ceil();
        match &self.failure {
            None => writeln!(
                f,
                "{head}  on trial: run {confirm} within {seconds} s to keep the change; otherwise {}",
                or_else(&self.before)
            ),
            Some(failure) => writeln!(
                f,
                "{head}  on trial: the time is up, but the roll-back fails, and is tried again for {seconds} s: {}; \
                 run {confirm} to keep the change",
                escape(failure)
            ),
        }
    }
}

impl Running {
    fn new(program: &XdpProgram, link: Option<Holder>, pinned: &Pinned<'_>) -> Self {
        let details = match program.id.map(|id| look(id, pinned)).transpose() {
            Ok(Some(known)) => Details::Known(known),
            Ok(None) => Details::Unknown { error: "this kernel does not tell the program's id".to_owned() },
            Err(error) => {
                let rule = error.rule().map_or_else(String::new, |rule| format!("; {rule}"));
                Details::Unknown { error: format!("{error}{rule}") }
            }
        };
        Self { mode: program.mode.to_string(), id: program.id, link, details }
    }
}

fn look(id: u32, pinned: &Pinned<'_>) -> Result<Known> {
    let info = match Program::from_id(id).and_then(|program| program.info()) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            pinned.program(id).cloned().ok_or(error)?
        }
        info => info?,
    };
    let mut maps = Vec::with_capacity(info.map_ids.len());
    for &id in &info.map_ids {
        let name = match Map::from_id_with_info(id) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => pinned.map(id),
            found => Some(found?.1.name),
        };
        maps.push(MapName { id, name });
    }
    Ok(Known {
        name: info.name.clone(),
        tag: hex(&info.tag),
        maps,
        run_time_ns: u64::try_from(info.run_time.as_nanos()).unwrap_or(u64::MAX),
        run_count: info.run_count,
    })
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.interfaces.is_empty() {
            writeln!(f, "no interface has an XDP program")?;
        }
        self.interfaces.iter().try_for_each(|interface| interface.fmt(f))?;
        self.absent.iter().try_for_each(|absent| absent.fmt(f))
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = format!("{} ({})", self.at.name(), self.at.ifindex);
        write!(f, "{head}  not here any more: ")?;
        match (&self.netns, &self.lost) {
            (Some(netns), _) => writeln!(f, "it is in network namespace {}", quote(netns))?,
            (None, None) => writeln!(f, "it is in a network namespace that cannot be found")?,
            (None, Some(lost)) => {
                writeln!(f, "{}", escape(lost))?;
                let seconds = self.trial.seconds_left.ceil();
                return writeln!(
                    f,
                    "{head}  on trial for {seconds} s: unless it comes back, the change can be neither confirmed nor \
                     undone"
                );
            }
        }
        self.trial.write(f, &head, &format!("`xdpload confirm {}{}`", self.at.shell_word(), self.again))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, again) = (format!("{} ({})", self.at.name(), self.at.ifindex), &self.again);
        if self.programs.is_empty() {
            writeln!(f, "{head}  no XDP program")?;
        }
        self.programs.iter().try_for_each(|program| writeln!(f, "{head}  {program}"))?;
        let confirm = format!("`xdpload confirm {}{again}`", self.at.shell_word());
        self.trial.iter().try_for_each(|trial| trial.write(f, &head, &confirm))?;
        self.trial_error.iter().try_for_each(|error| writeln!(f, "{head}  on trial: {}", escape(error)))?;
        self.default_drop_seconds_left.iter().try_for_each(|seconds| {
            writeln!(
                f,
                "{head}  on trial: run {confirm} within {seconds} s to go on dropping what no rule of the blocklist \
                 matches; otherwise it passes again"
            )
        })
    }
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.mode)?;
        if let Some(id) = self.id {
            write!(f, "  id {id}")?;
        }
        match &self.details {
            Details::Known(known) => known.fmt(f)?,
            Details::Unknown { error } => write!(f, "  ({})", escape(error))?,
        }
        if let Some(Holder { id, pin }) = &self.link {
            write!(f, "  bpf_link {id}")?;
            if let Some(pin) = pin {
                write!(f, " pinned at {}", escape(pin))?;
            }
        }
        match &self.details {
            Details::Known(Known { maps, .. }) => write_maps(f, maps),
            Details::Unknown { .. } => Ok(()),
        }
    }
}

/// The maps in lines of their own: a program may have a dozen.
fn write_maps(f: &mut fmt::Formatter<'_>, maps: &[MapName]) -> fmt::Result {
    let mut column = output::WIDTH;
    for (index, map) in maps.iter().enumerate() {
        let end = if index + 1 < maps.len() { "," } else { "" };
        let name = map.name.as_deref().map_or(Cow::Borrowed("?"), escape);
        let word = format!(" {name} (id {}){end}", map.id);
        if column + word.len() > output::WIDTH {
            let head = if index == 0 { "    maps" } else { "        " };
            write!(f, "\n{head}")?;
            column = head.len();
        }
        f.write_str(&word)?;
        column += word.len();
    }
    Ok(())
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}  tag {}", escape(&self.name), self.tag)?;
        if self.run_count > 0 {
            write!(f, "  {} runs, {} ns each", self.run_count, self.run_time_ns / self.run_count)?;
        }
        Ok(())
    }
}
