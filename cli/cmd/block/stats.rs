//! `xdpload block stats`: what has become of packets.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use blocklist::Maps;
use blocklist::counters::{self, Count, Counters, Verdict};
use loader::attach::RouteSocket;
use loader::netlink::LinkRef;
use loader::{Error, ErrorKind, Result, escape, quote};
use serde::Serialize;

use super::args::Stats;
use super::maps;
use crate::output;

pub(super) fn run(args: &Stats) -> Result<()> {
    let maps = maps(&args.home);
    if args.watch {
        return watch(&maps, args);
    }
    let document = Document::new(read(&maps, args)?);
    if args.prometheus {
        return output::print(&Prometheus(&document).to_string());
    }
    output::answer(args.form, &document)
}

/// The counts of the interfaces that are asked for, with their names.
fn read(maps: &Maps, args: &Stats) -> Result<Vec<(String, Counters)>> {
    let socket = RouteSocket::open(None)?;
    let mut found = counters::read(maps)?;
    if let Some(link) = &args.interface {
        let index = socket.link(link)?.index;
        found.retain(|counters| counters.ifindex == index);
        if found.is_empty() {
            let message = format!("the blocklist has seen no packet on {}", words(link));
            return Err(Error::new(ErrorKind::NotFound, message));
        }
    }
    let names: BTreeMap<_, _> = socket.links()?.into_iter().map(|link| (link.index, link.name)).collect();
    // One that has gone, or that is in another namespace, has no name here.
    let name = |counters: &Counters| names.get(&counters.ifindex).cloned();
    let name = |counters: &Counters| name(counters).unwrap_or_else(|| format!("if{}", counters.ifindex));
    Ok(found.into_iter().map(|counters| (name(&counters), counters)).collect())
}

fn words(link: &LinkRef) -> String {
    match link {
        LinkRef::Name(name) => quote(name.as_str()),
        LinkRef::Index(index) => format!("interface {index}"),
    }
}

/// A line for each interface and second, until interrupted.
fn watch(maps: &Maps, args: &Stats) -> Result<()> {
    let mut before: BTreeMap<u32, Counters> = BTreeMap::new();
    let mut last = Instant::now();
    loop {
        let now = read(maps, args)?;
        let seconds = last.elapsed().as_secs_f64().max(0.001);
        last = Instant::now();
        let mut lines = String::new();
        for (name, counters) in now {
            if let Some(before) = before.insert(counters.ifindex, counters.clone()) {
                let rates = Rates { before: &before, now: &counters, seconds };
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "{:<16}{rates}", escape(&name));
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
            #[expect(clippy::cast_precision_loss, reason = "a rate is shown rounded")]
            let rate = |now: u64, before: u64| now.wrapping_sub(before) as f64 / self.seconds;
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
    name: String,
    ifindex: u32,
    verdicts: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    verdict: &'static str,
    packets: u64,
    bytes: u64,
}

impl Document {
    fn new(found: Vec<(String, Counters)>) -> Self {
        let row = |(verdict, count): (Verdict, &Count)| Row {
            verdict: verdict.name(),
            packets: count.packets,
            bytes: count.bytes,
        };
        let interface = |(name, counters): (String, Counters)| Interface {
            name,
            ifindex: counters.ifindex,
            verdicts: Verdict::ALL.into_iter().zip(&counters.counts).map(row).collect(),
        };
        Self { interfaces: found.into_iter().map(interface).collect() }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Interface { name, verdicts, .. } in &self.interfaces {
            writeln!(f, "{}", escape(name))?;
            for Row { verdict, packets, bytes } in verdicts.iter().filter(|row| row.packets > 0) {
                writeln!(f, "  {verdict:<12} {packets:>16} packets {bytes:>18} bytes")?;
            }
        }
        Ok(())
    }
}

/// The text that node_exporter's textfile collector takes.
struct Prometheus<'a>(&'a Document);

impl fmt::Display for Prometheus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (metric, help) in [("packets", "Packets"), ("bytes", "Bytes of packets")] {
            writeln!(f, "# HELP xdpload_block_{metric}_total {help} by interface and verdict.")?;
            writeln!(f, "# TYPE xdpload_block_{metric}_total counter")?;
            for Interface { name, verdicts, .. } in &self.0.interfaces {
                for Row { verdict, packets, bytes } in verdicts {
                    let value = if metric == "bytes" { bytes } else { packets };
                    let name = label(name);
                    writeln!(
                        f,
                        "xdpload_block_{metric}_total{{interface=\"{name}\",verdict=\"{verdict}\"}} {value}"
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// A name as the value of a label: backslash, quote and line break are escaped.
fn label(name: &str) -> String {
    escape(name).replace('\\', "\\\\").replace('"', "\\\"")
}
