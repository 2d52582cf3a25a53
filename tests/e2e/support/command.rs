//! Runs a command, and says all there is to know about it when a test is not content.

use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// No command of a test takes that long; one that does is killed.
const LIMIT: Duration = Duration::from_secs(60);

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    command: String,
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The command `program` with `arguments`, in the namespaces of the calling thread.
pub(crate) fn command<S: AsRef<str>>(program: &str, arguments: &[S]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments.iter().map(AsRef::as_ref));
    command
}

/// Runs `command` to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Ran {
    let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let text = words.join(" ");
    let output = output_within(LIMIT, command).unwrap_or_else(|error| panic!("`{text}`: {error}"));
    Ran {
        command: text,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The output of `command`, which is killed when `limit` has passed.
fn output_within(limit: Duration, command: &mut Command) -> Result<Output, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| error.to_string())?;
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id is an i32"));
    let (sender, receiver) = mpsc::channel();
    let waiter = thread::spawn(move || sender.send(child.wait_with_output()));
    let answer = receiver.recv_timeout(limit);
    if answer.is_err() {
        // The waiter has not reaped the child yet, so the id is still the child's.
        kill(pid, Signal::SIGKILL).expect("a child can be killed");
    }
    waiter.join().expect("the waiter does not panic").ok();
    match answer {
        Ok(output) => output.map_err(|error| error.to_string()),
        Err(_) => Err(format!("still running after {limit:?}, killed")),
    }
}

impl Ran {
    /// Asserts that the command succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    /// Asserts that the command failed with exit code `code`.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Self {
        assert_ne!(code, 0, "a failure has another exit code than 0");
        self.exits(code)
    }

    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit code {code}:\n{}", self.report());
        self
    }

    /// Asserts that standard output contains `text`.
    #[track_caller]
    pub(crate) fn stdout_has(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "expected {text:?} on standard output:\n{}", self.report());
        self
    }

    /// Asserts that standard error contains `text`.
    #[track_caller]
    pub(crate) fn stderr_has(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "expected {text:?} on standard error:\n{}", self.report());
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("standard output is not JSON: {error}:\n{}", self.report()))
    }

    /// What the command wrote to standard output.
    pub(crate) fn stdout(&self) -> &str {
        &self.stdout
    }

    /// What the command wrote to standard error.
    pub(crate) fn stderr(&self) -> &str {
        &self.stderr
    }

    /// The exit code, or nothing if a signal ended the command.
    pub(crate) fn code(&self) -> Option<i32> {
        self.code
    }

    /// The command with all it said.
    pub(crate) fn report(&self) -> String {
        let code = self.code.map_or("none, a signal ended it".to_owned(), |code| code.to_string());
        format!(
            "$ {}\n-- exit code: {code}\n-- stdout:\n{}-- stderr:\n{}",
            self.command, self.stdout, self.stderr
        )
    }
}

#[test]
fn a_report_tells_all() {
    let ran = run(&mut command("sh", &["-c", "echo out; echo err >&2; exit 3"]));
    assert_eq!(
        ran.report(),
        "$ sh -c echo out; echo err >&2; exit 3\n-- exit code: 3\n-- stdout:\nout\n-- stderr:\nerr\n"
    );
    ran.fails(3).stdout_has("out").stderr_has("err");
}

#[test]
fn a_command_that_hangs_is_killed() {
    let error = output_within(Duration::from_millis(50), &mut command("sleep", &["60"])).unwrap_err();
    assert_eq!(error, "still running after 50ms, killed");
}
