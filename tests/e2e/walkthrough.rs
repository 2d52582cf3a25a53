//! docs/walkthrough.md from top to bottom: its program is compiled, its commands are run, and their answers are those
//! on the page. `UPDATE_GOLDEN=1` writes the answers into it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::command::{command, run};
use crate::requirement::{Missing, kernel, tool};
use crate::sandbox::Sandbox;
use crate::veth::wait_for;
use crate::xdpload::{answer, xdpload, xdpload_command};

/// The name that the page gives its program.
const PROGRAM: &str = "drop_blocked.bpf.c";

fn path_of_page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/walkthrough.md")
}

/// A part of the page.
enum Part {
    /// Lines that are not run.
    Text(String),
    /// A command, and the answer that the page shows.
    Command { line: String, shown: String },
}

/// The parts of the page, and the program in it.
fn read(page: &str) -> (Vec<Part>, String) {
    let (mut parts, mut program, mut fence) = (Vec::new(), String::new(), "");
    for line in page.split_inclusive('\n') {
        match line.strip_prefix("```") {
            Some(kind) => fence = if fence.is_empty() { kind.trim_end() } else { "" },
            None if fence == "c" => program += line,
            None => {}
        }
        match (parts.last_mut(), line.strip_prefix("$ ")) {
            (_, Some(command)) if fence == "console" => {
                parts.push(Part::Command { line: command.trim_end().to_owned(), shown: String::new() });
            }
            (Some(Part::Command { shown, .. }), _) if fence == "console" => *shown += line,
            (Some(Part::Text(text)), _) => *text += line,
            _ => parts.push(Part::Text(line.to_owned())),
        }
    }
    (parts, program)
}

/// `text` without what is another on each machine and at each time: ids, fds, indices, times, tags, sizes of logs.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if masked.ends_with("tag ") {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_hexdigit());
            masked.push('*');
        } else if ["fd ", "id ", "interface ", "program ", "("].iter().any(|word| masked.ends_with(word))
            && letter.is_ascii_digit()
        {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            masked.push('*');
        } else {
            masked.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    masked
}

/// A directory with the page's program and, for its commands, a `PATH` that begins with the programs that it calls.
struct Desk {
    directory: PathBuf,
    path: String,
    /// Whether the compiler is the one whose answers the page shows.
    is_that_of_the_page: bool,
}

impl Desk {
    fn new(sandbox: &Sandbox, program: &str) -> Result<Self, Missing> {
        let directory = sandbox.scratch().to_owned();
        let programs = directory.join("bin");
        fs::create_dir(&programs).expect("the sandbox is writable");
        let clang = ["clang-19", "clang", "clang-16", "clang-14"].map(tool).into_iter().find_map(Result::ok);
        let clang = clang.ok_or(()).or_else(|()| tool("clang"))?;
        let xdpload = PathBuf::from(xdpload_command::<&str>(&[]).get_program());
        for (file, name) in [(&clang, "clang"), (&xdpload, "xdpload"), (&tool("busybox")?, "ping")] {
            symlink(file, programs.join(name)).expect("the sandbox is writable");
        }
        fs::write(directory.join(PROGRAM), program).expect("the sandbox is writable");
        let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap_or_default());
        Ok(Self { directory, path, is_that_of_the_page: clang.ends_with("clang-19") })
    }

    /// What the shell says to `line`, without the directory of files.
    fn say(&self, line: &str) -> String {
        if line.contains("ping ") {
            // Until then, the kernel drops what it is given.
            wait_for("v0 to come up", || {
                fs::read_to_string("/sys/class/net/v0/operstate").is_ok_and(|state| state == "up\n")
            });
        }
        let mut shell = command("sh", &["-c", &format!("exec 2>&1\n{line}")]);
        let ran = run(shell.current_dir(&self.directory).env("PATH", &self.path));
        assert_eq!(ran.code() == Some(0), !ran.stdout().starts_with("error: "), "{}", ran.report());
        ran.stdout().replace(&format!("{}/", self.directory.display()), "")
    }
}

#[test]
fn the_answers_of_the_page_are_those_of_its_commands() {
    need!(tool("ip"));
    need!(kernel((5, 11), "a load without any call for older kernels"));
    let sandbox = need!(Sandbox::new());
    let page = fs::read_to_string(path_of_page()).expect("the page is there");
    let (parts, program) = read(&page);
    let desk = need!(Desk::new(&sandbox, &program));
    let mut written = String::new();
    for part in parts {
        match part {
            Part::Text(text) => written += &text,
            Part::Command { line, shown } => {
                let said = desk.say(&line);
                let answer = if masked(&said) == masked(&shown) { shown } else { said };
                written.extend(["$ ", &line, "\n", &answer]);
            }
        }
    }
    assert_eq!(sandbox.pins(), Vec::<String>::new());
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path_of_page(), &written).expect("the page is writable");
    } else if desk.is_that_of_the_page {
        assert_eq!(written, page);
    }
}

#[test]
fn the_headers_of_the_repository_do_as_well() {
    need!(tool("ip"));
    need!(kernel((4, 19), "native XDP on veth"));
    let sandbox = need!(Sandbox::new());
    let page = fs::read_to_string(path_of_page()).expect("the page is there");
    let desk = need!(Desk::new(&sandbox, &read(&page).1));
    let headers = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor-headers");
    desk.say(&format!(
        "clang -O2 -g -target bpf -Wall -Werror -nostdinc -I{} -c {PROGRAM}",
        headers.display()
    ));
    run(&mut command("ip", &["link", "add", "v0", "type", "veth", "peer", "name", "v1"])).ok();
    let object = desk.directory.join("drop_blocked.bpf.o");
    let attached = answer(&["attach", "v0", object.to_str().expect("the path is printable")]);
    assert_eq!(attached["maps"][0], "blocked");
    xdpload(&["detach", "v0"]).ok();
}

#[test]
fn what_differs_between_machines_is_masked() {
    assert_eq!(
        masked("attached x (id 12, tag 7751f53399c2e491) -> fd 4 (38 us), v0 (3), 0x22, 100% loss"),
        "attached x (id *, tag *) -> fd * (* us), v0 (*), 0x22, 100% loss"
    );
}
