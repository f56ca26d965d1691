//! Names, ports and links.

use super::{Dir, container, name, network};
use crate::model::{End, Link, Proto, Published, Service};
use crate::store::Error;

#[test]
fn names_and_ports_are_taken_once() {
    let dir = Dir::new();
    let store = dir.open();
    let net = network("n", &["10.0.0.0/24"]);
    store.add_network(&net, true).unwrap();
    assert!(matches!(
        store.add_network(&net, true),
        Err(Error::NetworkExists { .. })
    ));
    store.add_container(&container("web", "abc123", &[])).unwrap();
    let again = store.add_container(&container("web", "def456", &[]));
    assert!(matches!(again, Err(Error::NameTaken { .. })), "{again:?}");
    store.add_container(&container("abc", "777777", &[])).unwrap();
    assert_eq!(store.container("abc12").unwrap().unwrap().name, name("web"));

    let publish = |host_ip: Option<&str>, host_port, proto| {
        store.publish(&Published {
            container: name("web"),
            host_ip: host_ip.map(|a| a.parse().unwrap()),
            host_port,
            port: 80,
            proto,
        })
    };
    publish(None, 8080, Proto::Tcp).unwrap();
    publish(None, 8080, Proto::Udp).unwrap();
    publish(Some("127.0.0.1"), 8081, Proto::Tcp).unwrap();
    publish(Some("192.0.2.1"), 8081, Proto::Tcp).unwrap();
    for (ip, port) in [
        (None, 8080),
        (Some("127.0.0.1"), 8080),
        (None, 8081),
        (Some("127.0.0.1"), 8081),
    ] {
        let taken = publish(ip, port, Proto::Tcp);
        assert!(
            matches!(taken, Err(Error::PortTaken { .. })),
            "{ip:?}:{port}: {taken:?}"
        );
    }
}

#[test]
fn links_are_renewed_and_expire() {
    let dir = Dir::new();
    let store = dir.open();
    let link = |to: &str, expires| {
        let (to, service) = End::with_service(to).unwrap();
        Link {
            from: "web".parse().unwrap(),
            to,
            service,
            expires,
        }
    };
    store.add_link(&link("db:5432", Some(100))).unwrap();
    store.add_link(&link("db:5432", Some(200))).unwrap();
    store.add_link(&link("db", Some(150))).unwrap();
    store.add_link(&link("cache", None)).unwrap();
    let all = |now| store.world(now).unwrap().0.links;
    assert_eq!(
        all(0),
        [
            link("db:5432", Some(200)),
            link("db", Some(150)),
            link("cache", None)
        ]
    );
    assert_eq!(all(150), [link("db:5432", Some(200)), link("cache", None)]);
    let gone: Vec<Link> = store
        .expire_links(150)
        .unwrap()
        .into_iter()
        .map(|r| r.link)
        .collect();
    assert_eq!(gone, [link("db", Some(150))]);
    store.add_link(&link("db:5432", None)).unwrap();
    assert!(store.expire_links(u64::MAX >> 1).unwrap().is_empty());
    let any = store.remove_links(&name_end("web"), &name_end("db"), Some(Service::Any));
    assert_eq!(any.unwrap(), 0);
    assert_eq!(
        store
            .remove_links(&name_end("web"), &name_end("db"), None)
            .unwrap(),
        1
    );
    assert_eq!(store.remove_links_of(&name("cache")).unwrap(), 1);
    assert!(store.links().unwrap().is_empty());
}

fn name_end(s: &str) -> End {
    End::Container(name(s))
}
