//! strace as a witness of which system calls a command makes, and as the one who makes them fail.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::command::{Ran, run};
use crate::sandbox::Sandbox;

/// A system call that a traced command made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Who made it.
    pub(crate) process: u32,
    /// Its name, such as `bpf`.
    pub(crate) name: String,
    /// Its arguments as strace prints them.
    pub(crate) arguments: String,
    /// Its result as strace prints it, such as `3` or `-1 EPERM (Operation not permitted)`.
    pub(crate) result: String,
    /// The bytes that it sent or received, as sendto(2) and recvfrom(2) do.
    pub(crate) message: Vec<u8>,
}

/// A failure to cause: calls of `call` (counted from 1 on each thread) fail with `errno` and never reach the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) call: &'static str,
    pub(crate) errno: &'static str,
    /// The first that fails, and the last.
    pub(crate) nth: (u32, u32),
}

/// Runs `command` and returns the calls that it made of those in `names`, a list as for strace's `-e trace=`.
#[track_caller]
pub(crate) fn trace(sandbox: &Sandbox, names: &str, command: &Command) -> (Ran, Vec<Call>) {
    strace(sandbox, &["-e", &format!("trace={names}")], command)
}

/// The same with calls failing.
#[track_caller]
pub(crate) fn trace_with_fault(
    sandbox: &Sandbox,
    names: &str,
    fault: Fault,
    command: &Command,
) -> (Ran, Vec<Call>) {
    let Fault { call, errno, nth: (first, last) } = fault;
    let inject = format!("inject={call}:error={errno}:when={first}..{last}");
    strace(sandbox, &["-e", &format!("trace={names}"), "-e", &inject], command)
}

/// The same with other words for the kernel: `bytes`, in hexadecimal, in the place of the first that the second
/// argument leads to, in the calls `first` to `last`.
#[track_caller]
pub(crate) fn trace_with_words(
    sandbox: &Sandbox,
    call: &str,
    bytes: &str,
    (first, last): (u32, u32),
    command: &Command,
) -> (Ran, Vec<Call>) {
    let inject = format!("inject={call}:poke_enter=@arg2={bytes}:when={first}..{last}");
    strace(sandbox, &["-e", &format!("trace={call}"), "-e", &inject], command)
}

/// Runs `command`, and kills it, or whatever it has started, before the `nth` call of `name` by either. Tells whether
/// one was killed.
#[track_caller]
pub(crate) fn kill_each_before(sandbox: &Sandbox, name: &str, nth: u32, command: &Command) -> (Ran, bool) {
    let inject = format!("inject={name}:signal=KILL:when={nth}");
    let (ran, trace) = strace_text(sandbox, &["-e", &format!("trace={name}"), "-e", &inject], command);
    let was_killed = trace.contains("+++ killed by SIGKILL +++");
    (ran, was_killed)
}

/// Runs `command`, which is sent `signal` at its `nth` call of `name`. Tells whether it was.
#[track_caller]
pub(crate) fn signal_at(
    sandbox: &Sandbox,
    name: &str,
    nth: u32,
    signal: &str,
    command: &Command,
) -> (Ran, bool) {
    let inject = format!("inject={name}:signal={signal}:when={nth}");
    let (ran, trace) = strace_text(sandbox, &["-e", &format!("trace={name}"), "-e", &inject], command);
    let calls = trace.matches(&format!("{name}(")).count();
    (ran, u32::try_from(calls).is_ok_and(|calls| calls >= nth))
}

#[track_caller]
fn strace(sandbox: &Sandbox, options: &[&str], command: &Command) -> (Ran, Vec<Call>) {
    let (ran, trace) = strace_text(sandbox, options, command);
    (ran, parse(&trace))
}

/// Runs `command`, and gives what strace writes of it.
#[track_caller]
fn strace_text(sandbox: &Sandbox, options: &[&str], command: &Command) -> (Ran, String) {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let file = sandbox.scratch().join(format!("strace.{}", RUNS.fetch_add(1, Ordering::Relaxed)));
    let mut strace = Command::new("strace");
    // Strings whole, and no text for what strace itself has to say.
    strace
        .args(["-f", "-q", "-s", "65536", "-e", "read=all", "-e", "write=all", "-o"])
        .arg(&file)
        .args(options)
        .arg("--");
    strace.arg(command.get_program()).args(command.get_args());
    strace.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = run(&mut strace);
    let trace =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("no trace: {error}\n{}", ran.report()));
    (ran, trace)
}

/// The calls in strace's output, in the order in which they ended.
fn parse(trace: &str) -> Vec<Call> {
    let mut open: Vec<(u32, String)> = Vec::new();
    let mut calls: Vec<Call> = Vec::new();
    for line in trace.lines() {
        if let Some(dump) = line.strip_prefix(" | ") {
            calls.last_mut().expect("a dump follows its call").message.extend(parse_dump(dump));
            continue;
        }
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let Ok(process) = process.parse() else { continue };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            open.push((process, start.to_owned()));
            continue;
        }
        let whole = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, end)) => match open.iter().position(|(owner, _)| *owner == process) {
                Some(at) => open.remove(at).1 + end,
                None => continue,
            },
            None => rest.to_owned(),
        };
        calls.extend(parse_call(process, &whole));
    }
    calls
}

/// A call such as `bpf(BPF_PROG_LOAD, {...}, 148) = 3`; nothing for a line about a signal or an exit.
fn parse_call(process: u32, line: &str) -> Option<Call> {
    let (call, result) = line.rsplit_once(" = ")?;
    let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    let owned = str::to_owned;
    let call = || Call {
        process,
        name: owned(name),
        arguments: owned(arguments),
        result: owned(result),
        message: Vec::new(),
    };
    is_name.then(call)
}

/// The bytes in a line such as `00020  0a 00 03 00 6e 65 61 72  30 00   ....near0. |`: at most 16, in two columns.
fn parse_dump(line: &str) -> Vec<u8> {
    let columns = line.get(7..56).unwrap_or_default().split_whitespace();
    columns.map(|byte| u8::from_str_radix(byte, 16).expect("a dump is hexadecimal")).collect()
}

#[test]
fn a_trace_is_read() {
    let trace = "10 bpf(BPF_MAP_CREATE, {map_type=BPF_MAP_TYPE_HASH}, 72) = 3\n\
        10 sendto(4, \"a = b\", 5, 0, NULL, 0 <unfinished ...>\n\
        11 bpf(BPF_PROG_LOAD, {}, 148) = -1 EPERM (Operation not permitted) (INJECTED)\n\
        10 <... sendto resumed>)             = 5\n \
        | 00000  61 20 3d 20 62                                    a = b            |\n\
        10 --- SIGCHLD {si_signo=SIGCHLD} ---\n\
        10 +++ exited with 0 +++\n";
    let calls = parse(trace);
    let texts: Vec<_> = calls.iter().map(|c| format!("{} {} {}", c.process, c.name, c.result)).collect();
    assert_eq!(texts, ["10 bpf 3", "11 bpf -1 EPERM (Operation not permitted) (INJECTED)", "10 sendto 5"]);
    assert_eq!(calls[0].arguments, "BPF_MAP_CREATE, {map_type=BPF_MAP_TYPE_HASH}, 72");
    assert_eq!(calls[2].message, b"a = b");
    assert_eq!(calls[2].arguments, "4, \"a = b\", 5, 0, NULL, 0");
}
