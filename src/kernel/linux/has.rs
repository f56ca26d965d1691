//! Whether one object is there.
//!
//! Asks for the one thing where the kernel can, and otherwise lists its kind in its namespace.

use std::io;

use super::observe::failed;
use super::read::{self, Ifaces};
use super::{Linux, entering, namespace, reading};
use crate::kernel::{Error, words};
use crate::model::Mac;
use crate::plan::{Hop, Object, Place, State};

impl Linux {
    pub(super) fn has_object(&mut self, object: &Object) -> Result<bool, Error> {
        self.refresh();
        if let Object::Namespace = object {
            return namespace::is_namespace(&self.router_path).map_err(entering(&self.router_path));
        }
        let at = object.place();
        if !self.is_there(at)? {
            return Ok(false);
        }
        let names = self.names.clone();
        let found = match object {
            Object::Ruleset { at, which } => return self.has_ruleset(at, *which),
            Object::Sysctl { key, .. } => return Ok(self.value(at, key)?.as_ref() == Some(object)),
            Object::Element(e) => self.nft(at)?.has(e),
            Object::Uplink { host, router, .. } => {
                return self.has_pair(object, host, &Place::Router, router);
            }
            Object::Veth {
                port,
                sandbox,
                inside,
                ..
            } => return self.has_pair(object, port, sandbox, inside),
            Object::Rule { .. } => self.rtnl(at)?.rules(at, &names).map(|all| all.contains(object)),
            Object::Bridge { name, .. } | Object::Up { iface: name, .. } => self.has_link(at, name, object),
            Object::BridgePort { port, bridge, .. } | Object::ClosedPort { port, bridge, .. } => {
                self.rtnl(at)?.has_port(port, bridge)
            }
            Object::Fdb { port, .. } => {
                let own = self.one(at, port)?;
                self.rtnl(at)?
                    .forwarding(at, &own)
                    .map(|all| all.contains(object))
            }
            Object::Address { iface, .. } => {
                let own = self.one(at, iface)?;
                let index = own.keys().next().copied().unwrap_or_default();
                self.rtnl(at)?
                    .addresses(at, &own, index)
                    .map(|all| all.contains(object))
            }
            Object::Neighbour { iface, .. } => {
                let own = self.one(at, iface)?;
                self.rtnl(at)?
                    .neighbours(at, &own)
                    .map(|all| all.contains(object))
            }
            Object::Route { hop, .. } => {
                let own = match hop {
                    Hop::Dev(d) | Hop::Via(_, d) | Hop::Local(d) => self.one(at, d)?,
                    Hop::Prohibit => Ifaces::new(),
                };
                self.rtnl(at)?.routes(at, &own).map(|all| all.contains(object))
            }
            Object::Namespace => Ok(true),
        };
        found.map_err(reading(&words::object(object)))
    }

    /// Whether all of these routing policy rules of a namespace are there; one listing a family.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn has_rules(&mut self, at: &Place, wanted: &State) -> Result<bool, Error> {
        let names = self.names.clone();
        let rtnl = self.rtnl(at)?;
        let found = rtnl.rules(at, &names).map_err(reading("the routing policy"))?;
        Ok(wanted.iter().all(|rule| found.contains(rule)))
    }

    /// The MAC of an interface; `None` when there is no interface of that name.
    ///
    /// # Errors
    /// When the namespace cannot be entered or asked.
    pub fn mac(&mut self, at: &Place, iface: &str) -> Result<Option<Mac>, Error> {
        Ok(self.one(at, iface)?.into_values().find_map(|i| i.mac))
    }

    /// The interface of that name, as a set of one or none.
    pub(super) fn one(&mut self, at: &Place, name: &str) -> Result<Ifaces, Error> {
        let link = self.rtnl(at)?.link(name).map_err(failed("an interface", at))?;
        Ok(link.iter().map(|l| (l.header.index, read::iface(l))).collect())
    }

    fn has_link(&mut self, at: &Place, name: &str, object: &Object) -> io::Result<bool> {
        let found = self.one(at, name).map_err(io::Error::other)?;
        Ok(found.values().any(|i| match object {
            Object::Up { .. } => i.up,
            _ => self.link(at, i, None).as_ref() == Some(object),
        }))
    }

    fn has_pair(&mut self, object: &Object, outer: &str, there: &Place, inner: &str) -> Result<bool, Error> {
        let at = object.place();
        let outer = self.one(at, outer)?;
        if outer.is_empty() || !self.is_there(there)? {
            return Ok(false);
        }
        let inner = self.one(there, inner)?;
        let found = outer.into_values().zip(inner.into_values()).next();
        Ok(found.is_some_and(|(o, i)| {
            o.is_peer_of(&i) && self.link(at, &o, Some(&(there.clone(), i))).as_ref() == Some(object)
        }))
    }
}
