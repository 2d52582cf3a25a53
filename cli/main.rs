//! The program `xdpload`: words in, library calls, text out.

mod args;
mod cmd;
mod demo;
mod exit;
mod format;
mod guard;
mod output;
mod refusal;
mod value;

use std::process::ExitCode;

use clap::Parser as _;
use loader::Result;

use crate::args::{Arguments, Command};
use crate::exit::Exit;

fn main() -> ExitCode {
    if guard::is_meant() {
        guard::run();
        return ExitCode::SUCCESS;
    }
    let exit = match Arguments::try_parse() {
        Ok(arguments) => {
            let wishes = refusal::Wishes::of(&arguments.command);
            match run(arguments.command) {
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
    };
    ExitCode::from(exit.code())
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
        Command::Pins(args) => cmd::pins::run(&args),
        Command::Map(args) => cmd::map::run(&args),
        Command::Demo(args) => cmd::demo::run(&args),
    }
}
