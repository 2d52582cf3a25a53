//! One line of a list: which form it has, and what it lists.

use std::collections::HashMap;
use std::iter;

use ipnet::IpNet;

use super::reason::Reason;
use super::{Item, List, Preset, json, nft};
use crate::duration;
use crate::prefix;

/// What is remembered from line to line.
#[derive(Debug, Default)]
pub(super) struct State {
    nft: nft::State,
    /// What `create` gives a set.
    presets: HashMap<String, Preset>,
}

impl State {
    /// Reads a line into `list`.
    pub(super) fn read(&mut self, line: &str, list: &mut List) -> Result<(), Reason> {
        let line = line.trim_start_matches('\u{feff}').trim();
        if self.nft.is_inside() {
            return self.nft.read(line, list);
        }
        let word = line.split(char::is_whitespace).next().unwrap_or_default();
        match word.as_bytes().first() {
            None | Some(b'#' | b';') => Ok(()),
            Some(b'{') => json::read(line, list),
            // Most lines begin with an address.
            Some(first) if first.is_ascii_digit() => plain(line, list),
            _ if word == "add" && !nft::begins(line) => self.add(line, list),
            _ if word == "create" && !nft::begins(line) => self.create(line, list),
            _ if word == "allow" => {
                let written = prefix::parse(without_comment(&line[word.len()..])?.trim())?;
                list.with_host_bits += u64::from(written.had_host_bits);
                list.allowed.push(written.prefix);
                Ok(())
            }
            _ if nft::begins(line) => self.nft.read(line, list),
            _ => plain(line, list),
        }
    }

    /// `create SET TYPE [timeout SECONDS] [netmask LENGTH] ...`, as `ipset save` writes it before what is in the set,
    /// if anything is.
    fn create(&mut self, line: &str, list: &mut List) -> Result<(), Reason> {
        let mut words = line.split_whitespace().skip(1);
        let name = words.next().unwrap_or_default();
        if !words.next().is_some_and(|kind| PREFIX_TYPES.contains(&kind)) {
            return Ok(());
        }
        list.created.push(name.to_owned());
        let preset = self.presets.entry(name.to_owned()).or_default();
        while let Some(option) = words.next() {
            match option {
                "timeout" => preset.seconds = seconds(words.next())?,
                "netmask" => {
                    let length = words.next().and_then(|length| length.parse().ok());
                    let length = length.ok_or_else(|| Reason::new("expected a length behind `netmask`"))?;
                    preset.length = Some(length);
                }
                "bitmask" => {
                    return Err(Reason::new(
                        "a set with a `bitmask` is not read: it may hold what is no prefix",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `add SET PREFIX [timeout SECONDS] ...`, as `ipset save` writes it.
    fn add(&mut self, line: &str, list: &mut List) -> Result<(), Reason> {
        let mut words = line.split_whitespace().skip(1);
        let name = words.next().unwrap_or_default();
        let word = words.next().ok_or_else(|| Reason::new("expected a prefix behind the name of the set"))?;
        let mut time = None;
        while let Some(option) = words.next() {
            match option {
                "timeout" => time = Some(seconds(words.next())?),
                "nomatch" => {
                    let words = "`nomatch` makes an exception, which belongs into `block allow`";
                    return Err(Reason::new(words));
                }
                "packets" | "bytes" | "skbmark" | "skbprio" | "skbqueue" => drop(words.next()),
                // What is written for `ipset restore` may have it.
                "-exist" | "-!" => {}
                "comment" => nft::skip_quoted(&mut words),
                _ if option.starts_with(['#', ';']) => break,
                _ => return Err(Reason(format!("`{word}`: there is no place for `{option}`"))),
            }
        }
        let mut found = Vec::new();
        list.with_host_bits += u64::from(prefix::parse_range(word, &mut |prefix| found.push(prefix))?);
        let preset = self.presets.get(name).copied().unwrap_or_default();
        let seconds = time.unwrap_or(preset.seconds);
        let set = list.set_number(name);
        for prefix in found {
            let prefix = preset.whole(prefix)?;
            list.items.push(Item { set, seconds, ..Item::new(prefix) });
        }
        Ok(())
    }

    /// Whether the next line goes on with what is not at its end.
    pub(super) fn is_inside(&self) -> bool {
        self.nft.is_inside()
    }

    /// What is wrong if the list ends here.
    pub(super) fn unfinished(&self) -> Option<Reason> {
        self.nft.is_inside().then(|| Reason::new("the elements have no closing brace"))
    }
}

impl Preset {
    /// The prefix around an address that the set has by its `netmask`.
    fn whole(self, prefix: IpNet) -> Result<IpNet, Reason> {
        match self.length {
            Some(length) if prefix.prefix_len() == prefix.max_prefix_len() => {
                let address = prefix.addr();
                IpNet::new(address, length).map_err(|_| {
                    Reason(format!(
                        "the `netmask` {length} of the set is longer than the address `{address}`"
                    ))
                })
            }
            _ => Ok(prefix),
        }
    }
}

/// Types of sets of ipset(8) that list prefixes and nothing beside them.
const PREFIX_TYPES: [&str; 3] = ["hash:ip", "hash:net", "bitmap:ip"];

/// What stands behind `timeout`.
fn seconds(word: Option<&str>) -> Result<u32, Reason> {
    let number = word.and_then(|number| number.parse().ok());
    number.ok_or_else(|| Reason::new("expected seconds behind `timeout`"))
}

/// What is before a comment. Where two prefixes stand together with only its sign between them, that is meant to part
/// them.
fn without_comment(line: &str) -> Result<&str, Reason> {
    let signs = ['#', ';'];
    let Some((text, comment)) = line.split_once(signs) else { return Ok(line) };
    let is_listed = |word: &str| prefix::parse_range(word, &mut |_| ()).is_ok();
    let last = text.rsplit(char::is_whitespace).next().unwrap_or_default();
    let first = comment.split(|c: char| c.is_whitespace() || signs.contains(&c)).next().unwrap_or_default();
    if is_listed(last) && is_listed(first) {
        let sign = &line[text.len()..line.len() - comment.len()];
        return Err(Reason(format!("expected one prefix on a line, found two: `{sign}` begins a comment")));
    }
    Ok(text)
}

/// A prefix or a range, and names or a comment behind it.
fn plain(line: &str, list: &mut List) -> Result<(), Reason> {
    let mut words = without_comment(line)?.split_whitespace();
    let Some(word) = words.next() else {
        return Ok(());
    };
    let next = words.next();
    if word.contains('-') {
        let mut found = Vec::new();
        prefix::parse_range(word, &mut |prefix| found.push(prefix))?;
        next.map_or(Ok(()), |next| check_behind(next, words))?;
        for prefix in found {
            list.push(prefix, 0);
        }
        return Ok(());
    }
    let written = prefix::parse(word)?;
    if let Some(next) = next {
        check_behind(next, words)?;
        let address = written.prefix.addr();
        if address.is_unspecified() || address.is_loopback() {
            let words = format!("this points a name at {address}, it lists no address to block");
            return Err(Reason::new(words));
        }
    }
    list.with_host_bits += u64::from(written.had_host_bits);
    list.push(written.prefix, 0);
    Ok(())
}

/// Whether what is behind a prefix is names of hosts, or a comment behind a dash: what says more of the prefix would be
/// lost, and what would make a range or a length of it if there were no space is no comment.
fn check_behind<'a>(next: &'a str, mut words: impl Iterator<Item = &'a str>) -> Result<(), Reason> {
    let is_sign = |c: char| matches!(c, '-' | '/');
    let Some(rest) = next.strip_prefix(is_sign) else {
        return iter::once(next).chain(words).try_for_each(check_name);
    };
    let rest = if rest.is_empty() { words.next().unwrap_or_default() } else { rest };
    if rest.parse::<u8>().is_ok() || prefix::parse(rest).is_ok() {
        return Err(Reason::new("expected no space within a range or before a length"));
    }
    if next == "-" { Ok(()) } else { check_name(next) }
}

fn check_name(word: &str) -> Result<(), Reason> {
    if prefix::parse(word).is_ok() {
        return Err(Reason::new("expected one prefix on a line, found two"));
    }
    if word == "timeout" || duration::parse(word).is_ok() {
        let words = "a time is only taken as `add SET PREFIX timeout SECONDS`";
        return Err(Reason(format!("there is no place for `{word}`: {words}")));
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
    };
    let mut labels = word.strip_suffix('.').unwrap_or(word).split('.');
    if labels.all(is_label) && word.contains(char::is_alphabetic) {
        return Ok(());
    }
    Err(Reason(format!("there is no place for `{word}`, which is no name of a host: a comment is behind #")))
}
