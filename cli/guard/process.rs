//! The guard's life: armed, waiting, and one of two ends.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};
use std::{process, thread};

use loader::attach::{self, Heard, OnTrial, RolledBack, Trial};
use loader::{Context as _, Error, ErrorKind, Result, quote};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::setsid;

use super::client::is_trusted;
use super::log::{Level, log};
use super::socket_name;

/// How often a roll-back that fails is tried again, a second apart: a driver may be short of memory for a moment.
const ATTEMPTS: u32 = 60;
/// How long whoever asks may take to say what.
const REQUEST: Duration = Duration::from_secs(2);

/// Runs as a guard, to its end.
pub(crate) fn run(words: &[OsString]) {
    if let Err(error) = start(words).and_then(|guard| guard.map_or(Ok(()), Guard::stand)) {
        log(Level::Warning, format_args!("the guard ends: {error}"));
    }
}

/// A guard that was told what to put back.
struct Guard {
    on_trial: OnTrial,
    control: UnixStream,
    /// Whether whoever makes the change has nothing more to say.
    is_told: bool,
    /// Whether the change is known to be made.
    is_made: bool,
    /// None when the trial is over, so that the next one may begin.
    listener: Option<UnixListener>,
    signals: SignalFd,
    patience: Duration,
    deadline: Instant,
}

/// What a guard wakes up for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Control,
    Request,
    Signal,
    Deadline,
}

/// Comes up as `Guard::start` has started it; none if nothing is on trial.
fn start(words: &[OsString]) -> Result<Option<Guard>> {
    let mut words = words.iter().skip(1);
    let seconds = words.next().and_then(|word| word.to_str()?.parse().ok());
    let patience = Duration::from_secs(seconds.ok_or_else(|| invalid("a guard wants its seconds"))?);
    let signals = leave_the_session()?;
    if let Some(path) = words.next() {
        let file =
            File::open(path).map_err(|error| os("open(2)", &quote(&path.to_string_lossy()), &error))?;
        setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| nix_error("setns(2)", errno))?;
    }
    let control =
        io::stdin().as_fd().try_clone_to_owned().map_err(|error| os("fcntl(2)", "stdin", &error))?;
    let control = UnixStream::from(control);
    let Some(trial) = Trial::receive(&control)? else { return Ok(None) };
    let ready = OnTrial::new(trial).and_then(|on_trial| Ok((listen(&on_trial)?, on_trial)));
    let (listener, on_trial) = match ready {
        Ok(ready) => ready,
        Err(error) => return attach::answer(&control, &Err(error)).map(|()| None),
    };
    attach::answer(&control, &Ok(()))?;
    let deadline = Instant::now() + patience;
    let listener = Some(listener);
    Ok(Some(Guard {
        on_trial,
        control,
        is_told: false,
        is_made: false,
        listener,
        signals,
        patience,
        deadline,
    }))
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
    let _ = nix::sys::prctl::set_name(c"xdpload-guard");
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&end, flags).map_err(|errno| nix_error("signalfd(2)", errno))
}

/// The socket by which the guard is found. Its name is taken while another change waits to be confirmed.
fn listen(on_trial: &OnTrial) -> Result<UnixListener> {
    let interface = on_trial.interface();
    let address = SocketAddr::from_abstract_name(socket_name(interface.index().get()));
    address.and_then(|address| UnixListener::bind_addr(&address)).map_err(|error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            let message = format!("another change of {interface} waits to be confirmed");
            return Error::new(ErrorKind::Conflict, message).with_help(format!(
                "`xdpload confirm {}` keeps it; `xdpload status` shows it",
                interface.name()
            ));
        }
        os("bind(2)", "the guard's socket", &error)
    })
}

impl Guard {
    fn stand(mut self) -> Result<()> {
        loop {
            self.on_trial.rest();
            match self.wait()? {
                Event::Control if !self.hear() => return Ok(()),
                Event::Request if self.answer_request() => return Ok(()),
                Event::Control | Event::Request => {}
                Event::Signal => return self.end("the guard was told to end (SIGTERM)"),
                Event::Deadline => return self.end("nobody has confirmed it"),
            }
        }
    }

    /// Sleeps until something happens.
    fn wait(&self) -> Result<Event> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let listener = self.listener.iter().map(|listener| (listener.as_fd(), Event::Request));
            // One that has ended would wake it for ever.
            let control = (!self.is_told).then(|| (self.control.as_fd(), Event::Control));
            let watched: Vec<_> =
                listener.chain([(self.signals.as_fd(), Event::Signal)]).chain(control).collect();
            let mut polled: Vec<_> =
                watched.iter().map(|(fd, _)| PollFd::new(*fd, PollFlags::POLLIN)).collect();
            // The last millisecond counts.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut polled, timeout) {
                Ok(0) if self.deadline <= Instant::now() => return Ok(Event::Deadline),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(nix_error("poll(2)", errno)),
            }
            let ready = polled.iter().zip(&watched).find(|(fd, _)| fd.any().unwrap_or(false));
            if let Some((_, (_, event))) = ready {
                return Ok(*event);
            }
        }
    }

    /// Hears what comes from whoever makes the change. False when they have ended without making it.
    fn hear(&mut self) -> bool {
        match attach::hear(&self.control) {
            Ok(Heard::Link(link)) => self.on_trial.hold(link),
            Ok(Heard::Made) => self.begin(),
            Ok(Heard::End) | Err(_) => {
                self.is_told = true;
                // Should they still wait for an answer, they hear that none will come.
                let _ = self.control.shutdown(Shutdown::Both);
                // Who was killed has not said whether it is made. What cannot be seen now may be seen when time is up.
                if !self.is_made && self.on_trial.is_made().unwrap_or(true) {
                    self.begin();
                }
                return self.is_made;
            }
        }
        // If nobody listens, they are dead, which is heard next.
        let _ = attach::answer(&self.control, &Ok(()));
        true
    }

    /// From here on there is something to put back.
    fn begin(&mut self) {
        self.is_made = true;
        let seconds = self.patience.as_secs();
        log(Level::Notice, format_args!("unless confirmed within {seconds} s, {}", self.on_trial));
    }

    /// Answers whoever has connected. True when that was the end of the trial.
    fn answer_request(&mut self) -> bool {
        // Whoever has gone again, or says nothing, has asked nothing.
        let Some(Ok((mut stream, _))) = self.listener.as_ref().map(UnixListener::accept) else {
            return false;
        };
        let mut request = [0; 16];
        let limits = stream.set_read_timeout(Some(REQUEST)).and(stream.set_write_timeout(Some(REQUEST)));
        let Ok(len) = limits.and_then(|()| stream.read(&mut request)) else { return false };
        let (answer, is_end) = match &request[..len] {
            _ if !is_trusted(&stream) => {
                ("error only the user who made the change may ask\n".to_owned(), false)
            }
            b"status\n" => (self.status(), false),
            b"confirm\n" => match self.on_trial.keep() {
                Ok(pin) => {
                    let pin = pin.map(|pin| format!("pin {}\n", pin.display())).unwrap_or_default();
                    (format!("{}{pin}", self.status()), true)
                }
                Err(error) => (format!("error {error}\n"), false),
            },
            _ => ("error that is no request\n".to_owned(), false),
        };
        if is_end {
            self.listener = None;
            log(Level::Notice, format_args!("the change of {} is confirmed", self.on_trial.interface()));
        }
        // Whoever does not listen to the answer has been heard all the same.
        let _ = stream.write_all(answer.as_bytes());
        is_end
    }

    fn status(&self) -> String {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let status = format!("left {}\npid {}\nback {}\n", left.as_millis(), process::id(), self.on_trial);
        let new = self.on_trial.new_program().map(|new| format!("new {new}\n")).unwrap_or_default();
        let before = self.on_trial.before();
        let before = before.iter().map(|program| {
            let id = program.id.unwrap_or_default();
            format!("before {} {id}\n", program.mode)
        });
        [status, new].into_iter().chain(before).collect()
    }

    /// Puts back what was before, and says how that went.
    fn end(mut self, reason: &str) -> Result<()> {
        let what = self.on_trial.to_string();
        self.listener = None;
        for attempt in 1.. {
            match self.on_trial.put_back() {
                Ok(RolledBack::PutBack) => {
                    log(Level::Warning, format_args!("{what}: {reason}"));
                    return Ok(());
                }
                Ok(RolledBack::LeftAlone(found)) => {
                    let name = self.on_trial.interface();
                    log(
                        Level::Warning,
                        format_args!(
                            "{name} is left as it is, since somebody has changed it meanwhile: {found}"
                        ),
                    );
                    return Ok(());
                }
                Err(error) if attempt == ATTEMPTS => return Err(error).context(|| what),
                Err(error) => {
                    if attempt == 1 {
                        log(Level::Warning, format_args!("{what}: failed, and is tried again: {error}"));
                    }
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
        Ok(())
    }
}

fn os(call: &str, object: &str, error: &io::Error) -> Error {
    Error::os(call, object, error.raw_os_error().unwrap_or_default())
}

fn nix_error(call: &str, errno: Errno) -> Error {
    Error::os(call, "the guard", errno as i32)
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
