//! Everyday commands without an option: what they mean is plain, and no parser need be told of all the options that
//! might be there, which takes as long as reading and planning a small object together.

use std::ffi::{OsStr, OsString};

use loader::netlink::InterfaceRef;

use super::Command;
use crate::args::{Attach, Confirm, Detach, Status};

/// What the parser would make of the words of the command line, if it is such a command.
pub(super) fn parse(words: &[OsString]) -> Option<Command> {
    let [_, name, words @ ..] = words else { return None };
    if words.iter().any(|word| is_for_the_parser(word)) {
        return None;
    }
    match (name.to_str()?, words) {
        ("attach", [_, ..]) => {
            Some(Command::Attach(Box::new(Attach { words: words.to_vec(), ..Attach::default() })))
        }
        ("detach", [_, ..]) => {
            Some(Command::Detach(Detach { interfaces: interfaces(words)?, ..Detach::default() }))
        }
        ("confirm", [] | [_]) => {
            Some(Command::Confirm(Confirm { interface: interfaces(words)?.pop(), ..Confirm::default() }))
        }
        ("status", [] | [_]) => {
            Some(Command::Status(Status { interface: interfaces(words)?.pop(), ..Status::default() }))
        }
        _ => None,
    }
}

fn is_for_the_parser(word: &OsStr) -> bool {
    word.is_empty() || word.as_encoded_bytes().starts_with(b"-")
}

fn interfaces(words: &[OsString]) -> Option<Vec<InterfaceRef>> {
    words.iter().map(|word| word.to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cmd::Arguments;

    fn words(line: &str) -> Vec<OsString> {
        ["xdpload"].into_iter().chain(line.split(' ')).map(OsString::from).collect()
    }

    #[test]
    fn a_plain_command_is_what_the_parser_makes_of_it() {
        for line in [
            "attach eth0 xdp.o",
            "attach eth0 7 xdp.o",
            "attach eth0",
            "detach eth0",
            "detach eth0 7",
            "confirm",
            "confirm eth0",
            "status",
            "status 7",
        ] {
            let words = words(line);
            let parsed = Arguments::try_parse_from(&words).expect(line).command;
            assert_eq!(format!("{:?}", parse(&words).expect(line)), format!("{parsed:?}"), "{line}");
        }
    }

    #[test]
    fn all_else_is_left_to_the_parser() {
        for line in [
            "",
            "attach",
            "attach eth0 -v xdp.o",
            "attach eth0 -- xdp.o",
            "attach eth0 ",
            "detach",
            "detach a/b",
            "detach eth0 --link",
            "confirm eth0 eth1",
            "status eth0 eth1",
            "status -h",
            "inspect xdp.o",
            "help",
        ] {
            assert!(parse(&words(line)).is_none(), "{line}");
        }
        assert!(parse(&[]).is_none());
    }
}
