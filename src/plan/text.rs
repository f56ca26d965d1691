//! Plans as command lines that a person can paste: `ip` and `bridge` (iproute2 6.1), `nft`
//! (1.0.6), `sysctl`. For `--dry-run`, logs, and the golden files of the tests.
//!
//! The kernel layer does not run these lines; they say the same in other words. One object
//! may need more than one line, or none: taking a `Sysctl` away does nothing.

use std::borrow::Cow;

use super::names::Names;
use super::object::{Hop, LOCAL, MAIN, Object, Place, Ruleset, Verdict};
use super::set::{Element, Field, Table};
use super::skeleton;
use super::skeleton::class_word;
use super::step::{Plan, Step};

/// How plans are written down.
#[derive(Clone, Copy, Debug)]
pub struct Renderer<'a> {
    pub names: &'a Names,
    /// The word for the router namespace: what `ip netns` calls it.
    pub router: &'a str,
    /// Seconds since 1970: timeouts are written as what is left of them.
    pub now: u64,
}

impl Renderer<'_> {
    /// A plan, one command a line; a ruleset is named by its file only.
    #[must_use]
    pub fn plan(&self, plan: &Plan) -> String {
        lines(plan.0.iter().flat_map(|s| self.step(s)))
    }

    /// A plan with the text of its rulesets, as here-documents.
    #[must_use]
    pub fn verbose(&self, plan: &Plan) -> String {
        lines(plan.0.iter().flat_map(|step| match step {
            Step::Add(Object::Ruleset { at, which }) => vec![format!(
                "{} -f - <<'END'\n{}END",
                self.run(at, "nft"),
                skeleton::ruleset(*which, at, self.names)
            )],
            _ => self.step(step),
        }))
    }

    /// The commands of one step.
    #[must_use]
    pub fn step(&self, step: &Step) -> Vec<String> {
        match step {
            Step::Add(o) => self.add(o),
            Step::Del(o) => self.del(o),
        }
    }

    fn add(&self, object: &Object) -> Vec<String> {
        match object {
            Object::Namespace => {
                let up = format!("{} link set dev lo up", self.ip(&Place::Router));
                let router = quoted(self.router);
                let add = if self.is_bound() {
                    format!("touch {router} && unshare --net={router} true")
                } else {
                    format!("ip netns add {router}")
                };
                vec![add, up]
            }
            Object::Ruleset { at, which } => {
                vec![format!("{} -f {}", self.run(at, "nft"), file(*which))]
            }
            Object::Uplink { host, router, mtu } => vec![format!(
                "ip link add {host} mtu {mtu} type veth peer name {router} mtu {mtu} netns {}",
                quoted(self.router)
            )],
            // The kernel refuses `addrgenmode` in the message that makes a bridge.
            Object::Bridge { at, name, mac, mtu } => {
                let (ip, what) = (self.ip(at), "type bridge mcast_snooping 0");
                vec![
                    format!("{ip} link add {name} address {mac} mtu {mtu} {what}"),
                    format!("{ip} link set dev {name} addrgenmode none"),
                ]
            }
            Object::Veth {
                at,
                port,
                sandbox,
                inside,
                mac,
                mtu,
            } => vec![format!(
                "{} link add {port} mtu {mtu} type veth peer name {inside} address {mac} mtu {mtu}{}",
                self.ip(at),
                self.other_end(sandbox)
            )],
            Object::Sysctl { at, key, value } => {
                let setting = format!("{key}={}", value.replace('\t', " "));
                vec![format!("{} -w {}", self.run(at, "sysctl"), quoted(&setting))]
            }
            Object::BridgePort { at, port, bridge } => vec![
                format!("{} link set dev {port} master {bridge}", self.ip(at)),
                format!(
                    "{} link set dev {port} isolated on learning off locked on",
                    self.bridge(at)
                ),
            ],
            Object::ClosedPort { at, port, .. } => vec![format!(
                "{} link set dev {port} isolated on learning off locked on",
                self.bridge(at)
            )],
            _ => self.either("add", "up", object),
        }
    }

    fn del(&self, object: &Object) -> Vec<String> {
        match object {
            Object::Namespace if self.is_bound() => {
                let router = quoted(self.router);
                vec![format!("umount {router} && rm {router}")]
            }
            Object::Namespace => vec![format!("ip netns del {}", quoted(self.router))],
            Object::Ruleset { at, which } => {
                let tables: &[Table] = match which {
                    Ruleset::Wall => &[Table::Wall, Table::Ports],
                    Ruleset::WayOut => &[Table::WayOut],
                    Ruleset::Stand => &[Table::Stand],
                    Ruleset::Classic => &[Table::ClassicPorts, Table::Classic],
                };
                let nft = self.run(at, "nft");
                let line = |t: &Table| format!("{nft} delete table {}", self.table(*t));
                tables.iter().map(line).collect()
            }
            Object::Uplink { host, .. } => vec![format!("ip link del {host}")],
            Object::Bridge { at, name, .. } => vec![format!("{} link del {name}", self.ip(at))],
            Object::Veth { at, port, .. } => vec![format!("{} link del {port}", self.ip(at))],
            Object::Sysctl { .. } | Object::ClosedPort { .. } => vec![],
            Object::BridgePort { at, port, .. } => {
                vec![format!("{} link set dev {port} nomaster", self.ip(at))]
            }
            _ => self.either("del", "down", object),
        }
    }

    /// The objects whose two directions differ by one word only.
    fn either(&self, verb: &str, state: &str, object: &Object) -> Vec<String> {
        let line = match object {
            Object::Rule {
                at,
                family,
                priority,
                mark,
                iif,
                then,
            } => {
                let mark = mark.map_or(String::new(), |m| {
                    let (value, mask) = m.masked();
                    format!(" fwmark {value:#x}/{mask:#x}")
                });
                let iif = iif.as_ref().map_or(String::new(), |i| format!(" iif {i}"));
                let then = match then {
                    Verdict::Lookup(t) => format!("lookup {}", table_name(*t)),
                    Verdict::Prohibit => "prohibit".to_owned(),
                };
                let (ip, n) = (self.ip(at), family.digit());
                format!("{ip} -{n} rule {verb} priority {priority}{mark}{iif} {then}")
            }
            Object::Fdb { at, port, mac } => {
                let kind = if verb == "add" { "static sticky" } else { "static" };
                format!("{} fdb {verb} {mac} dev {port} master {kind}", self.bridge(at))
            }
            Object::Address { at, iface, address } => {
                let nodad = if address.is_ipv6() && verb == "add" {
                    " nodad"
                } else {
                    ""
                };
                let flags = if verb == "add" { " noprefixroute" } else { "" };
                let ip = self.ip(at);
                format!("{ip} address {verb} {address} dev {iface}{flags}{nodad}")
            }
            Object::Element(e) => self.element(verb, e),
            Object::Up { at, iface } => format!("{} link set dev {iface} {state}", self.ip(at)),
            Object::Neighbour { at, iface, ip, mac } => {
                let permanent = if verb == "add" { " nud permanent" } else { "" };
                let command = self.ip(at);
                format!("{command} neighbour {verb} {ip} lladdr {mac} dev {iface}{permanent}")
            }
            Object::Route { at, table, to, hop } => {
                let (kind, hop) = match hop {
                    Hop::Dev(dev) => ("", format!(" dev {dev}")),
                    Hop::Via(gateway, dev) => ("", format!(" via {gateway} dev {dev} onlink")),
                    Hop::Local(dev) => ("local ", format!(" dev {dev}")),
                    Hop::Prohibit => ("prohibit ", String::new()),
                };
                let (ip, table) = (self.ip(at), table_name(*table));
                format!("{ip} route {verb} {kind}{to}{hop} table {table}")
            }
            _ => unreachable!("written by `add` and `del`"),
        };
        vec![line]
    }

    fn element(&self, verb: &str, e: &Element) -> String {
        let nft = self.run(&e.at, "nft");
        let verb = if verb == "del" { "delete" } else { verb };
        let key = match &e.end {
            Some(end) => concatenated(e.key.iter().zip(end).map(|(a, b)| range(a, b))),
            None => concatenated(e.key.iter().map(field)),
        };
        // What is taken away is named by its key alone.
        let (timeout, data) = if verb == "add" {
            let left = |at: u64| at.saturating_sub(self.now).max(1);
            (
                e.expires.map(|x| format!(" timeout {}s", left(x.0))),
                e.data
                    .as_ref()
                    .map(|d| format!(" : {}", concatenated(d.iter().map(field)))),
            )
        } else {
            (None, None)
        };
        format!(
            "{nft} {verb} element {} {} {{ {key}{}{} }}",
            self.table(e.table),
            e.set,
            timeout.unwrap_or_default(),
            data.unwrap_or_default()
        )
    }

    fn table(&self, table: Table) -> String {
        let name = &self.names.table;
        match table {
            Table::Ports => format!("bridge {name}"),
            Table::Wall => format!("inet {name}"),
            Table::WayOut => format!("inet {name}_out"),
            Table::Stand => format!("inet {name}_stand"),
            Table::ClassicPorts => format!("bridge {name}_cni"),
            Table::Classic => format!("inet {name}_cni"),
        }
    }

    /// `ip` with the namespace as its own option where it has one.
    fn ip(&self, at: &Place) -> String {
        self.with_option(at, "ip")
    }

    /// Whether the router is called by a path: `ip netns` knows names alone.
    fn is_bound(&self) -> bool {
        self.router.contains('/')
    }

    fn bridge(&self, at: &Place) -> String {
        self.with_option(at, "bridge")
    }

    fn with_option(&self, at: &Place, program: &str) -> String {
        match at {
            Place::Router if !self.is_bound() => format!("{program} -n {}", quoted(self.router)),
            _ => self.run(at, program),
        }
    }

    /// A program run inside a namespace.
    fn run(&self, at: &Place, program: &str) -> String {
        match at {
            Place::Host => program.to_owned(),
            Place::Router if self.is_bound() => format!("nsenter --net={} {program}", quoted(self.router)),
            Place::Router => format!("ip netns exec {} {program}", quoted(self.router)),
            Place::Sandbox(path) => {
                format!("nsenter --net={} {program}", quoted(&path.to_string_lossy()))
            }
        }
    }

    /// Where the other end of a new pair goes; `ip` takes a name or a path.
    fn other_end(&self, at: &Place) -> String {
        match at {
            Place::Host => String::new(),
            Place::Router => format!(" netns {}", quoted(self.router)),
            Place::Sandbox(path) => format!(" netns {}", quoted(&path.to_string_lossy())),
        }
    }
}

fn lines(commands: impl Iterator<Item = String>) -> String {
    commands.flat_map(|c| [c, "\n".to_owned()]).collect()
}

fn file(which: Ruleset) -> &'static str {
    match which {
        Ruleset::Wall => "wall.nft",
        Ruleset::WayOut => "wayout.nft",
        Ruleset::Stand => "stand.nft",
        Ruleset::Classic => "classic.nft",
    }
}

fn table_name(table: u32) -> String {
    match table {
        MAIN => "main".to_owned(),
        LOCAL => "local".to_owned(),
        _ => table.to_string(),
    }
}

fn concatenated(fields: impl Iterator<Item = String>) -> String {
    fields.collect::<Vec<_>>().join(" . ")
}

fn range(a: &Field, b: &Field) -> String {
    if a == b {
        field(a)
    } else {
        format!("{}-{}", field(a), field(b))
    }
}

fn field(f: &Field) -> String {
    match f {
        Field::Ip(ip) => ip.to_string(),
        Field::Mac(mac) => mac.to_string(),
        Field::Iface(name) => name.clone(),
        Field::Port(port) => port.to_string(),
        Field::Proto(n) => match n {
            1 => "icmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            58 => "ipv6-icmp".to_owned(),
            132 => "sctp".to_owned(),
            other => other.to_string(),
        },
        Field::Class(n) => class_word(*n),
    }
}

/// As one word of a shell.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.:=,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}
