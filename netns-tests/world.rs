//! A world of moat's own for one story: its state root, its containers, its host and LAN.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness;
use crate::net::{Ns, Out, Running};

/// Both address families; every story about addresses loops over them.
pub const FAMILIES: [u8; 2] = [4, 6];

/// Where the router is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Own,
    Host,
}

impl Mode {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Host => "host",
        }
    }
}

/// A state root, with the network that containers go to unless told otherwise.
pub struct World {
    pub mode: Mode,
    pub root: PathBuf,
    pub net: String,
    _lan: Vec<Running>,
}

/// A running container as others see it.
#[derive(Clone, Debug)]
pub struct Container {
    pub name: String,
    pub pid: u64,
    pub mac: String,
    pub ip4: String,
    pub ip6: String,
    /// Its network namespace, entered with all capabilities.
    pub ns: Ns,
}

impl Container {
    pub fn ip(&self, family: u8) -> &str {
        if family == 4 { &self.ip4 } else { &self.ip6 }
    }
}

/// A machine beside the host, on 192.168.50.0/24 and fd50::/64: .1 is the host, .2 is this.
pub struct Neighbour {
    pub ns: Ns,
}

impl Neighbour {
    pub fn ip(family: u8) -> &'static str {
        if family == 4 { "192.168.50.2" } else { "fd50::2" }
    }

    /// The host's address on this LAN.
    pub fn host(family: u8) -> &'static str {
        if family == 4 { "192.168.50.1" } else { "fd50::1" }
    }
}

impl World {
    /// A world with a network named `moat` in own mode, `flat` in host mode.
    pub fn new(mode: Mode) -> Self {
        let world = Self {
            mode,
            root: harness::dir().join("root"),
            net: if mode == Mode::Own { "moat" } else { "flat" }.into(),
            _lan: Vec::new(),
        };
        if mode == Mode::Host {
            world.ok(&["net", "create", "flat", "--router", "host"]);
        }
        world
    }

    /// A `moat` command of this world, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_moat"));
        c.args(args)
            .env("MOAT_ROOT", &self.root)
            .env("MOAT_DATA", harness::dir().join("data"));
        c
    }

    pub fn moat(&self, args: &[&str]) -> Out {
        Out::of(&mut self.command(args))
    }

    /// A `moat` command that must succeed; what it printed.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let out = self.moat(args);
        assert!(out.ok(), "moat {args:?}: {out:?}");
        out.stdout
    }

    /// A `moat` command's data.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("moat {args:?}: {e}: {text}"))
    }

    /// A container in the background.
    #[track_caller]
    pub fn run_d(&self, name: &str, options: &[&str], command: &[&str]) -> Container {
        let net = ["run", "-d", "--name", name];
        let place = ["--net", &self.net];
        let place: &[&str] = if options.contains(&"--net") { &[] } else { &place };
        self.ok(&[&net, place, options, &["--"], command].concat());
        self.container(name)
    }

    /// A container that only waits: the story acts in its network namespace.
    #[track_caller]
    pub fn idle(&self, name: &str, options: &[&str]) -> Container {
        self.run_d(name, options, &["sleep", "1000"])
    }

    #[track_caller]
    pub fn container(&self, name: &str) -> Container {
        let c = self.json(&["inspect", name]);
        let ip = |n: usize| {
            let ip = c["ips"][n].as_str().unwrap_or_default();
            ip.split('/').next().unwrap_or_default().to_owned()
        };
        let pid = c["pid"].as_u64().expect("a running container");
        Container {
            name: name.to_owned(),
            pid,
            mac: c["mac"].as_str().unwrap_or_default().to_owned(),
            ip4: ip(0),
            ip6: ip(1),
            ns: Ns::at(format!("/proc/{pid}/ns/net"), "eth0"),
        }
    }

    pub fn exec(&self, name: &str, command: &[&str]) -> Out {
        self.moat(&[&["exec", name], command].concat())
    }

    /// Where the wall stands.
    #[track_caller]
    pub fn router(&self) -> Ns {
        match self.mode {
            Mode::Host => Ns::host(),
            Mode::Own => {
                let net = self.json(&["net", "inspect", &self.net]);
                Ns::at(net["router_netns"].as_str().expect("a router"), "lo")
            }
        }
    }

    /// A field of the network: `bridges`, `gateways`, `subnets`.
    #[track_caller]
    pub fn net_field(&self, field: &str, n: usize) -> String {
        let net = self.json(&["net", "inspect", &self.net]);
        net[field][n].as_str().unwrap_or_default().to_owned()
    }

    /// Gives the host a LAN with one neighbour, and a default route through it.
    #[track_caller]
    pub fn lan(&mut self) -> Neighbour {
        let (sleeper, neighbour) = lan();
        self._lan.push(sleeper);
        neighbour
    }

    /// `fsck` finds nothing.
    #[track_caller]
    pub fn is_clean(&self) {
        let out = self.moat(&["fsck"]);
        assert!(out.ok(), "fsck: {out:?}");
    }
}

/// Gives the host a LAN with one neighbour, and a default route through it, while the value lives.
#[track_caller]
pub fn lan() -> (Running, Neighbour) {
    let mut sleeper = Command::new("unshare");
    sleeper.args(["-n", "sh", "-c", "echo ready; echo $$; exec sleep 1000"]);
    let sleeper = Running::start(&mut sleeper, "\n");
    crate::net::until(std::time::Duration::from_secs(2), || sleeper.count() > 0);
    let pid = sleeper.count();
    let ns = Ns::at(format!("/proc/{pid}/ns/net"), "lan0");
    Ns::host().must(&format!(
        "ip link add lan0 type veth peer name lan0 netns {pid} && ip link set lan0 up && \
         ip addr add 192.168.50.1/24 dev lan0 && ip addr add fd50::1/64 dev lan0 nodad"
    ));
    ns.must(
        "ip link set lo up; ip link set lan0 up; ip addr add 192.168.50.2/24 dev lan0; \
         ip addr add fd50::2/64 dev lan0 nodad",
    );
    Ns::host().must("ip route add default via 192.168.50.2 && ip -6 route add default via fd50::2");
    (sleeper, Neighbour { ns })
}

impl Drop for World {
    fn drop(&mut self) {
        let out = self.moat(&["rm", "-f", "--all"]);
        if !out.ok() {
            eprintln!("cleaning up: {out:?}");
        }
    }
}
