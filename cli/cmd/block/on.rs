//! `xdpload block on` and `off`.

use std::fmt;
use std::path::Path;

use blocklist::{Lock, MAX_RULES, Maps, Reader, Wishes, Writer, memory, running_on};
use loader::attach::{self, Interface, NetNs};
use loader::load::Loaded;
use loader::netlink::{LinkInfo, LinkRef};
use loader::plan::{AttachBy, Existing, Plan, Target, keep_root};
use loader::{Error, ErrorKind, Result, escape, pin, quote};
use serde::Serialize;

use super::args::{self, Off, On};
use super::maps;
use crate::cmd::trial::{self, TrialDocument};
use crate::cmd::{Planned, detach};
use crate::guard::Guard;
use crate::output;

/// The longest MTU whose packets are in one buffer for sure: drivers differ, and this is what the least of them takes.
const MTU_IN_ONE_BUFFER: u32 = 3000;

pub(super) fn on(args: &On) -> Result<()> {
    let default_drop = args.default.map(|default| default == args::Default::Drop);
    let is_risky = default_drop == Some(true) && !args.force;
    if is_risky && args.trial.confirm.is_none() {
        let message = "--default drop cuts off whatever is not allowed, perhaps this session";
        return Err(Error::new(ErrorKind::InvalidInput, message)
            .with_help("--confirm 60s takes it back unless it is confirmed; --force does it all the same"));
    }
    let netns = crate::cmd::netns(&args.place)?;
    // What is not there costs nothing.
    let interfaces = open_all(&args.interfaces, netns.as_ref())?;
    let maps = maps(&args.home);
    refuse_to_displace(&interfaces, &maps)?;
    let lock = maps.prepare(&args.home.root)?;
    let is_new = !maps.are_whole()?;
    if is_risky && !is_new {
        let message =
            "--confirm takes the program off again, but would leave --default drop on where it is already";
        return Err(Error::new(ErrorKind::Conflict, message).with_help("--force does it all the same"));
    }
    if is_new {
        make(&maps, args, default_drop, &lock)?;
    }
    let attached = attach_all(&maps, args, &interfaces, &lock);
    if attached.is_err() && is_new {
        // What is told is why it is not on.
        let _ = maps.purge(&lock);
    }
    let attached = attached?;
    drop(lock);
    if !is_new {
        change(&maps, args, default_drop)?;
    }
    let settings = Reader::open(&maps)?.settings()?;
    output::answer(
        args.form,
        &OnDocument { interfaces: attached, max_rules: settings.max_rules, count_only: settings.count_only },
    )
}

fn open_all(links: &[LinkRef], netns: Option<&NetNs>) -> Result<Vec<Interface>> {
    links.iter().map(|link| Interface::open(link, netns)).collect()
}

fn refuse_to_displace(interfaces: &[Interface], maps: &Maps) -> Result<()> {
    let ids = maps.program_ids()?;
    for interface in interfaces {
        let link = interface.look()?;
        if !link.xdp.is_empty() && running_on(&link, &ids).is_none() {
            let message =
                format!("another XDP program is on {interface}, which the blocklist would displace");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_help(format!("`xdpload detach {}` takes it off", interface.name())));
        }
    }
    Ok(())
}

/// Makes the blocklist, and tells before how much memory that takes.
fn make(maps: &Maps, args: &On, default_drop: Option<bool>, lock: &Lock) -> Result<()> {
    let max_rules = args.max_rules.unwrap_or(MAX_RULES);
    let memory = match memory(max_rules) {
        bytes @ 0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        bytes => format!("{} MB", (bytes + 500_000) / 1_000_000),
    };
    output::remark(format_args!("room for {max_rules} rules takes {memory} of kernel memory, preallocated"));
    let count_only = args.count_only.unwrap_or(false);
    maps.make(Wishes { max_rules, count_only, default_drop: default_drop.unwrap_or(false) }, lock)
}

/// What is said again of a blocklist that is there.
fn change(maps: &Maps, args: &On, default_drop: Option<bool>) -> Result<()> {
    let room = Reader::open(maps)?.settings()?.max_rules;
    if args.max_rules.is_some_and(|wanted| wanted != room) {
        let message = format!("the blocklist was made with room for {room} rules, which cannot be changed");
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_help("`block save FILE`, `block off --purge`, `block on` again, and `block load FILE`"));
    }
    if args.count_only.is_some() || default_drop.is_some() {
        Writer::open(maps)?.set(args.count_only, default_drop)?;
    }
    Ok(())
}

/// Attaches to all interfaces that have it not yet, or after a refusal to none.
fn attach_all(maps: &Maps, args: &On, interfaces: &[Interface], lock: &Lock) -> Result<Vec<IsOn>> {
    let guard = trial::guard(args.trial, &args.place)?;
    let mut all = Vec::new();
    for interface in interfaces {
        match attach_one(maps, args, interface, lock, guard.as_ref()) {
            Ok(is_on) => all.push(is_on),
            Err(error) => {
                let changed = interfaces.iter().zip(&all).filter(|(_, is_on)| is_on.changed);
                return Err(take_back(changed, guard.as_ref(), error));
            }
        }
    }
    Ok(all)
}

/// Takes off what was attached before `error`.
fn take_back<'i>(
    changed: impl Iterator<Item = (&'i Interface, &'i IsOn)>,
    guard: Option<&Guard>,
    error: Error,
) -> Error {
    let mut changed = changed.peekable();
    let done = match guard {
        _ if changed.peek().is_none() => Ok(()),
        Some(guard) => attach::take_back(&guard.socket),
        None => changed.try_for_each(|(interface, is_on)| attach::detach(interface, is_on.program).map(drop)),
    };
    match done {
        Ok(()) => error,
        Err(failure) => error.context(format!("something is left behind ({failure})")),
    }
}

fn attach_one(
    maps: &Maps,
    args: &On,
    interface: &Interface,
    lock: &Lock,
    guard: Option<&Guard>,
) -> Result<IsOn> {
    let link = interface.look()?;
    if let Some(program) = running_on(&link, &maps.program_ids()?) {
        return Ok(IsOn {
            name: link.name,
            ifindex: link.index,
            mode: program.mode.to_string(),
            program: program.id,
            changed: false,
            trial: None,
        });
    }
    let loaded = run_plan(maps, args, &link, lock, guard)?;
    let attached = loaded.attached().expect("the plan was to attach");
    if let Some(refusal) = &attached.native_refusal {
        output::remark(format_args!(
            "warning: {} runs in generic mode, which is much slower: native mode was refused: {}",
            quote(&attached.name),
            escape(&refusal.to_string())
        ));
    }
    Ok(IsOn {
        name: attached.name.clone(),
        ifindex: attached.index,
        mode: attached.mode.to_string(),
        program: attached.info.as_ref().map(|info| info.id),
        changed: true,
        trial: guard.map(|guard| TrialDocument::of(guard, attached)),
    })
}

/// Attaches as `xdpload attach --pinned` does, on trial if there is a guard.
fn run_plan(maps: &Maps, args: &On, link: &LinkInfo, lock: &Lock, guard: Option<&Guard>) -> Result<Loaded> {
    let path = maps.program(link.mtu > MTU_IN_ONE_BUFFER, lock)?;
    let target = Target {
        link: LinkRef::named(link.name.clone())?,
        netns: args.place.netns.as_deref().map(crate::cmd::netns_path),
        mode: args.mode,
        replace: false,
        by: AttachBy::Netlink,
    };
    let program = Existing::Pinned(path.to_string_lossy().into_owned());
    let planned = Planned { plan: Plan::of_attaching(&program, &[target])?, btf_flaw: None };
    let report = crate::args::Report { verbose: false, verifier_log: None };
    trial::execute(&planned, &report, guard, &args.home.root.to_string_lossy())
}

#[derive(Serialize)]
struct OnDocument {
    interfaces: Vec<IsOn>,
    max_rules: u32,
    count_only: bool,
}

#[derive(Serialize)]
struct IsOn {
    name: String,
    ifindex: u32,
    mode: String,
    program: Option<u32>,
    /// Whether it was not on before.
    changed: bool,
    /// How it is taken off again, unless that is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<TrialDocument>,
}

impl fmt::Display for OnDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only = if self.count_only { ", and only counts" } else { "" };
        self.interfaces.iter().try_for_each(|IsOn { name, mode, changed, trial, .. }| {
            let already = if *changed { "" } else { " already" };
            writeln!(f, "the blocklist is on{already}: {} in {mode} mode{only}", escape(name))?;
            trial.iter().try_for_each(|trial| trial.fmt(f))
        })
    }
}

pub(super) fn off(args: &Off) -> Result<()> {
    let netns = crate::cmd::netns(&args.place)?;
    let maps = maps(&args.home);
    let lock = maps.lock()?;
    let ids = maps.program_ids()?;
    let all = running(&ids, netns.as_ref())?;
    let chosen = match &args.interfaces[..] {
        [] => all.clone(),
        links => open_all(links, netns.as_ref())?,
    };
    for interface in &chosen {
        if running_on(&interface.look()?, &ids).is_none() {
            let message = format!("the blocklist is not on {interface}");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
    }
    let left =
        all.iter().filter(|interface| chosen.iter().all(|own| own.index() != interface.index())).count();
    if args.purge && left > 0 {
        let message = format!("the blocklist stays on {left} other interfaces, which need its rules");
        return Err(
            Error::new(ErrorKind::Conflict, message).with_help("`block off --purge` turns it off everywhere")
        );
    }
    for interface in &chosen {
        let id = running_on(&interface.look()?, &ids).and_then(|program| program.id);
        take_off(interface, id, &args.home.root)?;
    }
    if args.purge {
        maps.purge(&lock)?;
    }
    let interfaces = chosen.iter().map(|interface| interface.name().to_owned()).collect();
    output::answer(args.form, &OffDocument { interfaces, purged: args.purge })
}

/// Takes the program off, whatever holds it: after a trial that is a link.
fn take_off(interface: &Interface, id: Option<u32>, bpffs: &Path) -> Result<()> {
    if !detach::is_own_link(interface, bpffs)? {
        return attach::detach(interface, id).map(drop);
    }
    attach::detach_links(interface, id, bpffs)?;
    // If nothing else is in it.
    let _ = pin::remove_dir(Path::new(&keep_root(&bpffs.to_string_lossy())));
    Ok(())
}

/// The interfaces that the blocklist is on.
fn running(ids: &[u32], netns: Option<&NetNs>) -> Result<Vec<Interface>> {
    let socket = std::sync::Arc::new(attach::RouteSocket::open(netns)?);
    let links = socket.links()?.into_iter().filter(|link| running_on(link, ids).is_some());
    links.map(|link| Interface::find(&LinkRef::named(link.name)?, socket.clone())).collect()
}

#[derive(Serialize)]
struct OffDocument {
    interfaces: Vec<String>,
    purged: bool,
}

impl fmt::Display for OffDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.interfaces.iter().try_for_each(|name| writeln!(f, "the blocklist is off: {}", escape(name)))?;
        if self.purged { writeln!(f, "all rules, exceptions and counts are gone") } else { Ok(()) }
    }
}
