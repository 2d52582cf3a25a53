//! `xdpload block on`.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use blocklist::{
    Blocklist, Buffers, DEFAULT_MAX_RULES, Lock, Reader, Settings, Unlisted, Writer, is_blocklist, memory,
    running_on,
};
use loader::attach::{self, Interface};
use loader::diagnosis::{InterfaceFacts, Privilege};
use loader::doctor;
use loader::features::{Answer, Feature};
use loader::kernel::probe;
use loader::netlink::{InterfaceInfo, InterfaceRef, Mode, ModeChoice};
use loader::pin::{self, HeldBpffs};
use loader::plan::{Existing, Plan, Target};
use loader::{Error, ErrorKind, Result, escape, quote, shell_word};
use serde::Serialize;

use super::args::{self, On};
use super::{blocklist, lockout, reach};
use crate::cmd::transcript::{Executed, Telling};
use crate::cmd::trial::{self, TrialDocument};
use crate::cmd::{Planned, mount, open_all};
use crate::guard::{Guard, pending};
use crate::output::{self, NamedInterface};
use crate::remedy::{self, Commands as _};

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
    let interfaces = lower_first(open_all(&args.interfaces, netns.as_ref())?, &args.bpffs.root)?;
    let blocklist = blocklist(&args.bpffs);
    check_interfaces(&interfaces, &blocklist, args)?;
    let bpffs = pin::ensure_bpffs(&args.bpffs.root)?;
    let document = match make_and_turn_on(args, &interfaces, &blocklist, &bpffs) {
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
    output::changed(args.form, &document)
}

/// Has a refusal to load name all that the blocklist's program takes to be loaded and attached. It computes with
/// pointers.
fn name_privileges(error: Error) -> Error {
    let needed = [Privilege::Bpf, Privilege::BpfNetwork, Privilege::Perfmon, Privilege::Interface];
    doctor::explain_lack(error, &needed)
}

/// Turns it on, and makes it if it is not there: then nothing is left of it after a refusal but the directory that it
/// shares with others.
fn make_and_turn_on(
    args: &On,
    interfaces: &[Interface],
    blocklist: &Blocklist,
    bpffs: &HeldBpffs,
) -> Result<OnDocument> {
    let lock = blocklist.prepare(bpffs)?;
    let turning_on = TurningOn { args, interfaces, blocklist, lock: &lock };
    // A directory that has something in it stays.
    let remove_dir = |_: &Error| drop(pin::remove_dir(blocklist.dir()));
    if blocklist.is_whole().inspect_err(remove_dir)? {
        let mut writer = Writer::holding(&lock, blocklist)?;
        check(args, interfaces, blocklist, writer.reader())?;
        return turning_on.turn_on(&mut writer);
    }
    let done = make(blocklist, args, &lock)
        .map_err(name_privileges)
        .and_then(|()| Writer::holding(&lock, blocklist))
        .and_then(|mut writer| turning_on.turn_on(&mut writer));
    // What is told is why it is not on.
    done.inspect_err(|_| blocklist.purge(&lock).unwrap_or(()))
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
fn check(args: &On, interfaces: &[Interface], blocklist: &Blocklist, reader: &mut Reader) -> Result<()> {
    let before = reader.settings()?;
    let room = before.max_rules;
    if let Some(wanted) = args.max_rules.filter(|wanted| *wanted != room) {
        let message = format!("the blocklist was made with room for {room} rules, which cannot be changed");
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_help(blocklist.more_room(&format!("{} --max-rules {wanted}", places(args, interfaces)))));
    }
    refuse_trial_of_settings(args, interfaces, blocklist, before)?;
    if args.force || args.count_only.unwrap_or(before.count_only) {
        return Ok(());
    }
    let is_on_trial = args.trial.confirm.is_some() && !before.count_only;
    if is_on_trial || !before.count_only && is_on_all(interfaces, blocklist)? {
        return Ok(());
    }
    // Whoever asks for another default has been warned.
    let unlisted = if args.default.is_some() { Unlisted::Pass } else { before.unlisted };
    let exceptions = reader.exceptions()?;
    let trial = if before.count_only { "" } else { "--confirm 60s undoes it unless confirmed; " };
    let allow = blocklist.command("allow add PREFIX");
    let help = format!("{allow} makes an exception; {trial}--force overrides this check");
    let netns = crate::cmd::netns(&args.place)?;
    lockout::check_all(reader, netns.as_ref(), unlisted, &exceptions, &help)
}

/// Refuses a trial of what is set for all interfaces: it takes programs off, and puts no setting back. A drop by
/// default is ended by the packet program.
fn refuse_trial_of_settings(
    args: &On,
    interfaces: &[Interface],
    blocklist: &Blocklist,
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
    let on = blocklist.command(&format!("on {places} {option}"));
    let message = format!("--confirm cannot undo that {what}, which holds for all interfaces");
    Err(Error::new(ErrorKind::Conflict, message).with_help(format!(
        "{on} does it without a trial; --confirm without {option} tries the program alone"
    )))
}

fn is_on_all(interfaces: &[Interface], blocklist: &Blocklist) -> Result<bool> {
    let ids = blocklist.program_ids()?;
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

/// The interfaces in an order in which all can be attached to: none after one that is stacked on it.
fn lower_first(interfaces: Vec<Interface>, bpffs: &Path) -> Result<Vec<Interface>> {
    if interfaces.len() < 2 {
        return Ok(interfaces);
    }
    let mut uppers = Vec::new();
    for interface in &interfaces {
        uppers.push((interface.index(), interface.facts(bpffs)?.uppers.len()));
    }
    // Whatever is above an upper one is above the lower one too.
    let count = |interface: &Interface| {
        uppers.iter().find(|(index, _)| *index == interface.index()).map_or(0, |(_, count)| *count)
    };
    // They are few, and the standard library's sort takes five kilobytes of machine code for each type.
    let mut sorted = Vec::with_capacity(interfaces.len());
    for interface in interfaces {
        let above = count(&interface);
        sorted.insert(sorted.partition_point(|lower| count(lower) >= above), interface);
    }
    Ok(sorted)
}

/// Refuses an interface with another program, one that has it in another mode than is asked for, and one where the
/// blocklist would be on and drop nothing.
fn check_interfaces(interfaces: &[Interface], blocklist: &Blocklist, args: &On) -> Result<()> {
    // One that is not whole is made anew, with another program.
    let ids = if blocklist.is_whole()? { blocklist.program_ids()? } else { Vec::new() };
    for interface in interfaces {
        let link = interface.look()?;
        if !link.has_ethernet_header() {
            let facts = interface.facts(&args.bpffs.root)?;
            return Err(without_ethernet(&facts));
        }
        let Some(program) = running_on(&link, &ids) else {
            refuse_to_displace(interface, &link, blocklist, args)?;
            continue;
        };
        if let Some(wanted) = args.mode.filter(|choice| !takes(*choice, program.mode)) {
            let message =
                format!("the blocklist is on {interface} in {} mode, not in {wanted} mode", program.mode);
            let (name, again) = (shell_word(interface.name()), again(args));
            return Err(Error::new(ErrorKind::Conflict, message).with_help(format!(
                "`xdpload block off {name}{again}`, then `xdpload block on {name} --mode {wanted}{again}`"
            )));
        }
    }
    Ok(())
}

/// Whether who asks for `choice` is content with `mode`.
fn takes(choice: ModeChoice, mode: Mode) -> bool {
    choice.first() == mode || choice.fallback() == Some(mode)
}

fn refuse_to_displace(
    interface: &Interface,
    link: &InterfaceInfo,
    blocklist: &Blocklist,
    args: &On,
) -> Result<()> {
    let Some(program) = link.xdp.programs().first() else { return Ok(()) };
    if program.id.is_some_and(is_blocklist) {
        return Err(reach::another(interface, blocklist, &again(args)));
    }
    let message = format!("another XDP program is on {interface}, which the blocklist would displace");
    let error = Error::new(ErrorKind::Conflict, message);
    Err(remedy::in_words_of_block_on(doctor::explain_occupied(error, interface, &args.bpffs.root)))
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
            let options = crate::args::options(&facts.at(lower));
            format!("`xdpload block on {}{options}` drops", shell_word(&lower.name))
        }
        None => "on the interface that they come in by, the blocklist drops".to_owned(),
    };
    Error::new(ErrorKind::Unsupported, message)
        .with_help(format!("nftables drops by address on {name}; {below} by the outer addresses"))
}

/// Makes the blocklist, and tells before how much memory that takes.
fn make(blocklist: &Blocklist, args: &On, lock: &Lock) -> Result<()> {
    let max_rules = args.max_rules.unwrap_or(DEFAULT_MAX_RULES);
    let bytes = memory(max_rules);
    let takes = format!("room for {max_rules} rules takes {} of kernel memory", shown_bytes(bytes));
    if let Some(free) = free_memory().filter(|free| *free < bytes && !args.force) {
        let message = format!("{takes}, and {} are free", shown_bytes(free));
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_help("--max-rules sets the number of rules; --force tries it anyway"));
    }
    output::remark(format_args!("{takes}, preallocated"));
    blocklist.make(max_rules, lock)
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

/// What turning it on goes by, once all interfaces may have it.
struct TurningOn<'a> {
    args: &'a On,
    interfaces: &'a [Interface],
    blocklist: &'a Blocklist,
    lock: &'a Lock,
}

impl TurningOn<'_> {
    /// Sets what is to be set, and attaches to all interfaces; after a refusal all is as it was.
    fn turn_on(&self, writer: &mut Writer) -> Result<OnDocument> {
        let args = self.args;
        let seen = Instant::now();
        let before = writer.reader().settings()?;
        writer.set(args.count_only, unlisted(args, before.unlisted))?;
        match self.attach_all() {
            Ok(interfaces) => Ok(OnDocument::new(interfaces, writer.reader().settings()?, again(args))),
            Err(error) => match writer.set(Some(before.count_only), Some(still(before.unlisted, seen))) {
                Ok(()) => Err(error),
                Err(failure) => Err(error.context(format!("the settings are changed ({failure})"))),
            },
        }
    }

    /// Attaches to all interfaces that have it not yet, or after a refusal to none.
    fn attach_all(&self) -> Result<Vec<IsOn>> {
        let Self { args, interfaces, .. } = *self;
        let guard = trial::guard(args.trial, &args.place, &args.bpffs)?;
        let mut all = Vec::new();
        for interface in interfaces {
            match self.attach_one(interface, guard.as_ref()) {
                Ok(is_on) => all.push(is_on),
                Err(error) => {
                    // Upper ones first, as they were attached last.
                    let changed = interfaces.iter().zip(&all).rev().filter(|(_, is_on)| is_on.changed);
                    return Err(take_back(changed, guard.as_ref(), &args.bpffs.root, error));
                }
            }
        }
        Ok(all)
    }

    fn attach_one(&self, interface: &Interface, guard: Option<&Guard>) -> Result<IsOn> {
        let args = self.args;
        let link = interface.look()?;
        if let Some(program) = running_on(&link, &self.blocklist.program_ids()?) {
            let netns = crate::cmd::netns(&args.place)?;
            // A service that may use no Unix sockets does without the remark.
            let trial = pending(netns.as_ref(), link.index).unwrap_or_default();
            let wanted = guard.map(|_| "the blocklist");
            let trial = trial::note_unchanged(interface, trial, wanted, &again(args));
            return Ok(IsOn {
                at: NamedInterface::new(&link.name, link.index),
                mode: program.mode.to_string(),
                program: program.id,
                changed: false,
                trial,
            });
        }
        let executed = self.run_plan(&link, self.buffers(interface, &link), guard)?;
        let attached = executed.loaded.attached().expect("the plan was to attach");
        Ok(IsOn {
            at: NamedInterface::of(&attached.interface),
            mode: attached.mode.to_string(),
            program: attached.info.as_ref().map(|info| info.id),
            changed: true,
            trial: guard.map(|guard| TrialDocument::of(guard, attached)),
        })
    }

    /// In how many buffers packets may come in: those of a veth are as long as its peer sends them.
    fn buffers(&self, interface: &Interface, link: &InterfaceInfo) -> Buffers {
        let is_long = |link: &InterfaceInfo| link.mtu > MTU_IN_ONE_BUFFER;
        // Generic mode puts together what is in several buffers, and any kernel has that.
        let is_native = self.args.mode.unwrap_or_default().first() != Mode::Generic;
        let has_long_peer = || {
            let peer = interface.facts(&self.args.bpffs.root).ok().and_then(|facts| facts.peer);
            peer.is_some_and(|peer| is_long(&peer)) && probe(Feature::XdpFrags) != Answer::No
        };
        let is_veth = link.kind.as_deref() == Some("veth");
        if is_long(link) || is_veth && is_native && has_long_peer() { Buffers::Several } else { Buffers::One }
    }

    /// Attaches as `xdpload attach --pinned` does, on trial if there is a guard, and explains a refusal as that does.
    fn run_plan(&self, link: &InterfaceInfo, buffers: Buffers, guard: Option<&Guard>) -> Result<Executed> {
        let args = self.args;
        let path = self.blocklist.program(buffers, self.lock).map_err(name_privileges)?;
        let target = Target::new(InterfaceRef::named(link.name.clone())?)
            .netns(args.place.netns.as_deref().map(crate::args::netns_path))
            .mode(args.mode.unwrap_or_default());
        let program = Existing::Pinned(path.to_string_lossy().into_owned());
        let bpffs = args.bpffs.text();
        let planned =
            Planned { plan: Plan::of_attaching(&program, &[target], &args.bpffs.root)?, btf_flaw: None };
        let (plan, root) = (&planned.plan, &args.bpffs.root);
        let executed = trial::execute(&planned, Telling::default(), guard, &bpffs)
            .map_err(|refusal| remedy::in_words_of_block_on(doctor::explain(refusal, plan, root)))?;
        let explain_native = |refusal| doctor::explain_native(refusal, plan, root);
        executed.loaded.attachments().iter().for_each(|attached| crate::cmd::warn(attached, explain_native));
        Ok(executed)
    }
}

/// What `unlisted` has become since it was `seen`: a drop that ends when it was to end then.
fn still(unlisted: Unlisted, seen: Instant) -> Unlisted {
    match unlisted {
        // Ends are rounded up to units of 1.07 s: by less than one too early, it is the same one.
        Unlisted::Drop(Some(left)) => {
            let gone = seen.elapsed() + Duration::from_millis(500);
            Unlisted::Drop(Some(left.saturating_sub(gone)))
        }
        other => other,
    }
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

#[derive(Serialize)]
struct OnDocument {
    interfaces: Vec<IsOn>,
    max_rules: u32,
    count_only: bool,
    /// Whether what no rule is about is dropped.
    default_drop: bool,
    /// Seconds after which they pass again, unless that is confirmed.
    default_drop_seconds_left: Option<u64>,
    /// What follows `xdpload confirm`.
    #[serde(skip)]
    again: String,
}

#[derive(Serialize)]
struct IsOn {
    #[serde(flatten)]
    at: NamedInterface,
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
            default_drop_seconds_left: left.map(|left| left.as_secs()),
            again,
        }
    }
}

impl fmt::Display for OnDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only = if self.count_only { ", and only counts" } else { "" };
        self.interfaces.iter().try_for_each(|IsOn { at, mode, changed, trial, .. }| {
            let already = if *changed { "" } else { " already" };
            writeln!(f, "the blocklist is on{already}: {} in {mode} mode{only}", at.name())?;
            trial.iter().try_for_each(|trial| trial.fmt(f))
        })?;
        if self.default_drop {
            let are = if self.count_only { "would be dropped, too" } else { "are dropped" };
            writeln!(f, "packets that no rule matches {are}, unless allowed")?;
        }
        match self.default_drop_seconds_left {
            Some(left) => {
                let again = &self.again;
                writeln!(
                    f,
                    "run `xdpload confirm{again}` within {left} s to keep that; otherwise they pass again"
                )
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loader::uapi::if_link::HardwareType;

    #[test]
    fn a_tunnel_leads_to_what_carries_it() {
        let link = |name: &str, hardware_type| {
            let mut link = InterfaceInfo::default();
            (link.name, link.hardware_type) = (name.to_owned(), hardware_type);
            link
        };
        let mut facts = InterfaceFacts::default();
        facts.link = link("gre1", HardwareType::IPGRE);
        let alone = without_ethernet(&facts);
        assert!(alone.to_string().contains("`gre1` have no Ethernet header (link type gre)"), "{alone}");
        assert!(remedy::help(&alone).unwrap().contains("on the interface that they come in by"), "{alone:?}");
        facts.lower = Some(link("eth0", HardwareType::ETHER));
        let help =
            "nftables drops by address on `gre1`; `xdpload block on eth0` drops by the outer addresses";
        assert_eq!(without_ethernet(&facts).help(), Some(help.into()));
    }
}
