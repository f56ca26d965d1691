//! What the store promises, with a database in a directory of its own for each test.

mod addresses;
mod around;
mod broken;
mod layout;
mod records;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Container, Error, NewEndpoint, Phase, Store};
use crate::model::{DefaultPolicy, Name, Network, Router};

/// A directory that goes when its test ends.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("moat-store-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> Store {
        Store::open(&self.0, "boot").unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn name(s: &str) -> Name {
    s.parse().unwrap()
}

fn network(label: &str, subnets: &[&str]) -> Network {
    Network {
        name: name(label),
        subnets: subnets.iter().map(|s| s.parse().unwrap()).collect(),
        internal: false,
        router: Router::Own,
        default_policy: DefaultPolicy::Isolated,
        gateways: vec![],
        masquerade: true,
        foreign: false,
        mtu: 1500,
    }
}

fn container(label: &str, id: &str, labels: &[(&str, &str)]) -> Container {
    Container {
        id: id.to_owned(),
        name: name(label),
        phase: Phase::Running,
        owner: (1, 1),
        pid: None,
        exit_code: None,
        created: 0,
        finished: None,
        auto_remove: false,
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        spec: "{}".to_owned(),
    }
}

/// An endpoint with nothing special about it.
fn attach(store: &Store, label: &str, network: &Network) -> Result<(), Error> {
    wish(store, label, network, &NewEndpoint::default())
}

fn wish(store: &Store, label: &str, network: &Network, wish: &NewEndpoint) -> Result<(), Error> {
    store.write(|s| s.add_endpoint(&name(label), network, &BTreeMap::new(), wish))
}

fn first_address(store: &Store, label: &str) -> String {
    let (endpoint, _) = store.endpoint(&name(label)).unwrap().unwrap();
    endpoint.addresses[0].to_string()
}

fn asking(addresses: &[&str], mac: Option<&str>) -> NewEndpoint {
    NewEndpoint {
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        mac: mac.map(|m| m.parse().unwrap()),
        ..NewEndpoint::default()
    }
}
