//! The shapes that a result has in the seven versions of the specification.
//!
//! | version | addresses | interfaces, routes |
//! |---|---|---|
//! | 0.1.0, 0.2.0 | `ip4`, `ip6`: one address each, with its routes | none; routes have `dst` and `gw` |
//! | 0.3.0 to 0.4.0 | `ips` with `version` | `interfaces`; `dns` is always there |
//! | 1.0.0 | `ips` | as before |
//! | 1.1.0 | `ips` | more about both |
//!
//! Source: SPEC.md of each version, and `pkg/types/{020,040,100}` of the reference library.

use std::net::IpAddr;
use std::str::FromStr as _;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value, json};

use super::call::Version;
use super::error::{Error, Result, code};
use super::json::{IP, Node, Object};
use super::read;
use super::result::{Dns, Interface, Ip, Outcome, Route};

impl Outcome {
    /// Reads a result in the shape of the version that it says, else in that of `version`.
    /// `path` is what errors call it.
    ///
    /// # Errors
    /// Code 6, with the way to what is wrong.
    pub fn read(value: &Value, path: &str, version: Version) -> Result<Self> {
        let result = Node::new(value, path, code::DECODE).object()?;
        let version = match result.text("cniVersion")? {
            Some(said) => Version::read(said).ok_or_else(|| Error {
                code: code::DECODE,
                ..read::incompatible(said, &Version::ALL)
            })?,
            None => version,
        };
        let dns = result.field("dns", |n| dns(&n.object()?))?.unwrap_or_default();
        let mut outcome = Self {
            dns,
            ..Self::default()
        };
        if version <= Version::V020 {
            for key in ["ip4", "ip6"] {
                let Some(one) = result.object(key)? else {
                    continue;
                };
                outcome.ips.extend(address(&one, "ip")?);
                outcome.routes.extend(one.list("routes", route)?);
            }
        } else {
            outcome.interfaces = result.list("interfaces", interface)?;
            let with_address = |n: &Node<'_>| {
                let object = n.object()?;
                address(&object, "address")?.ok_or_else(|| object_lacks(&object, "address"))
            };
            outcome.ips = result.list("ips", with_address)?;
            outcome.routes = result.list("routes", route)?;
        }
        Ok(outcome)
    }

    /// The result in the shape of a version; what a version has no word for is left out.
    ///
    /// # Errors
    /// Code 1 for a result without address in 0.1.0 and 0.2.0, which cannot say that.
    pub fn write(&self, version: Version) -> Result<Value> {
        let mut result = Map::new();
        result.insert("cniVersion".into(), version.as_str().into());
        if version <= Version::V020 {
            self.write_oldest(&mut result)?;
        } else {
            let interfaces = self.interfaces.iter().map(|i| write_interface(i, version));
            let ips = self.ips.iter().map(|ip| write_ip(ip, version));
            let routes = self.routes.iter().map(|r| write_route(r, version));
            insert_list(&mut result, "interfaces", interfaces.collect());
            insert_list(&mut result, "ips", ips.collect());
            insert_list(&mut result, "routes", routes.collect());
        }
        if version < Version::V100 || !self.dns.is_empty() {
            result.insert("dns".into(), json!(self.dns));
        }
        Ok(Value::Object(result))
    }

    /// The first address of each family, and the routes of its family.
    fn write_oldest(&self, result: &mut Map<String, Value>) -> Result<()> {
        for (key, is_v4) in [("ip4", true), ("ip6", false)] {
            let Some(ip) = self.ips.iter().find(|ip| ip.address.is_ipv4() == is_v4) else {
                continue;
            };
            let mut one = Map::new();
            one.insert("ip".into(), json!(ip.address));
            insert_some(&mut one, "gateway", ip.gateway);
            let routes = self.routes.iter().filter(|r| r.dst.is_ipv4() == is_v4);
            let routes = routes.map(|r| write_route(r, Version::V020)).collect();
            insert_list(&mut one, "routes", routes);
            result.insert(key.into(), Value::Object(one));
        }
        if self.ips.is_empty() {
            let msg = "a result without address cannot be said in versions 0.1.0 and 0.2.0";
            return Err(Error::new(code::VERSION, msg).with("use cniVersion 0.3.0 or later"));
        }
        Ok(())
    }
}

/// Reads `dns` of a result or of a configuration.
///
/// # Errors
/// When something in it is no text.
pub fn dns(object: &Object<'_>) -> Result<Dns> {
    Ok(Dns {
        nameservers: object.texts("nameservers")?,
        domain: object.text("domain")?.unwrap_or_default().to_owned(),
        search: object.texts("search")?,
        options: object.texts("options")?,
    })
}

/// Reads a route of a result or of a configuration.
///
/// # Errors
/// When something in it is wrong, or `dst` is missing.
pub fn route(node: &Node<'_>) -> Result<Route> {
    let object = node.object()?;
    Ok(Route {
        dst: object
            .field("dst", cidr)?
            .ok_or_else(|| object_lacks(&object, "dst"))?,
        gw: object.parsed("gw", IP)?,
        mtu: object.number("mtu")?.filter(|n| *n != 0),
        advmss: object.number("advmss")?.filter(|n| *n != 0),
        priority: object.number("priority")?.filter(|n| *n != 0),
        table: object.number("table")?,
        scope: object.number("scope")?,
    })
}

/// An address with its prefix length.
///
/// # Errors
/// When it is anything else, also an address alone.
pub fn cidr(node: &Node<'_>) -> Result<IpNetwork> {
    let bad = || node.bad("an address with its prefix length, like 10.1.2.3/16");
    let (address, prefix) = node.text()?.split_once('/').ok_or_else(bad)?;
    let address = IpAddr::from_str(address).map_err(|_| bad())?;
    let prefix = prefix.parse().map_err(|_| bad())?;
    IpNetwork::new(address, prefix).map_err(|_| bad())
}

fn object_lacks(object: &Object<'_>, key: &str) -> Error {
    let value = Value::Object(object.map.clone());
    Node::new(&value, &object.path, code::DECODE).bad(format_args!("an object with key `{key}`"))
}

fn interface(node: &Node<'_>) -> Result<Interface> {
    let object = node.object()?;
    let text = |key| object.text(key).map(|t| t.unwrap_or_default().to_owned());
    Ok(Interface {
        name: text("name")?,
        mac: text("mac")?,
        mtu: object.number("mtu")?.filter(|n| *n != 0),
        sandbox: text("sandbox")?,
        socket_path: text("socketPath")?,
        pci_id: text("pciID")?,
    })
}

fn address(object: &Object<'_>, key: &str) -> Result<Option<Ip>> {
    let Some(address) = object.field(key, cidr)? else {
        return Ok(None);
    };
    Ok(Some(Ip {
        interface: object.number("interface")?,
        address,
        gateway: object.parsed("gateway", IP)?,
    }))
}

fn write_interface(from: &Interface, version: Version) -> Value {
    let mut to = json!(from);
    if version < Version::V110
        && let Some(to) = to.as_object_mut()
    {
        to.retain(|key, _| ["name", "mac", "sandbox"].contains(&key.as_str()));
    }
    to
}

fn write_ip(from: &Ip, version: Version) -> Value {
    let mut to = json!(from);
    if version < Version::V100 {
        to["version"] = json!(if from.address.is_ipv4() { "4" } else { "6" });
    }
    to
}

fn write_route(from: &Route, version: Version) -> Value {
    let mut to = json!(from);
    if version < Version::V110
        && let Some(to) = to.as_object_mut()
    {
        to.retain(|key, _| ["dst", "gw"].contains(&key.as_str()));
    }
    to
}

/// Empty lists are left out, as the reference does.
fn insert_list(to: &mut Map<String, Value>, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        to.insert(key.into(), Value::Array(list));
    }
}

fn insert_some(to: &mut Map<String, Value>, key: &str, value: Option<IpAddr>) {
    if let Some(value) = value {
        to.insert(key.into(), json!(value));
    }
}
