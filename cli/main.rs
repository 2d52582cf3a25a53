//! The program `xdpload`: words in, library calls, text out.

// `start` has the function that the C library calls.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod args;
mod cmd;
mod demo;
mod exit;
mod format;
mod guard;
mod output;
mod refusal;
#[cfg(not(test))]
mod start;
mod value;

use std::ffi::OsString;

use loader::Result;

use crate::args::Command;
use crate::exit::Exit;

/// Does what the words of the command line ask for.
fn main(words: Vec<OsString>) -> Exit {
    if guard::is_meant(&words) {
        guard::run(&words);
        return Exit::Done;
    }
    match Command::parse(&words) {
        Ok(command) => {
            let wishes = refusal::Wishes::of(&command);
            match run(command) {
                Ok(()) => Exit::Done,
                Err(error) => {
                    if !refusal::tell(&error, &wishes) {
                        output::error(&error);
                    }
                    Exit::from(&error)
                }
            }
        }
        Err(words) => output::usage(&words),
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Inspect(args) => cmd::inspect::run(&args),
        Command::Plan(args) => cmd::plan::run(&args),
        Command::Attach(args) => cmd::attach::run(&args),
        Command::Load(args) => cmd::load::run(&args),
        Command::Detach(args) => cmd::detach::run(&args),
        Command::Confirm(args) => cmd::confirm::run(&args),
        Command::Status(args) => cmd::status::run(&args),
        Command::Doctor(args) => cmd::doctor::run(&args),
        Command::Pins(args) => cmd::pins::run(&args),
        Command::Map(args) => cmd::map::run(&args),
        Command::Block(args) => cmd::block::run(&args),
        Command::Demo(args) => cmd::demo::run(&args),
    }
}
