//! `xdpload block`: the IP blocklist.

pub(crate) mod args;
mod change;
mod list;
mod load;
mod lockout;
mod on;
mod stats;
mod sync;

use std::io;

use blocklist::Maps;
use blocklist::prefix::{self, IpNet, Shown};
use loader::{Error, ErrorKind, Result, quote};

use self::args::{Block, Home, Prefixes};
use crate::output;

pub(crate) fn run(args: &Block) -> Result<()> {
    match args {
        Block::On(args) => on::on(args),
        Block::Off(args) => on::off(args),
        Block::Add(args) => change::add(args),
        Block::Del(args) => change::del(args),
        Block::Allow(args) => change::allow(args),
        Block::List(args) => list::list(args),
        Block::Test(args) => list::test(args),
        Block::Load(args) => load::run(args),
        Block::Save(args) => list::save(args),
        Block::Stats(args) => stats::run(args),
        Block::Sync(args) => sync::run(args),
    }
}

fn maps(home: &Home) -> Maps {
    Maps::under(&home.root)
}

/// The prefixes on the command line, or those on standard input, each once; says which of them had bits to clear.
fn read_prefixes(prefixes: &Prefixes) -> Result<Vec<IpNet>> {
    let mut found = Vec::new();
    for word in &prefixes.prefixes {
        if word == "-" {
            found.extend(list_on_stdin()?);
        } else {
            found.push(one_prefix(word)?);
        }
    }
    Ok(found)
}

fn one_prefix(word: &str) -> Result<IpNet> {
    let written = prefix::parse(word).map_err(|reason| {
        Error::new(ErrorKind::InvalidInput, format!("{} is no prefix: {reason}", quote(word)))
    })?;
    if written.had_host_bits {
        let canonical = Shown(written.prefix);
        output::remark(format_args!("note: {} is taken as {canonical}", quote(word)));
    }
    Ok(written.prefix)
}

fn list_on_stdin() -> Result<Vec<IpNet>> {
    let list = blocklist::list::read(io::stdin().lock(), usize::MAX, |_| {})
        .map_err(|stop| load::stopped("standard input", &stop, usize::MAX))?;
    load::refuse_bad_lines("standard input", &list)?;
    Ok(list.items.into_iter().map(|item| item.prefix).collect())
}
