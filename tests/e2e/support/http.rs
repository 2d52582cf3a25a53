//! A tiny HTTP server at the near end, and curl at the far one: what a user of the network notices.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};

use crate::command::{command, run};
use crate::sandbox::Far;

/// A server that answers every request with `200 OK`.
pub(crate) struct Server {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

/// What curl got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The server's status code.
    Status(u16),
    /// Nothing in time.
    TimedOut,
}

impl Server {
    /// Serves on a free port of `address` in the calling thread's namespace.
    pub(crate) fn start(address: impl Into<IpAddr>) -> Self {
        let listener = TcpListener::bind((address.into(), 0)).expect("the address is the interface's own");
        let accepting = listener.try_clone().expect("a socket can be cloned");
        let serve = move || accepting.incoming().map_while(Result::ok).for_each(answer);
        Self { listener, thread: Some(thread::spawn(serve)) }
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("the socket is bound")
    }

    /// Asks the server from `far`, and gives it `patience`, whole seconds or parts of one.
    #[track_caller]
    pub(crate) fn ask_from(&self, far: &Far, patience: Duration) -> Answer {
        let limit = patience.as_secs_f32().to_string();
        let url = format!("http://{}/", self.address());
        let arguments =
            ["--silent", "--noproxy", "*", "--max-time", &limit, "--write-out", "%{http_code}", &url];
        let ran = far.run(|| run(&mut command("curl", &arguments)));
        match ran.code() {
            // curl's exit code for a time-out.
            Some(28) => Answer::TimedOut,
            _ => Answer::Status(ran.ok().stdout().parse().expect("curl writes a status code")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the thread out of accept(2), which then fails.
        shutdown(self.listener.as_raw_fd(), Shutdown::Both).ok();
        self.thread.take().map(JoinHandle::join);
    }
}

fn answer(stream: TcpStream) {
    // A client that hangs or goes away is no concern of the server's.
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|len| len > 2) {
        line.clear();
    }
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    reader.get_mut().write_all(response.as_bytes()).ok();
}
