//! `xdpload block on` and `off`.

use std::path::Path;
use std::{fmt, fs};

use blocklist::{
    Buffers, DEFAULT_MAX_RULES, Lock, Maps, Reader, Settings, Unlisted, Writer, memory, running_on,
};
use loader::attach::{self, Interface, NetNs};
use loader::diagnosis::InterfaceFacts;
use loader::doctor;
use loader::load::Loaded;
use loader::netlink::{LinkInfo, LinkRef};
use loader::pin::{self, HeldBpffs};
use loader::plan::{AttachBy, Existing, Plan, Target};
use loader::{Error, ErrorKind, Result, escape, quote};
use serde::Serialize;

use super::args::{self, Off, On};
use super::{lockout, maps};
use crate::cmd::transcript::{Executed, Telling};
use crate::cmd::trial::{self, TrialDocument};
use crate::cmd::{Planned, detach, mount};
use crate::guard::{Guard, pending};
use crate::output;

/// The longest MTU whose packets are in one buffer for sure: drivers differ, and this is what the least of them takes.
const MTU_IN_ONE_BUFFER: u32 = 3000;

pub(super) fn on(args: &On) -> Result<()> {
    if args.default == Some(args::Default::Drop) && args.trial.confirm.is_none() && !args.force {
        let message = "--default drop cuts off everything that is not allowed, perhaps your session";
        return Err(Error::new(ErrorKind::InvalidInput, message)
            .with_help("--confirm 60s undoes it unless confirmed; --force overrides this check"));
    }
    let netns = crate::cmd::netns(&args.place)?;
    // What is not there costs nothing.
    let interfaces = open_all(&args.interfaces, netns.as_ref())?;
    let maps = maps(&args.bpffs);
    check_interfaces(&interfaces, &maps, args)?;
    let bpffs = pin::ensure_bpffs(&args.bpffs.root)?;
    let document = match make_and_turn_on(args, &interfaces, &maps, &bpffs) {
        Ok(document) => {
            if bpffs.is_new() {
                mount::warn_if_it_passes(&args.bpffs.text());
            }
            document
        }
        Err(error) => {
            attach::remove_shared_directory(&args.bpffs.root);
            return Err(match bpffs.take_back() {
                Ok(()) => error,
                Err(failure) => error.context(format!("something is left behind ({failure})")),
            });
        }
    };
    output::answer(args.form, &document)
}

/// Turns it on, and makes it if it is not there: then nothing is left of it after a refusal but the directory that it
/// shares with others.
fn make_and_turn_on(
    args: &On,
    interfaces: &[Interface],
    maps: &Maps,
    bpffs: &HeldBpffs,
) -> Result<OnDocument> {
    let lock = maps.prepare(bpffs)?;
    // A directory that has something in it stays.
    let remove_dir = |_: &Error| drop(pin::remove_dir(maps.dir()));
    if maps.are_whole().inspect_err(remove_dir)? {
        let mut writer = Writer::holding(&lock, maps)?;
        check(args, interfaces, maps, writer.reader())?;
        return turn_on(args, interfaces, maps, &mut writer, &lock);
    }
    let done = make(maps, args, &lock)
        .and_then(|()| Writer::holding(&lock, maps))
        .and_then(|mut writer| turn_on(args, interfaces, maps, &mut writer, &lock));
    // What is told is why it is not on.
    done.inspect_err(|_| maps.purge(&lock).unwrap_or(()))
}

/// What is to become of packets that no rule is about, if that is to change.
fn unlisted(args: &On, before: Unlisted) -> Option<Unlisted> {
    match (args.default?, args.trial.confirm) {
        (args::Default::Pass, _) => Some(Unlisted::Pass),
        // Its end would not put back a drop without one.
        (args::Default::Drop, Some(_)) if before == Unlisted::Drop(None) => {
            let words = "note: packets that no rule matches are dropped already, so this is not on trial";
            output::remark(words);
            None
        }
        (args::Default::Drop, confirm) => Some(Unlisted::Drop(confirm)),
    }
}

/// Refuses what cannot be changed of a blocklist that is there, and to begin to drop where that cuts off whoever asks.
fn check(args: &On, interfaces: &[Interface], maps: &Maps, reader: &mut Reader) -> Result<()> {
    let before = reader.settings()?;
    let room = before.max_rules;
    if let Some(wanted) = args.max_rules.filter(|wanted| *wanted != room) {
        let message = format!("the blocklist was made with room for {room} rules, which cannot be changed");
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_help(maps.more_room(&format!("{} --max-rules {wanted}", places(args, interfaces)))));
    }
    refuse_trial_of_settings(args, interfaces, maps, before)?;
    if args.force || args.count_only.unwrap_or(before.count_only) {
        return Ok(());
    }
    let is_on_trial = args.trial.confirm.is_some() && !before.count_only;
    if is_on_trial || !before.count_only && is_on_all(interfaces, maps)? {
        return Ok(());
    }
    // Whoever asks for another default has been warned.
    let unlisted = if args.default.is_some() { Unlisted::Pass } else { before.unlisted };
    let exceptions = reader.exceptions()?;
    let trial = if before.count_only { "" } else { "--confirm 60s undoes it unless confirmed; " };
    let allow = maps.command("allow add PREFIX");
    let help = format!("{allow} makes an exception; {trial}--force overrides this check");
    lockout::check_all(reader, unlisted, &exceptions, &help)
}

/// Refuses a trial of what is set for all interfaces: it takes programs off, and puts no setting back. A drop by
/// default is ended by the packet program.
fn refuse_trial_of_settings(
    args: &On,
    interfaces: &[Interface],
    maps: &Maps,
    before: Settings,
) -> Result<()> {
    let passes = args.default == Some(args::Default::Pass) && before.unlisted != Unlisted::Pass;
    let (what, option) = match args.count_only.filter(|wanted| *wanted != before.count_only) {
        _ if args.trial.confirm.is_none() => return Ok(()),
        Some(true) => ("packets are only counted and no longer dropped", "--count-only"),
        Some(false) => ("packets are dropped and no longer only counted", "--count-only=false"),
        None if passes => ("packets that no rule matches pass", "--default pass"),
        None => return Ok(()),
    };
    let places = places(args, interfaces);
    let on = maps.command(&format!("on {places} {option}"));
    let message = format!("--confirm cannot undo that {what}, which holds for all interfaces");
    Err(Error::new(ErrorKind::Conflict, message).with_help(format!(
        "{on} does it without a trial; --confirm without {option} tries the program alone"
    )))
}

fn is_on_all(interfaces: &[Interface], maps: &Maps) -> Result<bool> {
    let ids = maps.program_ids()?;
    for interface in interfaces {
        if running_on(&interface.look()?, &ids).is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The interfaces of the command line as another command has them, and what names their namespace.
fn places(args: &On, interfaces: &[Interface]) -> String {
    let names: Vec<_> = interfaces.iter().map(|interface| escape(interface.name())).collect();
    format!("{}{}", names.join(" "), args.place.once_more())
}

/// The options that name the same namespace and bpffs in another command.
fn again(args: &On) -> String {
    format!("{}{}", args.place.once_more(), args.bpffs.once_more())
}

/// Sets what is to be set, and attaches to all interfaces; after a refusal all is as it was.
fn turn_on(
    args: &On,
    interfaces: &[Interface],
    maps: &Maps,
    writer: &mut Writer,
    lock: &Lock,
) -> Result<OnDocument> {
    let before = writer.reader().settings()?;
    writer.set(args.count_only, unlisted(args, before.unlisted))?;
    match attach_all(maps, args, interfaces, lock) {
        Ok(interfaces) => Ok(OnDocument::new(interfaces, writer.reader().settings()?, again(args))),
        Err(error) => match writer.set(Some(before.count_only), Some(before.unlisted)) {
            Ok(()) => Err(error),
            Err(failure) => Err(error.context(format!("the settings are changed ({failure})"))),
        },
    }
}

fn open_all(links: &[LinkRef], netns: Option<&NetNs>) -> Result<Vec<Interface>> {
    let mut all: Vec<Interface> = Vec::new();
    for link in links {
        let interface = Interface::open(link, netns)?;
        // Who names one twice wants it once.
        if all.iter().all(|other| other.index() != interface.index()) {
            all.push(interface);
        }
    }
    Ok(all)
}

/// Refuses an interface with another program, and one where the blocklist would be on and drop nothing.
fn check_interfaces(interfaces: &[Interface], maps: &Maps, args: &On) -> Result<()> {
    let ids = maps.program_ids()?;
    for interface in interfaces {
        let link = interface.look()?;
        if !link.has_ethernet_header() {
            let facts = interface.facts(&args.bpffs.root)?;
            return Err(without_ethernet(&facts));
        }
        if !link.xdp.is_empty() && running_on(&link, &ids).is_none() {
            let message =
                format!("another XDP program is on {interface}, which the blocklist would displace");
            let error = Error::new(ErrorKind::Conflict, message);
            let error = doctor::explain_occupied(error, interface, &args.bpffs.root);
            return Err(help_with_on(error, interface.name()));
        }
    }
    Ok(())
}

/// Why the blocklist is of no use on a tunnel or the like, and what is.
fn without_ethernet(facts: &InterfaceFacts) -> Error {
    let name = quote(&facts.link.name);
    let message = format!(
        "packets of {name} have no Ethernet header (link type {}), so the blocklist would find no address in them",
        facts.link.hardware_type
    );
    let below = match &facts.lower {
        Some(lower) => {
            let options = &facts.place.options;
            format!("`xdpload block on {}{options}` drops", escape(&lower.name))
        }
        None => "on the interface that they come in by, the blocklist drops".to_owned(),
    };
    Error::new(ErrorKind::Unsupported, message)
        .with_help(format!("nftables drops by address on {name}; {below} by the outer addresses"))
}

/// Makes the blocklist, and tells before how much memory that takes.
fn make(maps: &Maps, args: &On, lock: &Lock) -> Result<()> {
    let max_rules = args.max_rules.unwrap_or(DEFAULT_MAX_RULES);
    let bytes = memory(max_rules);
    let takes = format!("room for {max_rules} rules takes {} of kernel memory", shown_bytes(bytes));
    if let Some(free) = free_memory().filter(|free| *free < bytes && !args.force) {
        let message = format!("{takes}, and {} are free", shown_bytes(free));
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_help("--max-rules sets the number of rules; --force tries it anyway"));
    }
    output::remark(format_args!("{takes}, preallocated"));
    maps.make(max_rules, lock)
}

fn shown_bytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        bytes => format!("{} MB", (bytes + 500_000) / 1_000_000),
    }
}

/// What the kernel takes for available without swapping, if it says so (3.14).
fn free_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Attaches to all interfaces that have it not yet, or after a refusal to none.
fn attach_all(maps: &Maps, args: &On, interfaces: &[Interface], lock: &Lock) -> Result<Vec<IsOn>> {
    let guard = trial::guard(args.trial, &args.place, &args.bpffs)?;
    let mut all = Vec::new();
    for interface in interfaces {
        match attach_one(maps, args, interface, lock, guard.as_ref()) {
            Ok(is_on) => all.push(is_on),
            Err(error) => {
                let changed = interfaces.iter().zip(&all).filter(|(_, is_on)| is_on.changed);
                return Err(take_back(changed, guard.as_ref(), &args.bpffs.root, error));
            }
        }
    }
    Ok(all)
}

/// Takes off what was attached before `error`.
fn take_back<'i>(
    changed: impl Iterator<Item = (&'i Interface, &'i IsOn)>,
    guard: Option<&Guard>,
    bpffs: &Path,
    error: Error,
) -> Error {
    let mut changed = changed.peekable();
    let done = match guard {
        _ if changed.peek().is_none() => Ok(()),
        Some(guard) => attach::take_back(&guard.socket),
        None => changed
            .try_for_each(|(interface, is_on)| attach::detach(interface, is_on.program, bpffs).map(drop)),
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
        let netns = crate::cmd::netns(&args.place)?;
        // A service that may use no Unix sockets does without the remark.
        match pending(netns.as_ref(), link.index).unwrap_or_default() {
            Some(pending) => output::remark(format_args!(
                "note: {interface} has it on trial: `xdpload confirm {}{}` within {} s keeps it",
                escape(&link.name),
                again(args),
                pending.left.as_secs()
            )),
            None if guard.is_some() => output::remark(format_args!(
                "note: the blocklist is on {interface} already, so it is not on trial there"
            )),
            None => {}
        }
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
    Ok(IsOn {
        name: attached.name.clone(),
        ifindex: attached.index,
        mode: attached.mode.to_string(),
        program: attached.info.as_ref().map(|info| info.id),
        changed: true,
        trial: guard.map(|guard| TrialDocument::of(guard, attached)),
    })
}

/// Attaches as `xdpload attach --pinned` does, on trial if there is a guard, and explains a refusal as that does.
fn run_plan(maps: &Maps, args: &On, link: &LinkInfo, lock: &Lock, guard: Option<&Guard>) -> Result<Loaded> {
    let buffers = if link.mtu > MTU_IN_ONE_BUFFER { Buffers::Several } else { Buffers::One };
    let path = maps.program(buffers, lock)?;
    let target = Target {
        link: LinkRef::named(link.name.clone())?,
        netns: args.place.netns.as_deref().map(crate::cmd::netns_path),
        mode: args.mode,
        replace: false,
        by: AttachBy::Netlink,
    };
    let program = Existing::Pinned(path.to_string_lossy().into_owned());
    let bpffs = args.bpffs.text();
    let planned = Planned { plan: Plan::of_attaching(&program, &[target], &bpffs)?, btf_flaw: None };
    let (plan, root, name) = (&planned.plan, &args.bpffs.root, &link.name);
    let Executed { loaded, .. } = trial::execute(&planned, Telling::default(), guard, &bpffs)
        .map_err(|refusal| help_with_on(doctor::explain(refusal, plan, root), name))?;
    let explain_native = |refusal| help_with_on(doctor::explain_native(refusal, plan, root), name);
    loaded.attachments().iter().for_each(|attached| crate::cmd::warn(attached, explain_native));
    Ok(loaded)
}

/// Has the help of an explanation name this command, where it names the one that attaches an object; the blocklist
/// takes no other program's place.
fn help_with_on(error: Error, interface: &str) -> Error {
    let Some(help) = error.help() else { return error };
    let help = match help.split_once(", or: ") {
        Some((replace, other)) if replace.contains(" --replace") => other,
        _ => help,
    };
    let interface = escape(interface);
    let attach = format!("xdpload attach {interface} OBJ");
    let help = help.replace(&attach, &format!("xdpload block on {interface}"));
    error.with_help(help)
}

#[derive(Serialize)]
struct OnDocument {
    interfaces: Vec<IsOn>,
    max_rules: u32,
    count_only: bool,
    /// Whether what no rule is about is dropped.
    default_drop: bool,
    /// Seconds after which it passes again, unless that is confirmed.
    default_drop_left: Option<u64>,
    /// What follows `xdpload confirm`.
    #[serde(skip)]
    again: String,
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

impl OnDocument {
    fn new(interfaces: Vec<IsOn>, settings: Settings, again: String) -> Self {
        let Settings { max_rules, count_only, unlisted, .. } = settings;
        let left = match unlisted {
            Unlisted::Drop(left) => left,
            Unlisted::Pass => None,
        };
        Self {
            interfaces,
            max_rules,
            count_only,
            default_drop: unlisted != Unlisted::Pass,
            default_drop_left: left.map(|left| left.as_secs()),
            again,
        }
    }
}

impl fmt::Display for OnDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only = if self.count_only { ", and only counts" } else { "" };
        self.interfaces.iter().try_for_each(|IsOn { name, mode, changed, trial, .. }| {
            let already = if *changed { "" } else { " already" };
            writeln!(f, "the blocklist is on{already}: {} in {mode} mode{only}", escape(name))?;
            trial.iter().try_for_each(|trial| trial.fmt(f))
        })?;
        if self.default_drop {
            writeln!(f, "packets that no rule matches are dropped, unless allowed")?;
        }
        match self.default_drop_left {
            Some(left) => {
                let again = &self.again;
                writeln!(f, "unless `xdpload confirm{again}` comes within {left} s, it passes again")
            }
            None => Ok(()),
        }
    }
}

pub(super) fn off(args: &Off) -> Result<()> {
    let netns = crate::cmd::netns(&args.place)?;
    let maps = maps(&args.bpffs);
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
        let purge = maps.command("off --purge");
        return Err(
            Error::new(ErrorKind::Conflict, message).with_help(format!("{purge} turns it off everywhere"))
        );
    }
    for interface in &chosen {
        take_off(interface, &ids, &args.bpffs.root)?;
    }
    let everywhere = args.purge && args.interfaces.is_empty();
    let elsewhere = if everywhere { take_off_elsewhere(&ids, &args.bpffs.root)? } else { Vec::new() };
    if args.purge {
        purge(&maps, &lock, &args.bpffs.root)?;
    }
    let interfaces = chosen.iter().chain(&elsewhere).map(|interface| interface.name().to_owned()).collect();
    output::answer(args.form, &OffDocument { interfaces, purged: args.purge })
}

/// Takes the program off, whatever holds it: after a trial that is a link. Where somebody has put another in its place
/// meanwhile, there is nothing to do.
fn take_off(interface: &Interface, ids: &[u32], bpffs: &Path) -> Result<()> {
    let Some(running) = running_on(&interface.look()?, ids) else { return Ok(()) };
    let id = running.id;
    if !detach::is_own_link(interface, bpffs)? {
        let done = attach::detach(interface, id, bpffs).map(drop);
        return done.map_err(|error| doctor::explain_detach(error, interface, bpffs));
    }
    attach::detach_links(interface, id, bpffs)?;
    attach::remove_shared_directory(bpffs);
    Ok(())
}

/// Takes the programs off in all network namespaces that may be entered, which need the rules as well.
fn take_off_elsewhere(ids: &[u32], bpffs: &Path) -> Result<Vec<Interface>> {
    let mut taken = Vec::new();
    for namespace in NetNs::all()?.0 {
        let found = match running(ids, Some(&namespace)) {
            Err(error) if is_left_out(&error) => continue,
            found => found?,
        };
        for interface in found {
            match take_off(&interface, ids, bpffs) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done.map(|()| taken.push(interface))?,
            }
        }
    }
    Ok(taken)
}

/// Whether a namespace is passed over: nobody is asked to have the right to enter it for what is mostly in one
/// namespace, it may be gone, and a file in its place may be none.
fn is_left_out(error: &Error) -> bool {
    let kinds = [ErrorKind::InvalidInput, ErrorKind::NotFound];
    error.errno() == Some(nix::libc::EPERM) || kinds.contains(&error.kind())
}

/// Removes the blocklist, and the directory that it is in if that is empty now.
fn purge(maps: &Maps, lock: &Lock, bpffs: &Path) -> Result<()> {
    maps.purge(lock)?;
    attach::remove_shared_directory(bpffs);
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

#[cfg(test)]
mod tests {
    use super::*;
    use loader::uapi::if_link::HardwareType;

    #[test]
    fn a_tunnel_leads_to_what_carries_it() {
        let link = |name: &str, hardware_type| LinkInfo {
            name: name.to_owned(),
            hardware_type,
            ..LinkInfo::default()
        };
        let mut facts =
            InterfaceFacts { link: link("gre1", HardwareType::IPGRE), ..InterfaceFacts::default() };
        let alone = without_ethernet(&facts);
        assert!(alone.to_string().contains("`gre1` have no Ethernet header (link type gre)"), "{alone}");
        assert!(alone.help().unwrap().contains("on the interface that they come in by"), "{alone:?}");
        facts.lower = Some(link("eth0", HardwareType::ETHER));
        let help =
            "nftables drops by address on `gre1`; `xdpload block on eth0` drops by the outer addresses";
        assert_eq!(without_ethernet(&facts).help(), Some(help));
    }
}
