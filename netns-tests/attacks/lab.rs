//! Two laboratories with the same people in them: one behind moat's walls, one on a plain bridge.
//!
//! `me` is the attacker. `friend` may ask `victim` (UDP 4000) and `me` (6000); `me` may ask `witness`
//! (UDP 4999) and the host (UDP 7001). On the plain bridge everybody may do everything.

use std::time::Duration;

use serde_json::{Value, json};

use super::talk::{Talk, watcher};
use crate::net::{Ns, Running, until};
use crate::world::{Container, FAMILIES, Neighbour, World};

/// One laboratory.
pub struct Lab {
    /// Whether walls are expected.
    pub walled: bool,
    /// All that the attacker can do, as it says itself.
    pub attacks: Vec<Value>,
    pub people: Vec<Container>,
    router: Ns,
    about: Value,
    attacker: Talk,
    watcher: Talk,
    servers: Vec<Running>,
    /// Ends last: what it holds lives in its containers.
    pub world: Option<World>,
}

impl Lab {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn furnish(
        walled: bool,
        people: [Container; 4],
        lan: &Neighbour,
        router: Ns,
        (gate_mac, gate4, gate6): &(String, String, String),
        uplink: Value,
        mut attacker: Talk,
        mut places: Vec<(&'static str, Ns, Value)>,
        world: Option<World>,
    ) -> Self {
        let who = |c: &Container| json!({ "mac": c.mac, "4": c.ip4, "6": c.ip6 });
        let [me, victim, friend, witness] = &people;
        let net4 = me.ip4.rsplit_once('.').expect("an address").0;
        let net6 = me.ip6.rsplit_once("::").expect("an address").0;
        let about = json!({
            "lab": { "rounds": if walled { 6 } else { 1 } },
            "me": who(me), "victim": who(victim), "friend": who(friend), "witness": who(witness),
            "nobody": { "mac": "02:00:00:00:00:99", "4": format!("{net4}.199"), "6": format!("{net6}::1:99") },
            "fresh": { "6": format!("{net6}::1:77") },
            "gate": { "mac": gate_mac, "4": gate4, "6": gate6 },
            "hop": { "4": gate4, "6": "fe80::1" },
            "host": { "4": Neighbour::host(4), "6": Neighbour::host(6) },
            "later": { "4": "192.168.60.1", "6": "fd60::1" },
            "lan": { "4": Neighbour::ip(4), "6": Neighbour::ip(6) },
            "uplink": uplink,
            "next": { "mac": "02:00:00:00:00:71", "4": format!("{net4}.71"), "6": format!("{net6}::71") },
            "later_yet": { "mac": "02:00:00:00:00:72", "4": format!("{net4}.72"), "6": format!("{net6}::72") },
        });
        let outside = if walled { Ns::host() } else { router.clone() };
        outside.must("ip addr add 192.168.60.1/24 dev lan0; ip addr add fd60::1/64 dev lan0 nodad");
        for (role, c) in [("victim", victim), ("friend", friend), ("witness", witness)] {
            places.push((role, c.ns.clone(), json!("eth0")));
        }
        places.push(("lan", lan.ns.clone(), json!("lan0")));
        places.push(("at-witness", witness.ns.clone(), json!(5999)));
        // Marks are taken in silence: who refused them would soon refuse nothing else.
        places.push(("marks", witness.ns.clone(), json!(4999)));
        places.push(("marks", lan.ns.clone(), json!(4999)));
        let watcher = watcher(&places);
        let mut servers = vec![lan.ns.serve("udp", "::", 9000)];
        servers.extend([victim.ns.serve("udp", "::", 4000), me.ns.serve("udp", "::", 6000)]);
        let attacks = attacker.ask(&about.to_string());
        let attacks = attacks.as_array().expect("its attacks").clone();
        let lab = Self {
            walled,
            attacks,
            people: people.to_vec(),
            router,
            about,
            attacker,
            watcher,
            servers,
            world,
        };
        lab.talk_before();
        lab
    }

    /// The flows that attacks speak of: friend:5000 -> victim:4000 and friend:7777 -> me:6000; and
    /// everybody has spoken to the gateway, so that on the plain bridge neighbours know each other.
    fn talk_before(&self) {
        let [me, victim, friend, _] = &self.people[..] else {
            unreachable!()
        };
        for family in FAMILIES {
            let outside = Neighbour::ip(family);
            for (to, port, sport) in [
                (victim.ip(family), "4000", "5000"),
                (me.ip(family), "6000", "7777"),
                (outside, "9000", "5001"),
            ] {
                // A datagram may be lost before neighbours know each other.
                let call = || friend.ns.wire(&["call", "udp", to, port, sport, "2"]);
                let out = (0..5).map(|_| call()).find(|out| out.ok());
                assert!(out.is_some(), "no answer from {to} {port}");
            }
            if !self.walled {
                for (from, to) in [
                    (victim, self.fill("{gate{f}}", family)),
                    (victim, friend.ip(family).into()),
                    (me, self.fill("{lan{f}}", family)),
                ] {
                    assert!(
                        until(Duration::from_secs(3), || from.ns.pings(&to)),
                        "{} to {to}",
                        from.name
                    );
                }
            }
        }
    }

    /// Puts addresses into a line: `{f}` the family, then `{friend4}`, `{victimmac}`.
    pub fn fill(&self, line: &str, family: u8) -> String {
        let mut line = line.replace("{f}", &family.to_string());
        for (role, who) in self.about.as_object().into_iter().flatten() {
            for (key, value) in who.as_object().into_iter().flatten() {
                line = line.replace(&format!("{{{role}{key}}}"), value.as_str().unwrap_or_default());
            }
        }
        line
    }

    /// An address of somebody in this laboratory.
    pub fn address(&self, role: &str, family: u8) -> &str {
        self.about[role][family.to_string()].as_str().expect("a role")
    }

    #[track_caller]
    pub fn person(&self, name: &str) -> &Container {
        self.people.iter().find(|c| c.name == name).expect("a person")
    }

    /// What a line of shell prints at one of the places.
    pub fn look(&self, place: &str, line: &str) -> String {
        let ns = match place {
            "router" => &self.router,
            _ => &self.person(place).ns,
        };
        ns.sh(line).stdout
    }

    /// Lets the attacker act; what it learned.
    #[track_caller]
    pub fn act(&mut self, name: &str, family: u8, token: &str) -> Value {
        self.attacker
            .ask(&json!({ "do": name, "family": family, "token": token }).to_string())
    }

    /// Waits until all that was sent has been dealt with.
    #[track_caller]
    pub fn settle(&mut self, token: &str) {
        self.attacker
            .ask(&json!({ "do": "mark", "token": token }).to_string());
        let answer = self.watcher.ask(&format!("wait {token} witness lan"));
        assert_eq!(answer["missing"], json!([]), "the mark did not arrive");
    }

    /// Takes away what the laboratory itself did. True errors pass then: who asks where nobody serves
    /// any more is told so. Nothing else is left to mend.
    pub fn tidy(&mut self) {
        self.servers.clear();
        self.look("victim", &self.fill("ip -6 addr del {fresh6}/64 dev eth0", 6));
        let Some(world) = &self.world else { return };
        Ns::host().must("ip addr del 192.168.60.1/24 dev lan0; ip addr del fd60::1/64 dev lan0");
        world.ok(&["ps"]);
        let (victim, friend) = (self.person("victim"), self.person("friend"));
        for family in FAMILIES {
            for (to, port) in [(victim.ip(family), "4000"), (Neighbour::ip(family), "9000")] {
                // Errors are rationed, and the attacks used some of the ration.
                let call = || friend.ns.wire(&["call", "udp", to, port, "0", "2"]);
                let refused = (0..5).any(|_| call().stderr.contains("refused"));
                assert!(refused, "nobody said that {to} does not serve {port}");
            }
        }
        world.is_clean();
    }

    /// What came where, by token, since the last time.
    #[track_caller]
    pub fn seen(&mut self) -> Value {
        let answer = self.watcher.ask("drain");
        assert_eq!(answer["lost"], 0, "the capture lost frames");
        answer["seen"].clone()
    }
}
