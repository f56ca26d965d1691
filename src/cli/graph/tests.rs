//! The same pictures in every format: DOT, Mermaid and text as golden files
//! (`MOAT_BLESS=1 cargo test golden` writes them anew), SVG read back by an XML parser.

use proptest::prelude::*;
use roxmltree::{Document, Node as Element};

use super::{dot, mermaid, svg, text};
use crate::cli::args::{Colour, Global};
use crate::cli::print::Printer;
use crate::model::picture::Means;
use crate::model::{
    DefaultPolicy, End, Endpoint, Family, Link, Mac, Name, Network, Picture, Published, Router, Subnet, World,
};

fn network(n: u8, name: &str, internal: bool) -> Network {
    Network {
        name: name.parse().unwrap(),
        subnets: vec![format!("10.{n}.0.0/16").parse::<Subnet>().unwrap()],
        internal,
        router: Router::Own,
        default_policy: DefaultPolicy::Isolated,
        mtu: 1500,
        gateways: vec![],
        masquerade: true,
        foreign: false,
    }
}

fn endpoint(id: u32, name: &str, net: &Network, labels: &[(&str, &str)]) -> Endpoint {
    let base = net.subnet(Family::Ip4).unwrap().gateway().to_string();
    let address = base.replace(".0.1", &format!(".0.{}", id + 2));
    Endpoint {
        id,
        container: name.parse().unwrap(),
        network: net.name.clone(),
        addresses: vec![address.parse().unwrap()],
        mac: Mac([2, 0, 0, 0, 0, u8::try_from(id % 250).unwrap()]),
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        bridge: 1,
        iface: "eth0".to_owned(),
        aliases: vec![],
        routes: vec![],
        foreign: None,
        further: false,
    }
}

fn link(from: &str, to: &str) -> Link {
    let (to, service) = End::with_service(to).unwrap();
    Link {
        from: End::from_end(from).unwrap(),
        to,
        service,
        expires: None,
    }
}

fn published(container: &str, host_ip: Option<&str>, host_port: u16, port: u16) -> Published {
    Published {
        container: container.parse().unwrap(),
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port,
        port,
        proto: crate::model::Proto::Tcp,
    }
}

fn world(networks: Vec<Network>, endpoints: Vec<Endpoint>, links: &[(&str, &str)]) -> World {
    World {
        networks: networks.into_iter().map(|n| (n.name.clone(), n)).collect(),
        endpoints: (endpoints.into_iter())
            .map(|e| (e.container.clone(), e))
            .collect(),
        links: links.iter().map(|(from, to)| link(from, to)).collect(),
        published: vec![],
        host: vec![],
        ..World::default()
    }
}

/// Every kind of end, and what has to be escaped.
fn everything() -> Picture {
    let (front, back) = (network(9, "front", false), network(8, "back", true));
    let ends = vec![
        endpoint(0, "lb", &front, &[]),
        endpoint(1, "web-1", &front, &[("app", "web")]),
        endpoint(2, "web-2", &front, &[("app", "web")]),
        endpoint(3, "db", &back, &[("k", "<\"&'\\\u{7}>#[")]),
        endpoint(4, "quiet", &back, &[]),
    ];
    let links = [
        ("lb", "web-1:80/tcp"),
        ("lb", "web-2:80/tcp"),
        ("lb", "web-2"),
        ("label:app=web", "label:k=<\"&'\\\u{7}>#[:5432/tcp"),
        ("label:app=web", "host:8125/udp"),
        ("web-1", "world:443/tcp"),
        ("web-1", "db:icmp"),
        ("web-1", "db:6379-6380/tcp"),
        ("web-2", "gone:80/tcp"),
        ("db", "[2001:db8::/32]:443/tcp"),
    ];
    let mut world = world(vec![front, back], ends, &links);
    world.published = vec![
        published("lb", None, 8080, 80),
        published("lb", Some("192.0.2.1"), 8443, 443),
        published("lb", Some("127.0.0.1"), 9000, 9000),
    ];
    Picture::of(&world, &["hermit".parse::<Name>().unwrap()])
}

fn plain() -> Printer {
    let global = Global {
        root: "/run/moat".into(),
        data: "/var/lib/moat".into(),
        json: false,
        dry_run: false,
        quiet: false,
        color: Colour::Never,
    };
    Printer::new(&global, false)
}

fn compare(name: &str, wanted: &str, found: &str) {
    if std::env::var_os("MOAT_BLESS").is_some() {
        let path = format!("{}/src/cli/graph/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, found).unwrap();
    } else {
        assert_eq!(found, wanted, "golden/{name}; MOAT_BLESS=1 writes it anew");
    }
}

macro_rules! golden {
    ($name:literal, $found:expr) => {
        compare($name, include_str!(concat!("golden/", $name)), &$found)
    };
}

#[test]
fn golden_formats() {
    let picture = everything();
    golden!("everything.txt", text::draw(&plain(), &picture));
    golden!("everything.dot", dot::draw(&picture));
    golden!("everything.mmd", mermaid::draw(&picture));
}

#[test]
fn nothing_is_drawn_as_nothing() {
    let picture = Picture::default();
    assert_eq!(text::draw(&plain(), &picture), "");
    let drawn = svg::draw(&picture);
    assert!(drawn.contains("no container runs"));
    Document::parse(&drawn).unwrap();
}

fn number(e: Element, name: &str) -> f64 {
    e.attribute(name).unwrap().parse().unwrap()
}

/// The rectangle of a node: left, top, right, bottom.
fn area(e: Element) -> [f64; 4] {
    let r = e.children().find(|c| c.has_tag_name("rect")).unwrap();
    let (x, y) = (number(r, "x"), number(r, "y"));
    [x, y, x + number(r, "width"), y + number(r, "height")]
}

/// Reads a drawing back: each box once and apart from all others, each arrow once with its words.
fn check(picture: &Picture) {
    let drawn = svg::draw(picture);
    let doc = Document::parse(&drawn).unwrap_or_else(|e| panic!("{e}\n{drawn}"));
    let class = |e: &Element, word: &str| {
        e.attribute("class")
            .is_some_and(|c| c.split(' ').any(|w| w == word))
    };
    let boxes: Vec<Element> = doc.descendants().filter(|e| class(e, "node")).collect();
    assert_eq!(boxes.len(), picture.nodes.len());
    for (e, n) in boxes.iter().zip(&picture.nodes) {
        assert_eq!(e.attribute("data-name"), Some(super::shown(&n.end).as_str()));
    }
    let page = [
        0.0,
        0.0,
        number(doc.root_element(), "width"),
        number(doc.root_element(), "height"),
    ];
    for (i, a) in boxes.iter().enumerate() {
        let [l, t, r, b] = area(*a);
        assert!(
            l >= page[0] && t >= page[1] && r <= page[2] && b <= page[3],
            "{a:?} is off the page"
        );
        for other in &boxes[i + 1..] {
            let [x, y, u, v] = area(*other);
            assert!(
                r <= x || u <= l || b <= y || v <= t,
                "{a:?} lies on {other:?}\n{drawn}"
            );
        }
    }
    let shafts: Vec<Element> = (doc.descendants())
        .filter(|e| class(e, "arrow") && e.has_attribute("data-from"))
        .collect();
    assert_eq!(shafts.len(), picture.arrows.len());
    let texts: Vec<&str> = (doc.descendants())
        .filter(|e| class(e, "carried"))
        .filter_map(|e| e.text())
        .collect();
    let wanted: Vec<String> = picture.arrows.iter().flat_map(|a| a.words()).collect();
    assert_eq!(texts, wanted);
}

#[test]
fn svg_holds_every_box_and_every_arrow() {
    check(&everything());
}

/// Thirty containers as people have them: several tiers, a monitor that sees all, some alone.
fn thirty() -> Picture {
    let (front, back) = (network(9, "front", false), network(8, "back", true));
    let mut ends = vec![endpoint(0, "lb", &front, &[])];
    let mut links: Vec<(String, String)> = Vec::new();
    for n in 1..=8 {
        ends.push(endpoint(
            n,
            &format!("web-{n}"),
            &front,
            &[("app", "web"), ("watch", "yes")],
        ));
        links.push(("lb".into(), format!("web-{n}:80/tcp")));
    }
    for n in 9..=14 {
        ends.push(endpoint(
            n,
            &format!("api-{n}"),
            &front,
            &[("app", "api"), ("watch", "yes")],
        ));
        links.push((format!("api-{n}"), "redis:6379/tcp".into()));
    }
    links.push(("label:app=web".into(), "label:app=api:8080/tcp".into()));
    for (n, name) in (15..).zip([
        "pg",
        "pg-standby",
        "redis",
        "redis-replica",
        "etcd-1",
        "etcd-2",
        "etcd-3",
    ]) {
        ends.push(endpoint(n, name, &back, &[]));
    }
    for (a, b) in [
        ("etcd-1", "etcd-2"),
        ("etcd-2", "etcd-3"),
        ("etcd-3", "etcd-1"),
        ("etcd-2", "etcd-1"),
        ("etcd-3", "etcd-2"),
        ("etcd-1", "etcd-3"),
    ] {
        links.push((a.into(), format!("{b}:2380/tcp")));
    }
    links.push(("label:app=api".into(), "pg:5432/tcp".into()));
    links.push(("pg-standby".into(), "pg:5432/tcp".into()));
    links.push(("redis-replica".into(), "redis:6379/tcp".into()));
    links.push(("api-9".into(), "world:443/tcp".into()));
    ends.push(endpoint(22, "monitor", &front, &[]));
    links.push(("monitor".into(), "label:watch=yes:9100/tcp".into()));
    links.push(("monitor".into(), "host:9100/tcp".into()));
    for n in 23..30 {
        ends.push(endpoint(n, &format!("job-{n}"), &back, &[]));
    }
    let links: Vec<(&str, &str)> = links.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let mut world = world(vec![front, back], ends, &links);
    world.published = vec![published("lb", None, 80, 80), published("lb", None, 443, 443)];
    Picture::of(&world, &[])
}

#[test]
fn thirty_containers_have_room() {
    check(&thirty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn any_picture_can_be_drawn(
        containers in proptest::collection::vec((0..3_usize, 0..3_usize), 0..24),
        links in proptest::collection::vec((0..26_usize, 0..30_usize, 1..4_u16), 0..40),
        open in proptest::collection::vec(0..24_usize, 0..5),
    ) {
        let nets: Vec<Network> = (0..3).map(|n| network(n, &format!("net{n}"), n == 1)).collect();
        let labels = [("app", "a"), ("app", "b"), ("tier", "x<y")];
        let ends: Vec<Endpoint> = (0..).zip(&containers)
            .map(|(n, (net, label))| endpoint(n, &format!("c{n}"), &nets[*net], &labels[*label..=*label])).collect();
        let end = |n: usize| match n {
            24 | 25 => format!("label:{}={}", labels[n - 24].0, labels[n - 24].1),
            26 => "label:tier=x<y".to_owned(),
            27 => "host".to_owned(),
            28 => "world".to_owned(),
            29 => "10.0.0.0/8".to_owned(),
            n => format!("c{n}"),
        };
        let links: Vec<(String, String)> = links.into_iter()
            .map(|(a, b, port)| (end(a), format!("{}:{port}", end(b)))).collect();
        let links: Vec<(&str, &str)> = links.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let count = ends.len();
        let mut world = world(nets, ends, &links);
        world.published = open.into_iter().filter(|c| *c < count)
            .map(|c| published(&format!("c{c}"), None, 8000 + u16::try_from(c).unwrap(), 80)).collect();
        let picture = Picture::of(&world, &[]);
        prop_assert!(picture.arrows.iter().any(|a| a.means != Means::Bears) || picture.arrows.is_empty());
        check(&picture);
    }
}

#[test]
fn a_service_of_one_container_is_that_container() {
    let net = network(9, "moat", false);
    let member = |id, name, of| endpoint(id, name, &net, &[("moat.member", of)]);
    let ends = vec![
        member(0, "s-lb-1", "s/lb"),
        member(1, "s-web-1", "s/web"),
        member(2, "s-web-2", "s/web"),
    ];
    let links = [("label:moat.member=s/lb", "label:moat.member=s/web:80/tcp")];
    let picture = Picture::of(&world(vec![net.clone()], ends, &links), &[]);
    let names: Vec<String> = picture.nodes.iter().map(|n| n.end.to_string()).collect();
    assert_eq!(names, ["s-lb-1", "s-web-1", "s-web-2", "label:moat.member=s/web"]);
    check(&picture);
}

/// Drawings to look at: `MOAT_DRAW=DIR cargo test drawings`.
#[test]
fn drawings_for_the_eye() {
    let four = world(
        vec![network(9, "moat", false)],
        vec![
            endpoint(0, "lb", &network(9, "moat", false), &[]),
            endpoint(1, "web", &network(9, "moat", false), &[]),
            endpoint(2, "db", &network(9, "moat", false), &[]),
            endpoint(3, "other", &network(9, "moat", false), &[]),
        ],
        &[("lb", "web:80/tcp"), ("web", "db:5432/tcp")],
    );
    let all = [
        ("four", Picture::of(&four, &[])),
        ("everything", everything()),
        ("thirty", thirty()),
    ];
    for (name, picture) in all {
        check(&picture);
        if let Some(dir) = std::env::var_os("MOAT_DRAW") {
            let path = std::path::Path::new(&dir).join(name).with_extension("svg");
            std::fs::write(path, svg::draw(&picture)).unwrap();
        }
    }
}
