//! Random policies and pods, decided by an oracle that knows nothing of the model: it has types of its own, says
//! what the documentation of Kubernetes says, one flow at a time, and hands the model its world as a manifest.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Engine, Source, cells, read};
use crate::model::{Family, Proto};

#[derive(Clone, Debug)]
struct Pod {
    space: usize,
    labels: BTreeMap<String, String>,
    /// The last number of its address.
    host: u8,
    /// What it calls `web`.
    web: u16,
}

#[derive(Clone, Debug)]
enum Need {
    Is(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

type Select = Vec<Need>;

#[derive(Clone, Debug)]
enum Peer {
    Pods(Option<Select>, Option<Select>),
    /// 10.0.0.0/length of one last number, except a longer one.
    Block(u8, u8, Option<u8>),
}

#[derive(Clone, Debug)]
struct Port {
    proto: Option<&'static str>,
    /// `None`: every port; an empty name is `web`.
    port: Option<u16>,
    web: bool,
    end: Option<u16>,
}

#[derive(Clone, Debug)]
struct Rule {
    peers: Option<Vec<Peer>>,
    ports: Option<Vec<Port>>,
    action: &'static str,
}

#[derive(Clone, Debug)]
struct Policy {
    /// `None` is a NetworkPolicy, else whether the tier is Admin.
    admin: Option<bool>,
    space: usize,
    spaces: Select,
    pods: Select,
    types: Option<Vec<&'static str>>,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
}

#[derive(Clone, Debug)]
pub struct World {
    spaces: Vec<BTreeMap<String, String>>,
    pods: Vec<Pod>,
    policies: Vec<Policy>,
}

// ---- what is random

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "x", "y"]).prop_map(str::to_owned)
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(key(), value(), 0..3)
}

fn select() -> impl Strategy<Value = Select> {
    let values = || prop::collection::vec(value(), 1..3);
    let need = prop_oneof![
        (key(), value()).prop_map(|(k, v)| Need::Is(k, v)),
        (key(), values()).prop_map(|(k, v)| Need::In(k, v)),
        (key(), values()).prop_map(|(k, v)| Need::NotIn(k, v)),
        key().prop_map(Need::Exists),
        key().prop_map(Need::Absent),
    ];
    prop::collection::vec(need, 0..3).prop_map(|needs| {
        // `matchLabels` holds each key once.
        let mut seen = vec![];
        needs
            .into_iter()
            .filter(|n| match n {
                Need::Is(k, _) if seen.contains(k) => false,
                Need::Is(k, _) => {
                    seen.push(k.clone());
                    true
                }
                _ => true,
            })
            .collect()
    })
}

fn peer(admin: bool) -> BoxedStrategy<Peer> {
    if admin {
        return (select(), prop::option::of(select()))
            .prop_map(|(n, p)| Peer::Pods(Some(n), p))
            .boxed();
    }
    let pods = prop_oneof![
        select().prop_map(|s| Peer::Pods(Some(s), None)),
        select().prop_map(|s| Peer::Pods(None, Some(s))),
        (select(), select()).prop_map(|(n, p)| Peer::Pods(Some(n), Some(p))),
    ];
    let block = (0u8..8, 29u8..32, prop::bool::ANY).prop_map(|(host, length, hole)| {
        let host = host & (255u32 << (32 - length)) as u8;
        Peer::Block(host, length, hole.then_some(host))
    });
    prop_oneof![3 => pods, 1 => block].boxed()
}

fn port(admin: bool) -> impl Strategy<Value = Port> {
    let number = prop::sample::select(vec![53u16, 79, 80, 81]);
    let proto = prop::sample::select(vec![None, Some("TCP"), Some("UDP")]);
    (
        proto,
        prop::option::of(number),
        prop::bool::ANY,
        prop::option::of(0u16..3),
    )
        .prop_map(move |(proto, port, web, more)| Port {
            // The admin tiers have a protocol for numbers, and none for names.
            proto: if admin {
                (!web).then_some(proto.unwrap_or("TCP"))
            } else {
                proto
            },
            port: port.filter(|_| !web),
            web,
            end: port.filter(|_| !web).and_then(|p| Some(p + more?)),
        })
}

fn rules(admin: bool) -> impl Strategy<Value = Option<Vec<Rule>>> {
    let least = usize::from(admin);
    let peers = prop::collection::vec(peer(admin), least..3);
    let peers = if admin {
        peers.prop_map(Some).boxed()
    } else {
        prop::option::of(peers).boxed()
    };
    let ports = prop::option::of(prop::collection::vec(port(admin), least..3));
    let action = prop::sample::select(vec!["Accept", "Deny", "Pass"]);
    let rule = (peers, ports, action).prop_map(|(peers, ports, action)| Rule { peers, ports, action });
    prop::option::of(prop::collection::vec(rule, 0..3))
}

fn policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(vec![None, None, Some(true), Some(false)]).prop_flat_map(|admin| {
        let types = prop::sample::subsequence(vec!["Ingress", "Egress"], 0..=2);
        let about = (0usize..2, select(), select(), prop::option::of(types));
        (about, rules(admin.is_some()), rules(admin.is_some())).prop_map(
            move |((space, spaces, pods, types), ingress, egress)| Policy {
                admin,
                space,
                spaces,
                pods,
                types,
                ingress,
                egress,
            },
        )
    })
}

pub fn world() -> impl Strategy<Value = World> {
    let pod = (0usize..2, labels(), prop::sample::select(vec![80u16, 81]));
    (
        prop::collection::vec(labels(), 2),
        prop::collection::vec(pod, 2..6),
        prop::collection::vec(policy(), 0..5),
    )
        .prop_map(|(spaces, pods, policies)| World {
            spaces,
            pods: pods
                .into_iter()
                .zip(1u8..)
                .map(|((space, labels, web), host)| Pod {
                    space,
                    labels,
                    host,
                    web,
                })
                .collect(),
            policies,
        })
}

// ---- what the documentation says

fn selects(select: &Select, labels: &BTreeMap<String, String>) -> bool {
    select.iter().all(|need| match need {
        Need::Is(k, v) => labels.get(k) == Some(v),
        Need::In(k, vs) => labels.get(k).is_some_and(|v| vs.contains(v)),
        Need::NotIn(k, vs) => !labels.get(k).is_some_and(|v| vs.contains(v)),
        Need::Exists(k) => labels.contains_key(k),
        Need::Absent(k) => !labels.contains_key(k),
    })
}

impl World {
    fn is_peer(&self, policy: &Policy, peer: &Peer, pod: &Pod) -> bool {
        match peer {
            Peer::Pods(spaces, pods) => {
                let space = match spaces {
                    Some(select) => selects(select, &self.spaces[pod.space]),
                    None => pod.space == policy.space,
                };
                space && pods.as_ref().is_none_or(|p| selects(p, &pod.labels))
            }
            Peer::Block(host, length, hole) => {
                let mask = (255u32 << (32 - length)) as u8;
                pod.host & mask == *host && hole.is_none_or(|h| pod.host != h)
            }
        }
    }

    fn matches(&self, policy: &Policy, rule: &Rule, peer: &Pod, receiver: &Pod, to: (u16, &str)) -> bool {
        let by_peer = match &rule.peers {
            None => true,
            Some(peers) if peers.is_empty() => true,
            Some(peers) => peers.iter().any(|p| self.is_peer(policy, p, peer)),
        };
        let by_port = match &rule.ports {
            None => true,
            Some(ports) if ports.is_empty() => true,
            Some(ports) => ports.iter().any(|p| {
                let proto = match (p.proto, policy.admin, p.web) {
                    (Some(proto), ..) => proto == to.1,
                    // Names of the admin tiers are for any protocol; `web` is TCP everywhere here.
                    (None, Some(_), true) => true,
                    (None, ..) => to.1 == "TCP",
                };
                let number = match (p.web, p.port) {
                    (true, _) => to.1 == "TCP" && to.0 == receiver.web,
                    (false, None) => true,
                    (false, Some(first)) => first <= to.0 && to.0 <= p.end.unwrap_or(first),
                };
                proto && number
            }),
        };
        by_peer && by_port
    }

    fn side(&self, ingress: bool, subject: &Pod, peer: &Pod, receiver: &Pod, to: (u16, &str)) -> bool {
        let of = |p: &Policy| {
            if ingress {
                p.ingress.clone()
            } else {
                p.egress.clone()
            }
            .unwrap_or_default()
        };
        let mine = |p: &&Policy| {
            let space = match p.admin {
                None => p.space == subject.space,
                Some(_) => selects(&p.spaces, &self.spaces[subject.space]),
            };
            space && selects(&p.pods, &subject.labels)
        };
        // Priorities are the order of the list.
        let tier = |admin: bool| {
            let policies = self
                .policies
                .iter()
                .filter(|p| p.admin == Some(admin))
                .filter(mine);
            let mut rules = policies.flat_map(|p| of(p).into_iter().map(move |r| (p, r)));
            let found = rules.find(|(p, r)| self.matches(p, r, peer, receiver, to));
            found.map(|(_, r)| r.action)
        };
        match tier(true) {
            Some("Accept") => return true,
            Some("Deny") => return false,
            _ => {}
        }
        let governs = |p: &&Policy| match p.types.as_deref() {
            None | Some([]) => ingress || !of(p).is_empty(),
            Some(types) => types.contains(if ingress { &"Ingress" } else { &"Egress" }),
        };
        let isolating: Vec<&Policy> = (self.policies.iter())
            .filter(|p| p.admin.is_none())
            .filter(mine)
            .filter(governs)
            .collect();
        if !isolating.is_empty() {
            return isolating
                .iter()
                .any(|p| of(p).iter().any(|r| self.matches(p, r, peer, receiver, to)));
        }
        tier(false) != Some("Deny")
    }

    /// Whether pod number `from` may reach pod number `to`, which bear their numbers in their names.
    pub fn allowed(&self, from: usize, to: usize, service: (u16, &str)) -> bool {
        let (a, b) = (&self.pods[from], &self.pods[to]);
        from == to || (self.side(false, a, b, b, service) && self.side(true, b, a, b, service))
    }
}

// ---- the same world as a manifest

fn select_json(select: &Select) -> Value {
    let (mut labels, mut expressions) = (serde_json::Map::new(), vec![]);
    for need in select {
        match need {
            Need::Is(k, v) => {
                labels.insert(k.clone(), json!(v));
            }
            Need::In(k, v) => expressions.push(json!({"key": k, "operator": "In", "values": v})),
            Need::NotIn(k, v) => expressions.push(json!({"key": k, "operator": "NotIn", "values": v})),
            Need::Exists(k) => expressions.push(json!({"key": k, "operator": "Exists"})),
            Need::Absent(k) => expressions.push(json!({"key": k, "operator": "DoesNotExist"})),
        }
    }
    json!({"matchLabels": labels, "matchExpressions": expressions})
}

fn peer_json(admin: bool, peer: &Peer) -> Value {
    match peer {
        Peer::Pods(spaces, pods) if admin => match pods {
            None => json!({"namespaces": select_json(spaces.as_ref().unwrap())}),
            Some(pods) => json!({"pods": {
                "namespaceSelector": select_json(spaces.as_ref().unwrap()),
                "podSelector": select_json(pods),
            }}),
        },
        Peer::Pods(spaces, pods) => json!({
            "namespaceSelector": spaces.as_ref().map(select_json),
            "podSelector": pods.as_ref().map(select_json),
        }),
        Peer::Block(host, length, hole) => {
            let except: Vec<String> = hole.iter().map(|h| format!("10.0.0.{h}/32")).collect();
            json!({"ipBlock": {"cidr": format!("10.0.0.{host}/{length}"), "except": except}})
        }
    }
}

fn port_json(admin: bool, port: &Port) -> Value {
    if admin && port.web {
        return json!({"destinationNamedPort": "web"});
    }
    if admin {
        let proto = port.proto.unwrap().to_lowercase();
        let inner = match (port.port, port.end) {
            (None, _) => json!({}),
            (Some(n), None) => json!({"destinationPort": {"number": n}}),
            (Some(n), Some(end)) => json!({"destinationPort": {"range": {"start": n, "end": end}}}),
        };
        return json!({proto: inner});
    }
    let number = if port.web { json!("web") } else { json!(port.port) };
    json!({"protocol": port.proto, "port": number, "endPort": port.end})
}

fn rules_json(admin: bool, peers_key: &str, rules: &Option<Vec<Rule>>) -> Value {
    let rule = |r: &Rule| {
        let peers: Option<Vec<_>> = r
            .peers
            .as_ref()
            .map(|p| p.iter().map(|p| peer_json(admin, p)).collect());
        let ports: Option<Vec<_>> = r
            .ports
            .as_ref()
            .map(|p| p.iter().map(|p| port_json(admin, p)).collect());
        if admin {
            return json!({"action": r.action, peers_key: peers, "protocols": ports});
        }
        json!({peers_key: peers, "ports": ports})
    };
    json!(rules.as_ref().map(|r| r.iter().map(rule).collect::<Vec<_>>()))
}

impl World {
    pub fn manifest(&self) -> String {
        let mut items = vec![];
        for (n, labels) in self.spaces.iter().enumerate() {
            items.push(json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": format!("s{n}"), "labels": labels}}));
        }
        for (n, pod) in self.pods.iter().enumerate() {
            items.push(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("p{n}"), "namespace": format!("s{}", pod.space), "labels": pod.labels},
                "spec": {"containers": [{"name": "c", "ports": [
                    {"containerPort": pod.web, "name": "web"},
                    {"containerPort": 161 - pod.web, "protocol": "TCP"},
                    {"containerPort": 53, "protocol": "UDP"}]}]},
                "status": {"podIP": format!("10.0.0.{}", pod.host)}}));
        }
        for (n, policy) in self.policies.iter().enumerate() {
            let admin = policy.admin.is_some();
            let (ingress, egress) = (
                rules_json(admin, "from", &policy.ingress),
                rules_json(admin, "to", &policy.egress),
            );
            let name = format!("n{n}");
            items.push(match policy.admin {
                None => json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                    "metadata": {"name": name, "namespace": format!("s{}", policy.space)},
                    "spec": {"podSelector": select_json(&policy.pods), "policyTypes": policy.types,
                        "ingress": ingress, "egress": egress}}),
                Some(first) => {
                    json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
                    "metadata": {"name": name},
                    "spec": {"tier": if first { "Admin" } else { "Baseline" }, "priority": n,
                        "subject": {"pods": {"namespaceSelector": select_json(&policy.spaces),
                            "podSelector": select_json(&policy.pods)}},
                        "ingress": ingress, "egress": egress}})
                }
            });
        }
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn rows_and_reasons_say_what_the_documentation_says(world in world()) {
        let source = Source { name: "world.json".into(), text: world.manifest() };
        let read = read(&[source]).map_err(|e| TestCaseError::fail(format!("{e}\n{}", world.manifest())))?;
        let engine = Engine::new(read.cluster, read.policies);
        let served = |id| engine.cluster.pod(id).services();
        let mut seen = 0;
        for cell in cells(&engine, &[Family::Ip4], &served, &mut |_, _| {}) {
            let number = |id| -> usize { engine.cluster.pod(id).name[1..].parse().unwrap() };
            let (from, to) = (cell.from, cell.to);
            let proto = if cell.proto == Proto::Udp { "UDP" } else { "TCP" };
            let wanted = world.allowed(number(from), number(to), (cell.port, proto));
            let verdict = engine.decide(from, to, cell.port, cell.proto, cell.family);
            prop_assert_eq!(
                [cell.decided, verdict.allowed], [wanted; 2],
                "p{} -> p{} {}/{}\n{}", number(from), number(to), cell.port, proto, world.manifest()
            );
            seen += 1;
        }
        prop_assert_eq!(seen, world.pods.len() * world.pods.len() * 3);
    }
}
