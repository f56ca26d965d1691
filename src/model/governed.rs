//! Containers in networks whose default policy is Kubernetes', as the pods of a cluster, and what policies say of them.
//!
//! A container's labels are the pod's. Which namespace it is in, what the pod is called and which ports have names,
//! is said by labels, too: [`NAMESPACE`], [`POD`] and [`PORT`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::policy::{
    Cluster, Direction, Engine, NAMESPACE_NAME, Namespace, OUTSIDE, Pod, PodId, PodPort, Policy, PortNumbers,
    Rule as PolicyRule, Standing, Verdict, words,
};
use super::{
    Decision, DefaultPolicy, Endpoint, Family, Name, Party, Ports, Proto, Reason, Router, Rule, Service,
    World,
};

/// The label that says which namespace a container is in; without it, `default`.
pub const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// The label that says what its pod is called; without it, the container's name.
pub const POD: &str = "io.kubernetes.pod.name";
/// The beginning of labels that name ports: `moat.dev/port.http=80/tcp`.
pub const PORT: &str = "moat.dev/port.";

/// More containers than this have more pairs than anybody could see in a picture.
const DRAWN: usize = 100;

/// Policies that were applied, and the namespaces that came with them.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    pub policies: Vec<Policy>,
    pub namespaces: BTreeMap<String, Namespace>,
    /// What tells these from others.
    pub texts: Vec<String>,
}

impl PartialEq for Applied {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Applied {}

/// The containers that policies govern in one router.
#[derive(Clone, Debug)]
pub struct Governed {
    pub engine: Arc<Engine>,
    pods: BTreeMap<Name, PodId>,
    applied: Arc<Applied>,
}

/// The world around says the rest: endpoints and networks.
impl PartialEq for Governed {
    fn eq(&self, other: &Self) -> bool {
        self.pods == other.pods && self.applied == other.applied
    }
}

impl Eq for Governed {}

impl Governed {
    /// Those of every router that has a network with policies; of the containers that `counts`.
    #[must_use]
    pub fn all(
        world: &World,
        applied: &Arc<Applied>,
        counts: &dyn Fn(&Name) -> bool,
    ) -> BTreeMap<Router, Self> {
        let networks = world
            .networks
            .values()
            .filter(|n| n.default_policy == DefaultPolicy::Kubernetes);
        let routers: BTreeSet<Router> = networks.map(|n| n.router).collect();
        let each = routers.into_iter().map(|router| {
            let of = |e: &&Endpoint| governs(world, e) == Some(router) && counts(&e.container);
            let endpoints = world.endpoints.values().filter(of);
            (router, Self::new(world, endpoints, applied))
        });
        each.collect()
    }

    fn new<'w>(world: &World, endpoints: impl Iterator<Item = &'w Endpoint>, applied: &Arc<Applied>) -> Self {
        let mut found: Vec<(Pod, Name)> = endpoints.map(|e| (pod(world, e), e.container.clone())).collect();
        found.sort_by(|(a, x), (b, y)| (&a.namespace, &a.name, x).cmp(&(&b.namespace, &b.name, y)));
        let mut namespaces = applied.namespaces.clone();
        for (pod, _) in &found {
            let name = &pod.namespace;
            namespaces.entry(name.clone()).or_insert_with(|| Namespace {
                labels: BTreeMap::from([(NAMESPACE_NAME.to_owned(), name.clone())]),
                place: None,
            });
        }
        let pods = (0..)
            .map(PodId)
            .zip(&found)
            .map(|(id, (_, name))| (name.clone(), id))
            .collect();
        let cluster = Cluster {
            namespaces,
            pods: found.into_iter().map(|(pod, _)| pod).collect(),
            nodes: vec![],
        };
        Self {
            engine: Arc::new(Engine::new(cluster, applied.policies.clone())),
            pods,
            applied: Arc::clone(applied),
        }
    }

    /// The pod of a container.
    #[must_use]
    pub fn pod(&self, container: &Name) -> Option<PodId> {
        self.pods.get(container).copied()
    }

    /// The single ports that policies and containers name.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<(Proto, u16)> {
        let rules = rules(&self.engine).flat_map(|r| r.ports.iter().flatten());
        let single = rules.filter_map(|p| match p.ports {
            PortNumbers::Range(first, last) if first == last => Some((p.proto?, first)),
            _ => None,
        });
        let pods = self.engine.cluster.pods.iter().flat_map(|p| &p.ports);
        single.chain(pods.map(|p| (p.proto, p.port))).collect()
    }

    /// The policies that select a container.
    #[must_use]
    pub fn selected_by(&self, container: &Name) -> Vec<String> {
        let Some(pod) = self.pod(container) else {
            return vec![];
        };
        let policies = self.engine.policies.iter().enumerate();
        let selecting = policies.filter(|(n, _)| self.engine.subject(*n).contains(pod));
        selecting.map(|(_, p)| p.title()).collect()
    }

    /// What policies let pass, of the ports that somebody names, where one speaks of what the sender sends or of
    /// what the receiver receives; nothing where there are more containers than a picture can show.
    #[must_use]
    pub fn granted(&self) -> Vec<(Name, Name, BTreeSet<Service>)> {
        let selected = |pod: PodId, direction: Direction| {
            let mut policies = self.engine.policies.iter().enumerate();
            policies.any(|(n, p)| p.rules(direction).is_some() && self.engine.subject(n).contains(pod))
        };
        let ports = self.ports();
        let single = |(proto, port): &(Proto, u16)| {
            let (first, last) = (*port, *port);
            Service::Ports(*proto, Ports { first, last })
        };
        let mut all = vec![];
        if self.pods.len() > DRAWN {
            return all;
        }
        for (from, a) in &self.pods {
            for (to, b) in self.pods.iter().filter(|(to, _)| *to != from) {
                if !selected(*a, Direction::Egress) && !selected(*b, Direction::Ingress) {
                    continue;
                }
                let has = |f: &Family| {
                    [a, b]
                        .iter()
                        .all(|p| self.engine.cluster.pod(**p).address(*f).is_some())
                };
                let families: Vec<Family> = Family::BOTH.into_iter().filter(has).collect();
                let passes = |service: &Service| {
                    let passes = |f: &Family| decide(&self.engine, *a, *b, *service, *f).allowed;
                    !families.is_empty() && families.iter().all(passes)
                };
                let services: BTreeSet<Service> = if passes(&Service::Any) {
                    BTreeSet::from([Service::Any])
                } else {
                    ports.iter().map(single).filter(passes).collect()
                };
                if !services.is_empty() {
                    all.push((from.clone(), to.clone(), services));
                }
            }
        }
        all
    }

    /// What policies say of a flow between two containers.
    #[must_use]
    pub fn between(&self, from: &Name, to: &Name, service: Service, family: Family) -> Option<Decision> {
        let (from, to) = (self.pod(from)?, self.pod(to)?);
        Some(decide(&self.engine, from, to, service, family))
    }

    /// What policies say of a flow from a container to an address that is no container's.
    #[must_use]
    pub fn outwards(&self, from: &Name, to: &Party, service: Service, family: Family) -> Option<Decision> {
        let from = self.pod(from)?;
        let (address, named) = match to {
            Party::Address(ip) => (*ip, ip.to_string()),
            _ => (somewhere(family), "the world".to_owned()),
        };
        let mut cluster = self.engine.cluster.clone();
        let beyond = PodId(cluster.pods.len() as u32);
        cluster.pods.push(Pod {
            namespace: OUTSIDE.to_owned(),
            name: named,
            labels: BTreeMap::new(),
            ports: vec![],
            ip4: (family == Family::Ip4).then_some(address),
            ip6: (family == Family::Ip6).then_some(address),
            standing: Standing::Outside,
            workload: None,
            place: None,
        });
        let engine = Engine::new(cluster, self.engine.policies.clone());
        Some(decide(&engine, from, beyond, service, family))
    }
}

/// The router whose policies govern an endpoint.
fn governs(world: &World, e: &Endpoint) -> Option<Router> {
    let network = world.networks.get(&e.network)?;
    (network.default_policy == DefaultPolicy::Kubernetes).then_some(network.router)
}

/// An address that stands for all of the world: of those kept for documents (RFC 5737, RFC 3849).
fn somewhere(family: Family) -> IpAddr {
    match family {
        Family::Ip4 => std::net::Ipv4Addr::new(198, 51, 100, 1).into(),
        Family::Ip6 => std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    }
}

fn pod(world: &World, e: &Endpoint) -> Pod {
    let label = |key: &str| e.labels.get(key).filter(|v| !v.is_empty());
    let named = e.labels.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix(PORT)?;
        let Ok(Service::Ports(proto, ports)) = value.parse() else {
            return None;
        };
        Some((Some(name.to_owned()), proto, ports.first))
    });
    let published = world.published.iter().filter(|p| p.container == e.container);
    let published = published.map(|p| (None, p.proto, p.port));
    let ports = named
        .chain(published)
        .map(|(name, proto, port)| PodPort { port, proto, name });
    Pod {
        namespace: label(NAMESPACE).map_or("default", String::as_str).to_owned(),
        name: label(POD).cloned().unwrap_or_else(|| e.container.to_string()),
        labels: e.labels.clone(),
        ports: ports.collect(),
        ip4: e.address(Family::Ip4),
        ip6: e.address(Family::Ip6),
        standing: Standing::Inside,
        workload: None,
        place: None,
    }
}

/// The decision for all of a service: the first part of it that is denied, or what lets it pass.
fn decide(engine: &Engine, from: PodId, to: PodId, service: Service, family: Family) -> Decision {
    let mut allowed: Option<Decision> = None;
    for (port, proto) in parts(engine, service) {
        let verdict = engine.decide(from, to, port, proto, family);
        let decision = said(engine, &verdict, (port, proto));
        if !decision.allowed {
            return decision;
        }
        allowed.get_or_insert(decision);
    }
    allowed.unwrap_or_else(|| Decision::no(Rule::Policy, "nothing is asked for".to_owned(), None))
}

fn said(engine: &Engine, verdict: &Verdict, asked: (u16, Proto)) -> Decision {
    let reason = Reason {
        rule: Rule::Policy,
        text: words::because(engine, verdict, asked),
    };
    Decision {
        allowed: verdict.allowed,
        because: vec![reason],
        change: None,
    }
}

fn rules(engine: &Engine) -> impl Iterator<Item = &PolicyRule> {
    let of = |p| {
        Direction::BOTH
            .into_iter()
            .flat_map(move |d| Policy::rules(p, d).unwrap_or_default())
    };
    engine.policies.iter().flat_map(of)
}

/// Ports at which decisions can change, for each protocol of a service: between two of them all are alike.
fn parts(engine: &Engine, service: Service) -> Vec<(u16, Proto)> {
    let (protos, first, last) = match service {
        Service::Any => (
            vec![Proto::Tcp, Proto::Udp, Proto::Sctp, Proto::Icmp],
            1,
            u16::MAX,
        ),
        Service::Proto(proto) => (vec![proto], 1, u16::MAX),
        Service::Ports(proto, ports) => (vec![proto], ports.first, ports.last),
    };
    let mut edges = BTreeSet::from([first]);
    if first < last {
        for port in rules(engine).flat_map(|r| r.ports.iter().flatten()) {
            match &port.ports {
                PortNumbers::Every => {}
                PortNumbers::Range(a, b) => edges.extend([*a, b.saturating_add(1)]),
                PortNumbers::Named(name) => {
                    let numbers = engine.named(name).map(|((_, port), _)| port);
                    edges.extend(numbers.flat_map(|n| [n, n.saturating_add(1)]));
                }
            }
        }
    }
    edges.retain(|p| (first..=last).contains(p));
    let each = |proto: Proto| {
        let edges = if proto == Proto::Icmp {
            vec![0]
        } else {
            edges.iter().copied().collect()
        };
        edges.into_iter().map(move |port| (port, proto))
    };
    protos.into_iter().flat_map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::{Source, read};
    use crate::model::{Mac, Network};

    const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: db, namespace: shop}\nspec:\n  \
                          podSelector: {matchLabels: {app: db}}\n  policyTypes: [Ingress, Egress]\n  ingress:\n  - ports: [{port: 80, endPort: 90}, {port: sql}]\n  \
                          egress:\n  - to: [{ipBlock: {cidr: 192.0.2.0/24}}]\n";

    fn endpoint(n: u8, labels: &[(&str, &str)]) -> Endpoint {
        let name: Name = labels[0].1.parse().unwrap();
        Endpoint {
            id: u32::from(n),
            container: name,
            network: "k".parse().unwrap(),
            addresses: vec![[10, 9, 0, n].into()],
            mac: Mac([2, 0, 0, 0, 0, n]),
            labels: labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            bridge: 1,
            iface: "eth0".into(),
            aliases: vec![],
            routes: vec![],
            foreign: None,
            further: false,
        }
    }

    fn world() -> World {
        let network = Network {
            name: "k".parse().unwrap(),
            subnets: vec!["10.9.0.0/16".parse().unwrap()],
            internal: false,
            router: Router::Own,
            default_policy: DefaultPolicy::Kubernetes,
            mtu: 1500,
            gateways: vec![],
            masquerade: true,
            foreign: false,
        };
        let mut world = World::default();
        world.networks.insert(network.name.clone(), network);
        for e in [
            endpoint(
                2,
                &[
                    ("app", "db"),
                    (NAMESPACE, "shop"),
                    ("moat.dev/port.sql", "5432/tcp"),
                ],
            ),
            endpoint(3, &[("app", "web")]),
        ] {
            world.endpoints.insert(e.container.clone(), e);
        }
        let source = Source {
            name: "p.yaml".into(),
            text: POLICY.into(),
        };
        let read = read(&[source]).unwrap();
        let applied = Arc::new(Applied {
            policies: read.policies,
            ..Applied::default()
        });
        world.governed = Governed::all(&world, &applied, &|_| true);
        world
    }

    #[test]
    fn services_are_decided_whole() {
        let world = world();
        let asks = |from: &str, to: &str, service: &str| {
            let party = |name: &str| match name.parse() {
                Ok(ip) => Party::Address(ip),
                Err(_) => Party::Container(name.parse().unwrap()),
            };
            let flow = crate::model::Flow {
                from: party(from),
                to: party(to),
                service: service.parse().unwrap(),
                family: Family::Ip4,
            };
            crate::model::decide(&world, &flow)
        };
        for (from, to, service, allowed) in [
            ("web", "db", "80/tcp", true),
            ("web", "db", "80-90/tcp", true),
            ("web", "db", "80-91/tcp", false),
            ("web", "db", "5432/tcp", true),
            ("web", "db", "5432/udp", false),
            ("web", "db", "tcp", false),
            ("web", "db", "icmp", false),
            ("db", "web", "80/tcp", false),
            ("db", "192.0.2.7", "443/tcp", true),
            ("db", "192.0.2.7", "icmp", true),
            ("db", "198.18.0.1", "443/tcp", false),
            ("web", "198.18.0.1", "443/tcp", true),
        ] {
            let decision = asks(from, to, service);
            assert_eq!(decision.allowed, allowed, "{from} {to} {service}: {decision:?}");
        }
        let denied = asks("web", "db", "91/tcp");
        assert!(
            denied.because[0].text.contains("but port 91 is not in 80-90"),
            "{denied:?}"
        );
        assert_eq!(denied.change.as_deref(), Some("moat link web db:91/tcp"));
    }

    #[test]
    fn pictures_show_what_policies_grant() {
        let world = world();
        let governed = &world.governed[&Router::Own];
        let granted = governed.granted();
        // To `web` nothing of what `db` sends may go; and of what `web` receives no policy speaks.
        let [(from, to, services)] = &granted[..] else {
            panic!("{granted:?}")
        };
        assert_eq!((from.as_str(), to.as_str()), ("web", "db"));
        // A range is no single port; that of the name is.
        assert_eq!(services, &BTreeSet::from(["5432/tcp".parse().unwrap()]));
        assert_eq!(governed.selected_by(&"db".parse().unwrap()), ["shop/db"]);
    }
}
