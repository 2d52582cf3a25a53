//! What lies under examples/, installed and run as its users would, with the real servers that it is written for.

mod container;
mod crowdsec;
mod daemon;
mod fail2ban;
mod openwrt;
mod prometheus;
mod systemd;

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use crate::requirement::Missing;
use crate::sandbox::Sandbox;

/// Where the examples are to be installed, and the program too.
const BIN: &str = "/usr/local/sbin";

/// An example's file.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// Puts the program and these examples where their users would, for this sandbox alone.
fn install(_: &Sandbox, examples: &[&str]) {
    mount(Some("tmpfs"), BIN, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .expect("Debian has the directory");
    // Not a link to it: a unit with ProtectHome does not see what lies in a home.
    let bind = |from: &Path, name: &str| {
        let to = Path::new(BIN).join(name);
        fs::write(&to, "").expect("it is empty");
        mount(Some(from), &to, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("root may bind a file");
    };
    bind(Path::new(env!("CARGO_BIN_EXE_xdpload")), "xdpload");
    for name in examples {
        let (_, own) = name.rsplit_once('/').expect("an example lies in a directory");
        bind(&example(name), own);
    }
}

/// A file of a Debian package that scripts/setup has unpacked.
fn unpacked(path: &str) -> Result<PathBuf, Missing> {
    let program = Path::new(env!("CARGO_BIN_EXE_xdpload"));
    let target = program.ancestors().nth(2).expect("cargo builds in target/debug");
    let file = target.join("peers").join(path);
    if file.exists() {
        return Ok(file);
    }
    Err(Missing::new(format!("{}; scripts/setup test unpacks it", file.display())))
}

/// Writes `text` to the file `name` in the scratch directory, and returns its path.
fn write(sandbox: &Sandbox, name: &str, text: &str) -> String {
    let path = sandbox.scratch().join(name);
    fs::create_dir_all(path.parent().expect("the path is absolute")).expect("the directory is writable");
    fs::write(&path, text).expect("the directory is writable");
    path.to_str().expect("the path is printable").to_owned()
}

#[test]
fn every_example_is_in_the_table() {
    let table = fs::read_to_string(example("README.md")).expect("the examples have a table");
    for directory in fs::read_dir(example("")).expect("there are examples").flatten() {
        if directory.file_type().is_ok_and(|kind| kind.is_dir()) {
            for file in fs::read_dir(directory.path()).expect("it can be listed").flatten() {
                let name = file.path();
                let name = name.strip_prefix(example("")).expect("the walk stays below");
                assert!(table.contains(&format!("({})", name.display())), "{} is missing", name.display());
            }
        }
    }
}
