//! The guard's life: armed, waiting, and one of two ends for each change.

use std::ffi::{CString, OsString};
use std::fmt::{Display, Write as _};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};
use std::{env, mem, process};

use loader::attach::{self, Heard, OnTrial, RolledBack, Trial};
use loader::{Error, ErrorKind, Result, quote, shell_word};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{close, setsid};

use super::client::{SOCKET, is_trusted, pending, stranger, unix_socket, who_holds};
use super::log::{Level, log};
use super::{TO_STRANGERS, socket_name};
use crate::remedy;
use crate::remedy::GUARD;

/// How long a roll-back that fails is tried again: a driver may be short of memory for a moment, or somebody may clear
/// away what is in the way.
const PERSISTENCE: Duration = Duration::from_secs(60);
/// How long until it is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long whoever asks may take to say what. Others who ask meanwhile wait as long.
const REQUEST: Duration = Duration::from_millis(500);

/// Runs as a guard, to its end.
pub(crate) fn run(words: &[OsString]) {
    if let Err(error) = start(words).and_then(Guard::stand) {
        log(Level::Warning, format_args!("the guard ends: {error}"));
    }
}

/// A guard, with all changes that one command makes.
struct Guard {
    /// Where it is told of them; none when whoever makes them has nothing more to say.
    control: Option<UnixStream>,
    changes: Vec<Change>,
    /// Those that are taken back, with what was made for them.
    undone: Vec<OnTrial>,
    /// Whether one of them lasts, and needs what was made for all.
    is_one_kept: bool,
    /// The end of all trials, once it has come.
    roll_back: Option<RollBack>,
    /// What became of it.
    outcome: Result<()>,
    signals: SignalFd,
    patience: Duration,
    /// When the trials end, or the roll-back is tried again.
    deadline: Instant,
}

/// A roll-back, as long as there is something to put back.
#[derive(Clone, Copy)]
struct RollBack {
    reason: &'static str,
    /// When it is given up.
    last: Instant,
    /// Whether whoever makes the changes waits for it.
    is_answer_due: bool,
}

/// The change of one interface.
struct Change {
    on_trial: OnTrial,
    /// By which it is found.
    listener: UnixListener,
    /// Whether it is known to be made.
    is_made: bool,
    /// Why it could not be put back so far.
    failure: Option<String>,
}

impl Change {
    fn is_of(&self, ifindex: u32) -> bool {
        self.on_trial.interface().index().get() == ifindex
    }
}

/// What a guard wakes up for.
#[derive(Clone, Copy)]
enum Event {
    Control,
    /// Somebody asks about the change with this index.
    Request(usize),
    Signal,
    Deadline,
}

/// Comes up as `Guard::start` has started it.
fn start(words: &[OsString]) -> Result<Guard> {
    close_what_was_inherited();
    // No file system is to be kept busy.
    env::set_current_dir("/").map_err(|error| os("chdir(2)", "`/`", &error))?;
    let mut words = words.iter().skip(1);
    let seconds = words.next().and_then(|word| word.to_str()?.parse().ok());
    let patience = Duration::from_secs(seconds.ok_or_else(|| invalid("a guard wants its seconds"))?);
    let signals = leave_the_session()?;
    if let Some(path) = words.next() {
        let file = File::open(path).map_err(|error| os("open(2)", quote(&path.to_string_lossy()), &error))?;
        setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| nix_error("setns(2)", errno))?;
    }
    let control =
        io::stdin().as_fd().try_clone_to_owned().map_err(|error| os("fcntl(2)", "stdin", &error))?;
    Ok(Guard {
        control: Some(UnixStream::from(control)),
        changes: Vec::new(),
        undone: Vec::new(),
        is_one_kept: false,
        roll_back: None,
        outcome: Ok(()),
        signals,
        patience,
        deadline: Instant::now() + patience,
    })
}

/// Closes what whoever called the command had open, locks among it, and did not mean for a process that stays.
fn close_what_was_inherited() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return };
    let mut open: Vec<i32> = Vec::new();
    for entry in entries {
        open.extend(entry.ok().and_then(|entry| entry.file_name().to_str()?.parse::<i32>().ok()));
    }
    for fd in open.into_iter().filter(|&fd| fd > 2) {
        // The directory that was just read is closed already.
        let _ = close(fd);
    }
}

/// Outlives the login that it was started in. SIGTERM is heard as the end of the trial; the other signals that a
/// terminal sends are not heard.
fn leave_the_session() -> Result<SignalFd> {
    let mut all = SigSet::empty();
    let end = SigSet::from(Signal::SIGTERM);
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        all.add(signal);
    }
    all.thread_block().map_err(|errno| nix_error("sigprocmask(2)", errno))?;
    setsid().map_err(|errno| nix_error("setsid(2)", errno))?;
    // How it is called in lists, and that a shortage of memory is no reason to end it, are not worth a failure.
    let _ = CString::new(GUARD).map(|name| nix::sys::prctl::set_name(&name));
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&end, flags).map_err(|errno| nix_error("signalfd(2)", errno))
}

/// The socket by which the guard is found. Its name is taken while another change waits to be confirmed.
fn listen(on_trial: &OnTrial) -> Result<UnixListener> {
    let interface = on_trial.interface();
    let ifindex = interface.index().get();
    let bind = || {
        let address = SocketAddr::from_abstract_name(socket_name(ifindex));
        address.and_then(|address| UnixListener::bind_addr(&address))
    };
    let bound = match bind() {
        // A guard whose change is over notices it when it is asked, and gives the name free.
        Err(error)
            if error.kind() == io::ErrorKind::AddrInUse && matches!(pending(None, ifindex), Ok(None)) =>
        {
            bind()
        }
        bound => bound,
    };
    bound.map_err(|error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            // Anybody may take a name that is free.
            if let Some(holder) = stranger(ifindex) {
                let name = socket_name(ifindex);
                let message = format!("{holder} holds the socket `@{name}`, which the guard needs");
                return Error::new(ErrorKind::Conflict, message).with_help(who_holds(&name));
            }
            let message = format!("another change of {interface} waits to be confirmed");
            return Error::new(ErrorKind::Conflict, message).with_help(format!(
                "`xdpload confirm {}` keeps it; `xdpload status` shows it",
                shell_word(interface.name())
            ));
        }
        let call = if unix_socket().is_err() { SOCKET } else { "bind(2)" };
        os(call, "the guard's socket", &error)
    })
}

impl Guard {
    /// Waits, until no change is on trial any more.
    fn stand(mut self) -> Result<()> {
        while self.control.is_some() || !self.changes.is_empty() {
            self.changes.iter().for_each(|change| change.on_trial.rest());
            match self.wait()? {
                Event::Control => self.hear(),
                Event::Request(index) => self.answer_request(index),
                Event::Signal => {
                    // Once heard, it is not heard again.
                    let _ = self.signals.read_signal();
                    self.end("the guard was told to end (SIGTERM)");
                }
                Event::Deadline => self.end("nobody has confirmed it"),
            }
            self.settle();
        }
        self.outcome
    }

    /// The end of all trials. Whoever still makes changes hears that there is no guard any more. A roll-back that has
    /// begun goes on.
    fn end(&mut self, reason: &'static str) {
        if self.roll_back.is_none() {
            self.be_alone();
        }
        self.roll_back(reason, false);
    }

    /// Sleeps until something happens. Requests come last, also after the end of the time: anybody may connect, and as
    /// often as they like.
    fn wait(&self) -> Result<Event> {
        let mut watched = vec![(self.signals.as_fd(), Event::Signal)];
        if let Some(control) = &self.control {
            watched.push((control.as_fd(), Event::Control));
        }
        for (index, change) in self.changes.iter().enumerate() {
            watched.push((change.listener.as_fd(), Event::Request(index)));
        }
        let mut polled: Vec<_> = watched.iter().map(|(fd, _)| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            // The last millisecond counts.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut polled, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(nix_error("poll(2)", errno)),
            }
            let ready = polled.iter().zip(&watched).find(|(fd, _)| fd.any().unwrap_or(false));
            match ready.map(|(_, (_, event))| *event) {
                Some(Event::Request(_)) | None if self.deadline <= Instant::now() => {
                    return Ok(Event::Deadline);
                }
                Some(event) => return Ok(event),
                None => {}
            }
        }
    }

    /// Hears what comes from whoever makes the changes.
    fn hear(&mut self) {
        let Some(control) = &self.control else { return };
        let done = match attach::hear(control) {
            Ok(Heard::Trial(trial)) => self.arm(trial),
            Ok(Heard::Link(ifindex, link)) => self.hold(ifindex, link),
            Ok(Heard::Made) => {
                self.begin(|_| true);
                Ok(())
            }
            Ok(Heard::Unchanged(ifindex)) => {
                self.changes.retain(|change| change.is_made || !change.is_of(ifindex));
                Ok(())
            }
            Ok(Heard::TakeBack) => {
                // It is answered when it is done.
                self.roll_back("the command that made it has failed", true);
                return;
            }
            Ok(Heard::End) | Err(_) => {
                self.be_alone();
                return;
            }
        };
        // Only the words of its help go to the other end.
        let done = done.map_err(remedy::in_words);
        // If nobody listens, they are dead, which is heard next.
        let _ = self.control.iter().try_for_each(|control| attach::answer(control, &done));
    }

    /// Makes ready for a change before it is made.
    fn arm(&mut self, trial: Trial) -> Result<()> {
        let on_trial = OnTrial::new(trial)?;
        let listener = listen(&on_trial)?;
        self.changes.push(Change { on_trial, listener, is_made: false, failure: None });
        self.deadline = Instant::now() + self.patience;
        Ok(())
    }

    fn hold(&mut self, ifindex: u32, link: OwnedFd) -> Result<()> {
        let change = self.changes.iter_mut().find(|change| change.is_of(ifindex));
        let change = change.ok_or_else(|| invalid("a link of an interface that is not on trial"))?;
        change.on_trial.hold(link)
    }

    /// Nobody makes changes any more. Who was killed has not said which are made. What cannot be seen now may be seen
    /// when time is up.
    fn be_alone(&mut self) {
        // Should they still wait for an answer, they hear that none will come.
        if let Some(control) = self.control.take() {
            let _ = control.shutdown(Shutdown::Both);
        }
        self.begin(|change| change.on_trial.is_made().unwrap_or(true));
        self.changes.retain(|change| change.is_made);
    }

    /// From here on there is something to put back, of the changes that `is_made` tells.
    fn begin(&mut self, is_made: impl Fn(&Change) -> bool) {
        let seconds = self.patience.as_secs();
        for change in self.changes.iter_mut().filter(|change| !change.is_made) {
            change.is_made = is_made(change);
            if change.is_made {
                change.on_trial.begin();
                log(Level::Notice, format_args!("unless confirmed within {seconds} s, {}", change.on_trial));
            }
        }
        if self.control.is_some() {
            self.deadline = Instant::now() + self.patience;
        }
    }

    /// Answers whoever has connected to ask about one change, which may be the end of its trial.
    fn answer_request(&mut self, index: usize) {
        // Whoever has gone again, or says nothing, has asked nothing.
        let Ok((mut stream, _)) = self.changes[index].listener.accept() else { return };
        let limits = stream.set_read_timeout(Some(REQUEST)).and(stream.set_write_timeout(Some(REQUEST)));
        if !is_trusted(&stream) {
            // Nobody waits for what they may have to say.
            let _ = stream.write_all(TO_STRANGERS.as_bytes());
            return;
        }
        let mut request = [0; 16];
        let Ok(len) = limits.and_then(|()| stream.read(&mut request)) else { return };
        let change = &mut self.changes[index];
        if change.is_made && change.on_trial.is_over() {
            self.end_one(index);
            // Whoever asked for the status finds nobody now, as after the end of any trial.
            if &request[..len] == b"confirm\n" {
                let _ = stream.write_all(b"error the change is there no more, and its trial is over\n");
            }
            return;
        }
        let answer = match &request[..len] {
            b"status\n" => self.status(index),
            b"confirm\n" => self.confirm(index),
            _ => "error that is no request\n".to_owned(),
        };
        // Whoever does not listen to the answer has been heard all the same.
        let _ = stream.write_all(answer.as_bytes());
    }

    /// Makes a change last, and gives the answer. After a failure the trial, or its roll-back, goes on.
    fn confirm(&mut self, index: usize) -> String {
        let pin = match self.changes[index].on_trial.keep() {
            Ok(pin) => pin.map(|pin| format!("pin {}\n", pin.display())).unwrap_or_default(),
            Err(error) => return format!("error {error}\n"),
        };
        let answer = format!("{}{pin}", self.status(index));
        // With its listener goes the name, so that the next trial may begin.
        let Change { on_trial, .. } = self.changes.remove(index);
        self.is_one_kept = true;
        let confirmed = format!("the change of {} is confirmed", on_trial.interface());
        log(Level::Notice, &confirmed);
        if self.roll_back.is_some_and(|roll_back| roll_back.is_answer_due) {
            self.outcome = Err(Error::new(ErrorKind::Conflict, confirmed));
        }
        answer
    }

    /// The end of a trial whose change is not there any more: somebody has taken it off or put another in its place.
    fn end_one(&mut self, index: usize) {
        self.take_back(index, "it is not there any more", false);
    }

    fn status(&self, index: usize) -> String {
        let Change { on_trial, failure, .. } = &self.changes[index];
        let end = self.roll_back.map_or(self.deadline, |roll_back| roll_back.last);
        let left = end.saturating_duration_since(Instant::now());
        let name = on_trial.interface().name();
        let mut status =
            format!("left {}\npid {}\nback {on_trial}\nname {name}\n", left.as_millis(), process::id());
        // Writing to a string cannot fail.
        if let Some(new) = on_trial.new_program() {
            let _ = writeln!(status, "new {new}");
        }
        // Anybody with the right to may give a namespace any name.
        if let Some(netns) = on_trial.moved_to() {
            let _ = writeln!(status, "netns {}", netns.replace('\n', " "));
        }
        if let Some(lost) = on_trial.lost() {
            let _ = writeln!(status, "lost {lost}");
        }
        for program in on_trial.before() {
            let id = program.id.unwrap_or_default();
            let _ = writeln!(status, "before {} {id}", program.mode);
        }
        if let Some(failure) = failure.as_ref().filter(|_| self.roll_back.is_some()) {
            let _ = writeln!(status, "failure {}", failure.replace('\n', " "));
        }
        status
    }

    /// Takes back all changes, and begins with that unless it has begun. What fails is tried again after a while.
    fn roll_back(&mut self, reason: &'static str, is_answer_due: bool) {
        let now = Instant::now();
        let begun = RollBack { reason, last: now + PERSISTENCE, is_answer_due };
        let RollBack { reason, last, .. } = *self.roll_back.get_or_insert(begun);
        // The last first, and each whatever becomes of the others.
        for index in (0..self.changes.len()).rev() {
            self.take_back(index, reason, last <= now);
        }
        self.deadline = Instant::now() + PAUSE;
    }

    /// The end of a roll-back that has nothing left to put back: what was made for the changes is taken back, if none
    /// lasts, and whoever waits for it is told.
    fn settle(&mut self) {
        if !self.changes.is_empty() {
            return;
        }
        let Some(RollBack { is_answer_due, .. }) = self.roll_back.take() else { return };
        if !self.is_one_kept {
            for on_trial in self.undone.drain(..) {
                for failure in on_trial.take_back_leftovers() {
                    log(Level::Warning, format_args!("something is left behind: {failure}"));
                }
            }
        }
        if let (true, Some(control)) = (is_answer_due, &self.control) {
            let outcome = mem::replace(&mut self.outcome, Ok(())).map_err(remedy::in_words);
            // If nobody listens, they are dead, which is heard next.
            let _ = attach::answer(control, &outcome);
        }
        self.deadline = Instant::now() + self.patience;
    }

    /// Puts back what was before on one interface, and says how that went. After a failure the change stays, unless
    /// this was the last attempt.
    fn take_back(&mut self, index: usize, reason: &str, is_last: bool) {
        let change = &mut self.changes[index];
        if !change.is_made && !change.on_trial.is_made().unwrap_or(true) {
            self.changes.remove(index);
            return;
        }
        change.is_made = true;
        let what = change.on_trial.to_string();
        match change.on_trial.put_back() {
            Ok(RolledBack::PutBack) => {
                let netns = change.on_trial.moved_to();
                let netns = netns.map(|netns| format!(", now in network namespace {}", quote(netns)));
                log(Level::Warning, format_args!("{what}{}: {reason}", netns.unwrap_or_default()));
                let change = self.changes.remove(index);
                self.undone.push(change.on_trial);
            }
            Ok(RolledBack::LeftAlone(found)) => {
                let words = "is left as it is, since somebody has changed it meanwhile";
                log(Level::Warning, format_args!("{} {words}: {found}", change.on_trial.interface()));
                self.changes.remove(index);
                self.is_one_kept = true;
            }
            Err(error) if is_last => {
                self.changes.remove(index);
                self.is_one_kept = true;
                self.outcome = mem::replace(&mut self.outcome, Ok(())).and(Err(error.context(what)));
            }
            Err(error) => {
                if change.failure.is_none() {
                    log(Level::Warning, format_args!("{what}: failed, and is tried again: {error}"));
                }
                change.failure = Some(error.to_string());
            }
        }
    }
}

fn os(call: &str, object: impl Display, error: &io::Error) -> Error {
    Error::io(call, object, error)
}

fn nix_error(call: &str, errno: Errno) -> Error {
    Error::os(call, "the guard", errno as i32)
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
