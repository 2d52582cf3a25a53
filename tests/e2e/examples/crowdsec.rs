//! `examples/crowdsec`: Debian's CrowdSec engine on one host, and its custom bouncer on two gateways. What is decided
//! on the host is dropped on both, and passes on both when the decision has ended.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;

use super::daemon::Daemon;
use super::{BIN, install, unpacked, write};
use crate::command::{Ran, command, run};
use crate::packets::arrivals;
use crate::requirement::{Missing, kernel, tool};
use crate::sandbox::{Far, Sandbox};
use crate::veth::wait_for;

/// Where the offender sends from.
const OFFENDER: &str = "203.0.113.9";
/// Somebody else.
const OTHER: &str = "203.0.113.10";

/// The engine's configuration: its local API alone, nothing of the Central API.
const ENGINE: &str = "\
common:
  daemonize: false
  log_media: stdout
  log_dir: SCRATCH
config_paths:
  config_dir: SCRATCH/engine
  data_dir: SCRATCH/engine
  simulation_path: SCRATCH/engine/simulation.yaml
  hub_dir: SCRATCH/engine
  index_path: SCRATCH/engine/index.json
  notification_dir: SCRATCH/engine
  plugin_dir: SCRATCH/engine
db_config:
  type: sqlite
  db_path: SCRATCH/engine/crowdsec.db
api:
  client:
    credentials_path: SCRATCH/engine/credentials.yaml
  server:
    listen_uri: 0.0.0.0:8080
    profiles_path: SCRATCH/engine/profiles.yaml
prometheus:
  enabled: false
";

const BOUNCER: &str = "\
bin_path: PROGRAM
feed_via_stdin: STDIN
total_retries: -1
piddir: SCRATCH
update_frequency: 1s
cache_retention_duration: 10s
daemonize: false
log_mode: stdout
log_level: info
api_url: http://ENGINE:8080/
api_key: KEY
prometheus:
  enabled: false
";

/// The host that the engine runs on, which is the sandbox itself.
struct Host<'s> {
    sandbox: &'s Sandbox,
    cscli: PathBuf,
    config: String,
}

impl<'s> Host<'s> {
    /// Starts the engine.
    fn start(sandbox: &'s Sandbox) -> Result<(Self, Daemon), Missing> {
        let engine = unpacked("usr/bin/crowdsec")?;
        let profiles = unpacked("etc/crowdsec/profiles.yaml")?;
        let scratch = sandbox.scratch().to_str().expect("it is printable");
        let config = write(sandbox, "engine/config.yaml", &ENGINE.replace("SCRATCH", scratch));
        write(sandbox, "engine/simulation.yaml", "simulation: false\n");
        write(sandbox, "engine/index.json", "{}\n");
        let own = sandbox.scratch().join("engine/profiles.yaml");
        run(&mut command("cp", &[profiles.to_string_lossy(), own.to_string_lossy()])).ok();
        let host = Self { sandbox, cscli: unpacked("usr/bin/cscli")?, config };
        let credentials = format!("{scratch}/engine/credentials.yaml");
        let add = ["machines", "add", "engine", "--password", "secret", "--file", &credentials];
        host.cscli(&[&add[..], &["--url", "http://127.0.0.1:8080"]].concat()).ok();
        let mut command = Command::new(engine);
        command.args(["-c", &host.config, "-no-cs"]);
        let daemon = Daemon::start(sandbox, "engine", &mut command);
        wait_for("the engine to answer", || host.cscli(&["decisions", "list"]).code() == Some(0));
        Ok((host, daemon))
    }

    fn cscli(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(&self.cscli);
        run(command.args(["-c", &self.config]).args(words))
    }
}

/// A gateway: a network namespace with a bpffs of its own and an interface towards the host.
struct Gateway {
    far: Far,
    name: &'static str,
    number: u8,
}

impl Gateway {
    fn new(sandbox: &Sandbox, name: &'static str, number: u8) -> Self {
        let far = sandbox.far(name);
        let [wan, at_host] = [format!("10.9.{number}.2/24"), format!("10.9.{number}.1/24")];
        let near = format!("to-{name}");
        let host = format!("10.9.{number}.1");
        for words in [
            format!("link add {near} type veth peer name wan0 netns {name}"),
            format!("addr add {at_host} dev {near}"),
            format!("link set {near} up"),
            format!("-n {name} addr add {wan} dev wan0"),
            format!("-n {name} link set lo up"),
            format!("-n {name} link set wan0 up"),
            format!("-n {name} route add default via {host}"),
        ] {
            run(&mut command("ip", &words.split(' ').collect::<Vec<_>>())).ok();
        }
        let bpffs = format!("/run/bpf-{name}");
        run(&mut command("mkdir", &[&bpffs])).ok();
        run(&mut command("mount", &["-t", "bpf", "bpf", &bpffs])).ok();
        let gateway = Self { far, name, number };
        run(&mut gateway.command(&[&format!("{BIN}/xdpload"), "block", "on", "wan0", "--max-rules", "1000"]))
            .ok();
        gateway
    }

    /// A command on the gateway, with the gateway's bpffs where bpffs belongs.
    fn command(&self, words: &[&str]) -> Command {
        let enter = "mount --bind \"$0\" /sys/fs/bpf && exec \"$@\"";
        let bpffs = format!("/run/bpf-{}", self.name);
        let mut command = command("ip", &["netns", "exec", self.name, "sh", "-c", enter, &bpffs]);
        command.args(words).env("PATH", format!("{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"));
        command
    }

    /// Starts its bouncer, which `host` knows by then; with `program`, fed on standard input or run for each decision.
    fn bounce(&self, host: &Host<'_>, program: &str, feeds: bool) -> Result<Daemon, Missing> {
        let bouncer = unpacked("usr/bin/crowdsec-custom-bouncer")?;
        let key = host.cscli(&["bouncers", "add", self.name, "-o", "raw"]).ok();
        let text = BOUNCER
            .replace("PROGRAM", &format!("{BIN}/{program}"))
            .replace("STDIN", &feeds.to_string())
            .replace("SCRATCH", host.sandbox.scratch().to_str().expect("it is printable"))
            .replace("ENGINE", &format!("10.9.{}.1", self.number))
            .replace("KEY", key.stdout().trim());
        let config = write(host.sandbox, &format!("{}.yaml", self.name), &text);
        let words = [bouncer.to_string_lossy().into_owned(), "-c".to_owned(), config];
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        Ok(Daemon::start(host.sandbox, self.name, &mut self.command(&words)))
    }

    fn listed(&self) -> String {
        let list = self.command(&[&format!("{BIN}/xdpload"), "block", "list"]);
        run(&mut { list }).ok().stdout().to_owned()
    }

    /// Of five packets from `source`, `expected` arrive at the gateway.
    #[track_caller]
    fn assert_udp(&self, source: &str, expected: usize) {
        let here = self.far.run(|| UdpSocket::bind((format!("10.9.{}.2", self.number), 0)));
        let there = UdpSocket::bind((source, 0)).expect("the address is the host's");
        let arrived = arrivals(&here.expect("the address is the gateway's"), &there, 5, expected);
        assert_eq!(arrived, expected, "packets from {source} that arrived at {}", self.name);
    }
}

#[test]
fn one_host_decides_and_two_gateways_drop() {
    need!(tool("ip"));
    need!(kernel((4, 19), "native XDP on veth"));
    let sandbox = need!(Sandbox::new());
    install(&sandbox, &["crowdsec/xdpload-bouncer", "crowdsec/xdpload-feed"]);
    run(&mut command("ip", &["link", "set", "lo", "up"])).ok();
    for address in [OFFENDER, OTHER] {
        run(&mut command("ip", &["addr", "add", address, "dev", "lo"])).ok();
    }
    let gateways = [Gateway::new(&sandbox, "one", 1), Gateway::new(&sandbox, "two", 2)];
    let (host, _engine) = need!(Host::start(&sandbox));
    // One of each form.
    let by_command = need!(gateways[0].bounce(&host, "xdpload-bouncer", false));
    let by_feed = need!(gateways[1].bounce(&host, "xdpload-feed", true));
    let said = || format!("{}\n{}", by_command.log(), by_feed.log());
    let lists = |rule: &str, there: bool| {
        wait_for(&format!("{rule}: {there}"), || {
            gateways.iter().all(|gateway| gateway.listed().contains(rule) == there)
        });
    };
    let assert_both = |source: &str, expected| {
        for gateway in &gateways {
            gateway.assert_udp(source, expected);
        }
    };
    assert_both(OFFENDER, 5);

    // Taken back on the host.
    let reason = "an \"offender\" & more";
    host.cscli(&["decisions", "add", "--ip", OFFENDER, "--duration", "1h", "--reason", reason]).ok();
    lists("203.0.113.9 crowdsec 59m", true);
    assert_both(OFFENDER, 0);
    assert_both(OTHER, 5);
    host.cscli(&["decisions", "delete", "--ip", OFFENDER]).ok();
    lists("203.0.113.9", false);
    assert_both(OFFENDER, 5);

    // Ended by itself: the kernel keeps the time, and the engine's word that comes later is no error.
    host.cscli(&["decisions", "add", "--range", "203.0.113.8/31", "--duration", "5s"]).ok();
    lists("203.0.113.8/31 crowdsec", true);
    assert_both(OFFENDER, 0);
    lists("203.0.113.8/31", false);
    assert_both(OFFENDER, 5);

    // A gateway's own address is decided on by mistake: both refuse it, and say why.
    host.cscli(&["decisions", "add", "--ip", "10.9.1.1", "--duration", "1h"]).ok();
    let words = "10.9.1.1 is the default gateway";
    wait_for(words, || by_command.log().contains(words) && gateways[1].listed().contains("10.9.1.1"));
    assert!(!gateways[0].listed().contains("10.9.1.1"), "{}", said());
}
