//! The program `xdpload`: words in, library calls, text out.

// `start` has the function that the C library calls.
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod ancestors;
mod args;
mod cmd;
mod displace;
mod exit;
mod format;
mod guard;
mod output;
mod refusal;
mod remedy;
#[cfg(not(test))]
mod start;
mod value;

use std::ffi::OsString;

use crate::cmd::Command;
use crate::exit::Exit;

/// Does what the words of the command line ask for.
fn main(words: &[OsString]) -> Exit {
    if guard::is_meant(words) {
        guard::run(words);
        return Exit::Done;
    }
    match Command::parse(words) {
        Ok(command) => {
            let style = command.refusal_style();
            match command.run() {
                Ok(()) => Exit::Done,
                Err(error) => {
                    if !refusal::tell(&error, &style) {
                        output::error(&error);
                    }
                    Exit::from(&error)
                }
            }
        }
        Err(words) => output::usage(&words),
    }
}
