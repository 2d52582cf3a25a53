//! `xdpload pins`: what is pinned, who uses it, and what serves nobody any more.

use std::cell::{Cell, OnceCell};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use clap::{Args, Subcommand};
use loader::attach::{Link, LinkState, NetNs, RouteSocket};
use loader::kernel::{link_ids, program_ids};
use loader::map::Map;
use loader::netlink::InterfaceInfo;
use loader::pin::{self, Kind};
use loader::plan::{AttachmentKey, own_directory};
use loader::program::{Program, ProgramInfo};
use loader::uapi::bpf::LinkType;
use loader::{Cause, Error, ErrorKind, Result, escape, quote};
use nix::libc::ENOENT;
use serde::Serialize;

use crate::args::{Bpffs, Form};
use crate::{guard, output};

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Pins {
    #[command(subcommand)]
    pub(crate) command: Option<PinsCommand>,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// What to do with pins.
#[derive(Debug, Subcommand)]
pub(crate) enum PinsCommand {
    /// Remove what serves nobody any more: what was kept for attachments that are gone, and detached bpf_links
    Gc(PinsGc),
}

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct PinsGc {
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The mount point of bpffs [default: /sys/fs/bpf]
    #[arg(long, value_name = "DIR")]
    pub(crate) bpffs: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) form: Form,
}

pub(crate) fn run(args: &Pins) -> Result<()> {
    // Options may be before the word `gc` and behind it.
    let gc = args.command.as_ref().map(|PinsCommand::Gc(gc)| gc);
    let bpffs = gc.and_then(|gc| gc.bpffs.as_ref()).unwrap_or(&args.bpffs.root);
    // What a run has just pinned would seem to serve nobody until its program is attached.
    let removes = gc.is_some_and(|gc| !gc.dry_run);
    let _lock = if removes { pin::lock_if_there(bpffs)? } else { None };
    // What is pinned can be told without asking for users, but not what serves nobody.
    let kernel = if gc.is_some() { Kernel::look()? } else { Kernel::look_where_allowed()? };
    // Whatever cannot be looked at, the rest is done.
    let (paths, mut failures) = pin::walk(bpffs);
    let mut pins = Vec::new();
    for path in paths {
        match Pin::look(&path, bpffs, &kernel) {
            Ok(pin) => pins.extend(pin),
            Err(error) => failures.push(error),
        }
    }
    // That there is nothing is said only where all could be looked at.
    let is_said =
        |count: usize, failures: &[Error], form: Form| form.json || count > 0 || failures.is_empty();
    match gc {
        None if !is_said(pins.len(), &failures, args.form) => {}
        None => output::answer(args.form, &List { pins, users_hidden: kernel.why_hidden() })?,
        Some(gc) => {
            let mut removed: Vec<_> = pins.into_iter().filter(|pin| pin.orphaned.is_some()).collect();
            if !gc.dry_run {
                remove(&mut removed, bpffs, &mut failures);
            }
            let form = Form { json: gc.form.json || args.form.json };
            if is_said(removed.len(), &failures, form) {
                let told = if gc.dry_run || removed.is_empty() { output::answer } else { output::changed };
                told(form, &Collected { dry_run: gc.dry_run, removed })?;
            }
        }
    }
    in_one(without_strangers(failures, bpffs))
}

/// The failures, with all files that are in no bpffs as one: somebody has named another directory, which may have any
/// number of them.
fn without_strangers(failures: Vec<Error>, root: &Path) -> Vec<Error> {
    let is_stranger = |error: &Error| error.cause() == Some(Cause::NotBpffs);
    let (strangers, mut others): (Vec<_>, Vec<_>) = failures.into_iter().partition(is_stranger);
    let (count, mut strangers) = (strangers.len(), strangers.into_iter());
    others.extend(strangers.next().map(|first| match count {
        1 => first,
        _ => first.context(format!("{count} files below {} are no pins", quote(&root.to_string_lossy()))),
    }));
    others
}

/// The first of the failures, with the others noted.
fn in_one(failures: Vec<Error>) -> Result<()> {
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else { return Ok(()) };
    Err(first.with_notes(failures.map(|error| error.to_string()).collect()))
}

/// Removes what serves nobody. Those that could not be removed are taken out.
fn remove(orphans: &mut Vec<Pin>, bpffs: &Path, failures: &mut Vec<Error>) {
    orphans.retain(|orphan| match pin::unpin(Path::new(&orphan.path)) {
        Ok(()) => true,
        // Somebody else was faster.
        Err(error) if error.errno() == Some(ENOENT) => false,
        Err(error) => {
            failures.push(error);
            false
        }
    });
    remove_empty_directories(bpffs);
}

/// What the pins are compared with.
struct Kernel {
    objects: Objects,
    /// Why the kernel does not tell its programs and links; none if it does.
    objects_hidden: Option<String>,
    place: Surroundings,
    /// Why the interfaces are not known; none if they are.
    place_hidden: Option<String>,
    /// Once somebody has asked.
    elsewhere: OnceCell<Elsewhere>,
    /// Whether it has been told that this is not all.
    is_told: Cell<bool>,
}

/// All programs and links.
#[derive(Default)]
struct Objects {
    programs: Vec<ProgramInfo>,
    links: Vec<LinkState>,
}

impl Objects {
    fn look() -> Result<Self> {
        // One may be gone meanwhile; without the privilege to look, all would seem to be of no use.
        let (mut programs, mut links) = (Vec::new(), Vec::new());
        for id in program_ids() {
            programs.extend(Program::from_id(id?).and_then(|program| program.info()));
        }
        for id in link_ids() {
            links.extend(Link::from_id(id?).and_then(|link| link.state()));
        }
        Ok(Self { programs, links })
    }
}

/// This network namespace.
#[derive(Default)]
struct Surroundings {
    interfaces: Vec<InterfaceInfo>,
    /// The namespace's number; 0 where the kernel has none.
    cookie: u64,
}

impl Surroundings {
    fn look() -> Result<Self> {
        let socket = RouteSocket::open(None)?;
        let cookie = socket.netns_cookie().unwrap_or(0);
        Ok(Self { interfaces: socket.interfaces()?, cookie })
    }
}

impl Kernel {
    fn look() -> Result<Self> {
        Ok(Self::of((Objects::look()?, None), (Surroundings::look()?, None)))
    }

    /// Without what is kept from this process.
    fn look_where_allowed() -> Result<Self> {
        let hidden = |error: &Error| error.rule().map_or_else(|| error.to_string(), ToOwned::to_owned);
        let objects = match Objects::look() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                (Objects::default(), Some(hidden(&error)))
            }
            objects => (objects?, None),
        };
        let place = match Surroundings::look() {
            Err(error) => (Surroundings::default(), Some(hidden(&error))),
            Ok(place) => (place, None),
        };
        Ok(Self::of(objects, place))
    }

    fn of(
        (objects, objects_hidden): (Objects, Option<String>),
        (place, place_hidden): (Surroundings, Option<String>),
    ) -> Self {
        let (elsewhere, is_told) = (OnceCell::new(), Cell::new(false));
        Self { objects, objects_hidden, place, place_hidden, elsewhere, is_told }
    }

    /// Why not all users are told; none if they are.
    fn why_hidden(&self) -> Option<String> {
        let reasons: Vec<_> =
            [&self.objects_hidden, &self.place_hidden].into_iter().flatten().cloned().collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Whose link is attached to the interface `index`; none if its name is hidden.
    fn user_of_link(&self, index: u32) -> Option<Vec<String>> {
        let interface = self.place.interfaces.iter().find(|interface| interface.index == index);
        let is_told = self.place_hidden.is_none() || index == 0;
        is_told.then(|| interface.map(|interface| interface.name.clone()).into_iter().collect())
    }

    /// Who uses the map with this id; none if that is hidden.
    fn users_of_map(&self, id: u32) -> Option<Vec<String>> {
        let users = self.objects.programs.iter().filter(|program| program.map_ids.contains(&id));
        let users: Vec<_> =
            users.map(|program| format!("program {} ({})", program.id, program.name)).collect();
        self.objects_hidden.is_none().then_some(users)
    }

    /// Who uses the program with this id; none if there is nobody and that is only what can be seen. Interfaces tell
    /// everybody.
    fn users_of_program(&self, id: u32) -> Option<Vec<String>> {
        let mut users = Vec::new();
        for interface in &self.place.interfaces {
            let modes = interface.xdp.programs().iter().filter(|program| program.id == Some(id));
            users.extend(modes.map(|program| format!("{} in {} mode", interface.name, program.mode)));
        }
        let links = self.objects.links.iter().filter(|link| link.program == id);
        users.extend(links.map(|link| format!("bpf_link {}", link.id)));
        (self.why_hidden().is_none() || !users.is_empty()).then_some(users)
    }

    /// Why the pins of an attachment, in a directory with this name, serve nobody; none if they may.
    fn why_let_go(&self, directory: &str) -> Result<Option<String>> {
        let Some(AttachmentKey { netns_cookie, ifindex, program }) = AttachmentKey::parse(directory) else {
            return Ok(None);
        };
        if self.objects_hidden.is_some() {
            return Ok(None);
        }
        if !self.objects.programs.iter().any(|info| info.id == program) {
            return Ok(Some(format!("program {program} is gone")));
        }
        if self.place_hidden.is_some() || netns_cookie != self.place.cookie {
            return Ok(None);
        }
        // On another interface it needs the same prog arrays.
        let runs =
            |interface: &InterfaceInfo| interface.xdp.programs().iter().any(|it| it.id == Some(program));
        let there = self.place.interfaces.iter().any(runs);
        // A guard may put it back, and an interface takes its program along into another namespace.
        let is_idle = !there && guard::pending(None, ifindex)?.is_none() && !self.is_elsewhere(program)?;
        Ok(is_idle.then(|| format!("program {program} is not on interface {ifindex} any more")))
    }

    /// Whether the program with this id is attached in another network namespace, or may be.
    fn is_elsewhere(&self, program: u32) -> Result<bool> {
        let Elsewhere { programs, refusal } = if let Some(looked) = self.elsewhere.get() {
            looked
        } else {
            let looked = Elsewhere::look(self.place.cookie)?;
            self.elsewhere.get_or_init(|| looked)
        };
        if programs.contains(&program) {
            return Ok(true);
        }
        if let Some(refusal) = refusal.as_ref().filter(|_| !self.is_told.replace(true)) {
            output::remark(format_args!(
                "note: pins of programs that run on no interface here are kept, since they may be attached in a \
                 network namespace that cannot be looked at: {}",
                escape(&refusal.to_string())
            ));
        }
        Ok(refusal.is_some())
    }
}

/// What runs in the other network namespaces.
struct Elsewhere {
    programs: Vec<u32>,
    /// Why one of them could not be looked at.
    refusal: Option<Error>,
}

impl Elsewhere {
    /// Looks at all but the one with the number `own`.
    fn look(own: u64) -> Result<Self> {
        let (namespaces, mut refusal) = NetNs::all()?;
        let mut programs = Vec::new();
        for namespace in namespaces {
            let links = RouteSocket::open(Some(&namespace)).and_then(|socket| {
                let is_own = own != 0 && socket.netns_cookie().ok() == Some(own);
                if is_own { Ok(Vec::new()) } else { socket.interfaces() }
            });
            let links = match links {
                Ok(links) => links,
                // A file that is no namespace.
                Err(error) if error.kind() == ErrorKind::InvalidInput => continue,
                Err(error) => {
                    refusal.get_or_insert(error);
                    continue;
                }
            };
            programs.extend(links.iter().flat_map(|link| link.xdp.programs()).filter_map(|it| it.id));
        }
        Ok(Self { programs, refusal })
    }
}

/// Something that is pinned.
#[derive(Serialize)]
struct Pin {
    path: String,
    kind: String,
    id: u32,
    name: String,
    /// Who uses it, as far as the kernel tells; none if it tells nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_by: Option<Vec<String>>,
    /// Why nobody ever will, if that is certain.
    orphaned: Option<String>,
}

impl Pin {
    /// What is pinned at `path`; none if it is something else, or gone.
    fn look(path: &Path, bpffs: &Path, kernel: &Kernel) -> Result<Option<Self>> {
        let Some(fd) = pin::get(path)? else { return Ok(None) };
        let (kind, id, name, used_by, mut orphaned) = match pin::kind(fd.as_fd()) {
            Some(Kind::Map) => {
                let (_, info) = Map::with_info(fd)?;
                let mut users = kernel.users_of_map(info.id);
                // Some of its maps are of no interest to its program.
                if path.starts_with(Path::new(&own_directory(&bpffs.to_string_lossy())).join("block")) {
                    users.get_or_insert_default().push("the blocklist".to_owned());
                }
                ("map", info.id, info.name, users, None)
            }
            Some(Kind::Program) => {
                let (_, info) = Program::with_info(fd)?;
                ("program", info.id, info.name, kernel.users_of_program(info.id), None)
            }
            Some(Kind::Link) => {
                let state = Link::from_fd(fd)?.state()?;
                let is_xdp = state.link_type == LinkType::XDP;
                let detached = (is_xdp && state.ifindex == 0).then(|| "it is detached".to_owned());
                let used_by = if is_xdp { kernel.user_of_link(state.ifindex) } else { Some(Vec::new()) };
                ("link", state.id, format!("of program {}", state.program), used_by, detached)
            }
            _ => return Ok(None),
        };
        let kept = path.parent().filter(|parent| {
            parent.parent().is_some_and(|root| root == Path::new(&own_directory(&bpffs.to_string_lossy())))
        });
        if let Some(directory) = kept.and_then(Path::file_name) {
            orphaned = orphaned.or(kernel.why_let_go(&directory.to_string_lossy())?);
        }
        let path = path.display().to_string();
        Ok(Some(Self { path, kind: kind.to_owned(), id, name, used_by, orphaned }))
    }
}

/// Removes the directories of attachments that have no pins any more, and the one that they are in.
fn remove_empty_directories(bpffs: &Path) {
    let root = PathBuf::from(own_directory(&bpffs.to_string_lossy()));
    for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
        let path = entry.path();
        // One that is not empty stays, and so does one that somebody has locked: whoever makes a blocklist is about to
        // fill it.
        if let (true, Ok(Some(_lock))) = (path.is_dir(), pin::try_lock(&path)) {
            let _ = pin::remove_dir(&path);
        }
    }
    let _ = pin::remove_dir(&root);
}

#[derive(Serialize)]
struct List {
    pins: Vec<Pin>,
    /// Why users are not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    users_hidden: Option<String>,
}

#[derive(Serialize)]
struct Collected {
    dry_run: bool,
    removed: Vec<Pin>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pins.is_empty() {
            return writeln!(f, "nothing is pinned");
        }
        self.pins.iter().try_for_each(|pin| {
            let Pin { path, kind, id, name, .. } = pin;
            write!(f, "{}  {kind} {id} {}", escape(path), escape(name))?;
            match (&pin.orphaned, pin.used_by.as_deref(), &self.users_hidden) {
                (Some(reason), ..) => writeln!(f, "  orphaned: {}", escape(reason)),
                (None, Some([]), _) => writeln!(f, "  no visible users"),
                (None, Some(users), _) => writeln!(f, "  used by {}", escape(&users.join(", "))),
                (None, None, reason) => {
                    writeln!(f, "  users not told: {}", escape(reason.as_deref().unwrap_or_default()))
                }
            }
        })
    }
}

impl fmt::Display for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.removed.is_empty() {
            return writeln!(f, "there are no orphans");
        }
        let verb = if self.dry_run { "would remove" } else { "removed" };
        self.removed.iter().try_for_each(|pin| {
            let reason = pin.orphaned.as_deref().unwrap_or_default();
            writeln!(f, "{verb} {}: {}", escape(&pin.path), escape(reason))
        })
    }
}
