//! Attaches the program of an object to an interface with libbpf-rs and leaves it there, or takes off what is there.

use std::os::fd::AsFd as _;
use std::process::ExitCode;

use libbpf_rs::{ObjectBuilder, Xdp, XdpFlags};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["attach", interface, object, program] => attach(interface, object, program),
        ["detach", interface] => detach(interface),
        _ => Err("usage: with-libbpf-rs attach INTERFACE OBJECT PROGRAM | detach INTERFACE".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("with-libbpf-rs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn attach(interface: &str, object: &str, program: &str) -> Result<(), Box<dyn std::error::Error>> {
    let object = ObjectBuilder::default().open_file(object)?.load()?;
    let index = i32::try_from(nix::net::if_::if_nametoindex(interface)?)?;
    let program = object.progs().find(|found| found.name() == program).ok_or("no such program")?;
    Xdp::new(program.as_fd()).attach(index, XdpFlags::DRV_MODE | XdpFlags::UPDATE_IF_NOEXIST)?;
    Ok(())
}

fn detach(interface: &str) -> Result<(), Box<dyn std::error::Error>> {
    let index = i32::try_from(nix::net::if_::if_nametoindex(interface)?)?;
    // Detaching names no program, but the type wants one: standard input will do.
    Xdp::new(std::io::stdin().as_fd()).detach(index, XdpFlags::DRV_MODE)?;
    Ok(())
}
