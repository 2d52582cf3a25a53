//! `examples/fail2ban`: Debian's fail2ban reads a log, bans whoever it finds there, and lets them go.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::daemon::Daemon;
use super::{BIN, example, install, unpacked, write};
use crate::block_commands::{block, blocked_pair, listed};
use crate::command::{Ran, command, run};
use crate::packets::assert_udp;
use crate::requirement::{Missing, tool};
use crate::sandbox::Sandbox;
use crate::veth::{BLOCKED, FAR_V4, FAR_V6, OTHER, Veth, wait_for};

const JAILS: &str = "\
[DEFAULT]
banaction = xdpload
bantime = 1h
maxretry = 3
backend = polling
usedns = no
ignoreself = false
[sshd]
enabled = true
logpath = SCRATCH/auth.log
[postfix]
enabled = true
mode = auth
logpath = SCRATCH/mail.log
";

const SERVER: &str = "\
[DEFAULT]
logtarget = SCRATCH/fail2ban.log
socket = SCRATCH/fail2ban.sock
pidfile = SCRATCH/fail2ban.pid
dbfile = SCRATCH/fail2ban.sqlite3
";

/// fail2ban with all that is its own in the scratch directory.
struct Fail2ban<'s> {
    sandbox: &'s Sandbox,
    package: PathBuf,
    lines: u32,
}

impl<'s> Fail2ban<'s> {
    fn install(sandbox: &'s Sandbox) -> Result<Self, Missing> {
        tool("python3")?;
        let package = unpacked("usr/bin/fail2ban-server")?;
        let package = package.ancestors().nth(3).expect("it is in usr/bin").to_owned();
        install(sandbox, &[]);
        let scratch = sandbox.scratch().to_str().expect("it is printable");
        let config = format!("{scratch}/fail2ban");
        run(&mut command("cp", &["-r", &package.join("etc/fail2ban").to_string_lossy(), &config])).ok();
        run(&mut command("rm", &[&format!("{config}/jail.d/defaults-debian.conf")])).ok();
        let action = example("fail2ban/xdpload.conf");
        run(&mut command("cp", &[&*action.to_string_lossy(), &format!("{config}/action.d/")])).ok();
        write(sandbox, "fail2ban/jail.local", &JAILS.replace("SCRATCH", scratch));
        write(sandbox, "fail2ban/fail2ban.local", &SERVER.replace("SCRATCH", scratch));
        write(sandbox, "auth.log", "");
        write(sandbox, "mail.log", "");
        Ok(Self { sandbox, package, lines: 0 })
    }

    fn program(&self, name: &str, words: &[&str]) -> Command {
        let program = self.package.join("usr/bin").join(name);
        let config = self.sandbox.scratch().join("fail2ban");
        let mut python = command("python3", &[&*program.to_string_lossy(), "-c", &config.to_string_lossy()]);
        python.args(words).env("PYTHONPATH", self.package.join("usr/lib/python3/dist-packages"));
        python.env("PATH", format!("{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"));
        python
    }

    fn client(&self, words: &[&str]) -> Ran {
        run(&mut self.program("fail2ban-client", words))
    }

    fn start(&self) -> Daemon {
        let _ = fs::remove_file(self.sandbox.scratch().join("fail2ban.sock"));
        let server =
            Daemon::start(self.sandbox, "server", &mut self.program("fail2ban-server", &["-xf", "start"]));
        wait_for("fail2ban to answer", || self.client(&["ping"]).code() == Some(0));
        server
    }

    /// What sshd writes of somebody who guesses passwords.
    fn attack(&mut self, address: &str) {
        let log = self.sandbox.scratch().join("auth.log");
        let mut log = File::options().append(true).open(log).expect("it is there");
        let now = run(&mut command("date", &["+%b %e %H:%M:%S"])).ok();
        let now = now.stdout().trim();
        for port in 40_000..40_003 {
            self.lines += 1;
            let line = format!("Failed password for root from {address} port {port} ssh2");
            writeln!(log, "{now} gateway sshd[{}]: {line}", 1000 + self.lines).expect("there is room");
        }
    }

    /// How many bans a restart will find.
    fn bans_on_disk(&self) -> String {
        let database = self.sandbox.scratch().join("fail2ban.sqlite3");
        let count = "import sqlite3, sys\n\
            print(sqlite3.connect(sys.argv[1]).execute('SELECT COUNT(*) FROM bans').fetchone()[0])";
        run(&mut command("python3", &["-c", count, &database.to_string_lossy()])).ok().stdout().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.sandbox.scratch().join("fail2ban.log")).unwrap_or_default()
    }
}

fn bench() -> Result<(Sandbox, Veth), Missing> {
    blocked_pair(&["--max-rules", "1000"])
}

#[test]
fn an_offender_is_banned_and_let_go() {
    let (sandbox, veth) = need!(bench());
    let mut fail2ban = need!(Fail2ban::install(&sandbox));
    let _server = fail2ban.start();
    fail2ban.attack("192.0.2.77");
    fail2ban.attack("2001:db8::2");
    let both = ["192.0.2.77 f2b-sshd", "2001:db8::2 f2b-sshd"];
    wait_for("the bans", || listed() == both);
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, FAR_V6, 0);
    assert_udp(&veth, OTHER, 5);

    // Another jail has a set of its own, and both hold the address.
    fail2ban.client(&["set", "postfix", "banip", "192.0.2.77"]).ok();
    wait_for("the second ban", || ["f2b-postfix", "f2b-sshd"].iter().all(|set| listed()[0].contains(set)));
    fail2ban.client(&["set", "sshd", "unbanip", "192.0.2.77"]).ok();
    wait_for("the first to let go", || listed()[0] == "192.0.2.77 f2b-postfix");
    assert_udp(&veth, BLOCKED, 0);
    fail2ban.client(&["set", "postfix", "unbanip", "192.0.2.77"]).ok();
    wait_for("the second to let go", || listed() == both[1..]);
    assert_udp(&veth, BLOCKED, 5);
}

#[test]
fn what_must_not_be_banned_is_refused_and_logged() {
    let (sandbox, veth) = need!(bench());
    let mut fail2ban = need!(Fail2ban::install(&sandbox));
    run(&mut command("ip", &["route", "add", "default", "via", "192.0.2.78"])).ok();
    let _server = fail2ban.start();
    fail2ban.attack("192.0.2.1");
    fail2ban.attack("192.0.2.78");
    for words in [
        "refused, nothing was changed: 192.0.2.1 is an address of this host (near0)",
        "refused, nothing was changed: 192.0.2.78 is the default gateway",
    ] {
        wait_for(words, || fail2ban.log().contains(words));
    }
    assert!(listed().is_empty());
    assert_udp(&veth, OTHER, 5);
}

/// Whether a rule has a time, after which it goes by itself.
fn ends(rule: &str) -> bool {
    listed().iter().any(|line| line.starts_with(rule) && line.ends_with(" left"))
}

#[test]
fn a_restart_lifts_no_ban_and_drops_what_is_stale() {
    let (sandbox, veth) = need!(bench());
    let mut fail2ban = need!(Fail2ban::install(&sandbox));
    let server = fail2ban.start();
    fail2ban.attack("192.0.2.77");
    wait_for("the ban", || listed() == ["192.0.2.77 f2b-sshd"]);
    // fail2ban acts first, and then writes down what it did.
    wait_for("fail2ban's database", || fail2ban.bans_on_disk() == "1\n");

    fail2ban.client(&["stop"]).ok();
    assert!(ends("192.0.2.77 f2b-sshd"));
    assert_udp(&veth, BLOCKED, 0);
    // The log is not read again, so that only the database tells of it.
    write(&sandbox, "auth.log", "");
    drop(server);
    let server = fail2ban.start();
    wait_for("the ban for good", || listed() == ["192.0.2.77 f2b-sshd"]);
    assert_udp(&veth, BLOCKED, 0);

    server.kill();
    // What has been banned without fail2ban's knowing would stay for ever.
    block(&["add", "192.0.2.78", "--name", "f2b-sshd"]).ok();
    block(&["add", "192.0.2.79", "--name", "mine"]).ok();
    let _server = fail2ban.start();
    wait_for("the last time of all bans", || ends("192.0.2.78 f2b-sshd"));
    wait_for("the ban for good", || !ends("192.0.2.77 f2b-sshd"));
    assert!(!ends("192.0.2.79 mine"));
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, FAR_V4, 5);
}

#[test]
fn a_fail2ban_that_does_not_come_back_leaves_no_ban() {
    let (sandbox, veth) = need!(bench());
    let mut fail2ban = need!(Fail2ban::install(&sandbox));
    write(&sandbox, "fail2ban/action.d/xdpload.local", "[Init]\ngrace = 2s\n");
    let _server = fail2ban.start();
    fail2ban.attack("192.0.2.77");
    wait_for("the ban", || listed() == ["192.0.2.77 f2b-sshd"]);
    fail2ban.client(&["stop"]).ok();
    wait_for("its end", || listed().is_empty());
    assert_udp(&veth, BLOCKED, 5);
}

#[test]
fn without_a_blocklist_fail2ban_says_so() {
    let (sandbox, _veth) = need!(bench());
    let mut fail2ban = need!(Fail2ban::install(&sandbox));
    block(&["off", "--purge"]).ok();
    let _server = fail2ban.start();
    fail2ban.attack("192.0.2.77");
    let words = "Failed to execute ban jail 'sshd' action 'xdpload'";
    wait_for(words, || fail2ban.log().contains(words));
    assert!(fail2ban.log().contains("there is no blocklist at `/sys/fs/bpf/xdpload/block`"));
}
