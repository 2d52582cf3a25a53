//! `xdpload block stats`: what has become of packets.

use std::fmt::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use blocklist::counters::{self, Count, Counters, Verdict};
use blocklist::{Blocklist, DEFAULT_SET, Reader, running_on};
use loader::attach::RouteSocket;
use loader::{Error, ErrorKind, Result, escape, quote};
use serde::Serialize;

use super::args::Stats;
use super::{blocklist, reach};
use crate::output::{self, NamedInterface};

/// Interfaces whose indexes are equal modulo this share their counts.
const PLACES: u32 = 256;

pub(super) fn run(args: &Stats) -> Result<()> {
    let blocklist = blocklist(&args.bpffs);
    let netns = crate::cmd::netns(&args.place)?;
    let socket = RouteSocket::open(netns.as_ref())?;
    let found = read(&blocklist, args, &socket)?;
    // What is read by a program four times a minute is no place for notes.
    if !args.prometheus {
        tell_shared(&found, &reach::elsewhere(&blocklist.program_ids()?, &socket));
    }
    if !args.prometheus && found.iter().all(|seen| !seen.is_on) && args.interface.is_none() {
        let place = if args.place.netns.is_some() { " there" } else { " here" };
        output::remark(format_args!("note: the blocklist is on no interface{place}"));
    }
    if args.watch {
        return watch(&blocklist, args, &socket);
    }
    let document = Document::new(found);
    if args.prometheus {
        let sizes = Sizes::read(&blocklist)?;
        return output::print(&Prometheus { document: &document, sizes: &sizes }.to_string());
    }
    output::answer(args.form, &document)
}

/// An interface that the blocklist is on, or that it has seen packets on; or all of them, with the index 0, where the
/// kernel is too old for counts of each.
struct Seen {
    name: String,
    index: u32,
    is_on: bool,
    /// None if its packets are counted with those of all.
    counters: Option<Counters>,
}

/// What all interfaces together are called.
const TOGETHER: &str = "all interfaces";

/// Says of which interfaces of other network namespaces the packets are in the same counts.
fn tell_shared(found: &[Seen], others: &[reach::Elsewhere]) {
    for Seen { name, index, .. } in found.iter().filter(|seen| seen.index != 0) {
        for other in others.iter().filter(|other| other.index % PLACES == index % PLACES) {
            output::remark(format_args!(
                "note: {} shares its counts with {}, which has the same index modulo {PLACES}",
                quote(name),
                other.words
            ));
        }
    }
}

/// The counts of the interfaces that are asked for.
fn read(blocklist: &Blocklist, args: &Stats, socket: &RouteSocket) -> Result<Vec<Seen>> {
    let mut counters = counters::read(blocklist)?;
    let ids = blocklist.program_ids()?;
    let mut found = Vec::new();
    let mut take = |index: u32| {
        let place = counters.iter().position(|counters| counters.ifindex == index)?;
        Some(counters.remove(place))
    };
    let together = take(0);
    let is_together = together.is_some();
    if let Some(counters) = together {
        found.push(Seen { name: TOGETHER.to_owned(), index: 0, is_on: false, counters: Some(counters) });
    }
    for link in socket.interfaces()? {
        let is_on = running_on(&link, &ids).is_some();
        let counted = take(link.index);
        if is_on || counted.is_some() {
            let none = || (!is_together).then(|| Counters::none(link.index));
            put(
                &mut found,
                Seen { name: link.name, index: link.index, is_on, counters: counted.or_else(none) },
            );
        }
    }
    // One that has gone, or that is in another namespace, has no name here.
    for counters in counters {
        let index = counters.ifindex;
        put(&mut found, Seen { name: format!("if{index}"), index, is_on: false, counters: Some(counters) });
    }
    if let Some(link) = &args.interface {
        let link = socket.interface(link)?;
        found.retain(|seen| seen.index == link.index);
        if found.is_empty() {
            let message = format!("the blocklist is not on {}", quote(&link.name));
            return Err(Error::new(ErrorKind::NotFound, message));
        }
    }
    Ok(found)
}

/// Puts an interface where it belongs by its index.
fn put(found: &mut Vec<Seen>, seen: Seen) {
    let place = found.partition_point(|other| other.index < seen.index);
    found.insert(place, seen);
}

/// A line for each interface and second, until interrupted.
fn watch(blocklist: &Blocklist, args: &Stats, socket: &RouteSocket) -> Result<()> {
    let mut last_seen: Vec<Counters> = Vec::new();
    let mut last = Instant::now();
    loop {
        let now = read(blocklist, args, socket)?;
        let seconds = last.elapsed().as_secs_f64().max(0.001);
        last = Instant::now();
        let mut lines = String::new();
        for Seen { name, index, is_on, counters } in now {
            let Some(counters) = counters else { continue };
            match last_seen.binary_search_by_key(&index, |counters| counters.ifindex) {
                Ok(place) => {
                    let before = &last_seen[place];
                    let rates = Rates { before, now: &counters, seconds };
                    // Writing to a String cannot fail.
                    let off = off(is_on, index);
                    let _ = writeln!(lines, "{:<16}{rates}{off}", escape(&name));
                    last_seen[place] = counters;
                }
                Err(place) => last_seen.insert(place, counters),
            }
        }
        output::print(&lines)?;
        thread::sleep(Duration::from_secs(1));
    }
}

struct Rates<'a> {
    before: &'a Counters,
    now: &'a Counters,
    seconds: f64,
}

impl fmt::Display for Rates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Verdict::{Allowed, Dropped4, Dropped6, Other, Passed4, Passed6, Truncated, WouldDrop};
        let groups: [(&str, &[Verdict]); 3] = [
            ("dropped", &[Dropped4, Dropped6]),
            ("would drop", &[WouldDrop]),
            ("passed", &[Passed4, Passed6, Allowed, Other, Truncated]),
        ];
        for (name, verdicts) in groups {
            let (now, before) = (self.now.sum(verdicts), self.before.sum(verdicts));
            // A blocklist that was made anew meanwhile has counted less.
            #[expect(clippy::cast_precision_loss, reason = "a rate is shown rounded")]
            let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / self.seconds;
            let packets = rate(now.packets, before.packets);
            let bits = 8.0 * rate(now.bytes, before.bytes);
            write!(f, " {name} {packets:.0} packets/s {:.2} Mbit/s", bits / 1e6)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Document {
    interfaces: Vec<Interface>,
}

#[derive(Serialize)]
struct Interface {
    #[serde(flatten)]
    at: NamedInterface,
    /// Whether the blocklist is on it now.
    on: bool,
    /// None where its packets are counted with those of all.
    verdicts: Vec<Row>,
}

/// What is said of an interface that the blocklist is not on.
fn off(is_on: bool, index: u32) -> &'static str {
    if is_on || index == 0 { "" } else { " (off)" }
}

#[derive(Serialize)]
struct Row {
    verdict: &'static str,
    packets: u64,
    bytes: u64,
}

impl Document {
    fn new(found: Vec<Seen>) -> Self {
        let row = |(verdict, count): (Verdict, &Count)| Row {
            verdict: verdict.name(),
            packets: count.packets,
            bytes: count.bytes,
        };
        let rows = |counters: Counters| Verdict::ALL.into_iter().zip(&counters.counts).map(row).collect();
        let interface = |Seen { name, index, is_on, counters }: Seen| Interface {
            at: NamedInterface::new(&name, index),
            on: is_on,
            verdicts: counters.map(rows).unwrap_or_default(),
        };
        Self { interfaces: found.into_iter().map(interface).collect() }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Interface { at, on, verdicts } in &self.interfaces {
            writeln!(f, "{}{}", at.name(), off(*on, at.ifindex))?;
            if verdicts.is_empty() {
                writeln!(f, "  counted with {TOGETHER}, since this kernel tells no interface (Linux 4.16)")?;
                continue;
            }
            let mut counted = verdicts.iter().filter(|row| row.packets > 0).peekable();
            if counted.peek().is_none() {
                writeln!(f, "  no packets so far")?;
            }
            for Row { verdict, packets, bytes } in counted {
                writeln!(f, "  {verdict:<12} {packets:>16} packets {bytes:>18} bytes")?;
            }
        }
        Ok(())
    }
}

/// How many rules there are, and could be.
struct Sizes {
    /// The sets that hold some, in the order of their names, each with how many.
    rules: Vec<(String, u64)>,
    max_rules: u32,
}

impl Sizes {
    fn read(blocklist: &Blocklist) -> Result<Self> {
        let mut reader = Reader::open(blocklist)?;
        let mut counts = [0; u32::BITS as usize];
        for rule in reader.rules(false)? {
            let mut sets = rule.sets;
            while sets != 0 {
                counts[sets.trailing_zeros() as usize] += 1;
                sets &= sets - 1;
            }
        }
        // An alert is about what is 0, and not about what is missing.
        let mut rules = vec![(DEFAULT_SET.to_owned(), 0)];
        for (set, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            for name in reader.set_names(1 << set) {
                match rules.binary_search_by(|(own, _)| own.cmp(&name)) {
                    Ok(place) => rules[place].1 += count,
                    Err(place) => rules.insert(place, (name, count)),
                }
            }
        }
        Ok(Self { rules, max_rules: reader.settings()?.max_rules })
    }
}

/// The text that node_exporter's textfile collector takes.
struct Prometheus<'a> {
    document: &'a Document,
    sizes: &'a Sizes,
}

impl fmt::Display for Prometheus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (metric, help) in [("packets", "Packets"), ("bytes", "Bytes of packets")] {
            writeln!(f, "# HELP xdpload_block_{metric}_total {help} by interface and verdict.")?;
            writeln!(f, "# TYPE xdpload_block_{metric}_total counter")?;
            for Interface { at, verdicts, .. } in &self.document.interfaces {
                for Row { verdict, packets, bytes } in verdicts {
                    let value = if metric == "bytes" { bytes } else { packets };
                    let name = label(&at.interface);
                    writeln!(
                        f,
                        "xdpload_block_{metric}_total{{interface=\"{name}\",verdict=\"{verdict}\"}} {value}"
                    )?;
                }
            }
        }
        let metric = "xdpload_block_on";
        writeln!(f, "# HELP {metric} Whether the blocklist is on the interface.\n# TYPE {metric} gauge")?;
        for Interface { at, on, .. } in self.document.interfaces.iter().filter(|place| place.at.ifindex != 0)
        {
            writeln!(f, "{metric}{{interface=\"{}\"}} {}", label(&at.interface), u8::from(*on))?;
        }
        let on = self.document.interfaces.iter().filter(|interface| interface.on).count();
        let metric = "xdpload_block_interfaces";
        writeln!(f, "# HELP {metric} Number of interfaces that it is on.\n# TYPE {metric} gauge")?;
        writeln!(f, "{metric} {on}")?;
        let metric = "xdpload_block_rules";
        writeln!(f, "# HELP {metric} Rules by the set that holds them.\n# TYPE {metric} gauge")?;
        for (set, count) in &self.sizes.rules {
            writeln!(f, "{metric}{{set=\"{}\"}} {count}", label(set))?;
        }
        let metric = "xdpload_block_rules_max";
        writeln!(f, "# HELP {metric} Maximum number of rules.\n# TYPE {metric} gauge")?;
        writeln!(f, "{metric} {}", self.sizes.max_rules)
    }
}

/// A name as the value of a label: backslash, quote and line break are escaped.
fn label(name: &str) -> String {
    escape(name).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_a_blocklist_made_anew_are_none() {
        let mut before = Counters::none(3);
        let dropped: &mut Count = &mut before.counts[Verdict::Dropped4 as usize];
        (dropped.packets, dropped.bytes) = (7, 420);
        let rates = Rates { before: &before, now: &Counters::none(3), seconds: 1.0 }.to_string();
        assert!(rates.starts_with(" dropped 0 packets/s 0.00 Mbit/s"), "{rates}");
    }
}
