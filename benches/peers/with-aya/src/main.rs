//! Attaches the program of an object to an interface with aya, and pins what holds it there.

use std::process::ExitCode;

use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::{Xdp, XdpMode};

/// What is attached lives as long as this does: aya attaches by a `bpf_link`.
const PIN: &str = "/sys/fs/bpf/with-aya";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["attach", interface, object, program] => attach(interface, object, program),
        _ => Err("usage: with-aya attach INTERFACE OBJECT PROGRAM".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("with-aya: {error}");
            ExitCode::FAILURE
        }
    }
}

fn attach(interface: &str, object: &str, program: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut object = Ebpf::load_file(object)?;
    let program: &mut Xdp = object.program_mut(program).ok_or("no such program")?.try_into()?;
    program.load()?;
    let id = program.attach(interface, XdpMode::Driver)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    link.pin(PIN)?;
    Ok(())
}
