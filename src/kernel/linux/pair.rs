//! Veth pairs between two namespaces: making them, and waiting until they are gone.
//!
//! A namespace that lost its last holder is taken down later, by a kernel thread
//! (`cleanup_net` in `net/core/net_namespace.c`): its interfaces, and the other ends of its
//! pairs, are still there for some 20 ms and keep their names.

use std::io;
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use super::apply::{failed, ignore};
use super::links::{self, Peer};
use super::namespace::Namespace;
use super::read::Iface;
use super::{Linux, VANISHING};
use crate::kernel::Error;
use crate::model::Mac;
use crate::plan::{Object, Place, Step};

/// An uplink is given at least this.
const SHORTEST: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(1);

/// A veth pair with ends in two namespaces.
pub(super) struct Pair<'a> {
    pub at: &'a Place,
    pub outer: &'a str,
    pub there: &'a Place,
    pub inner: &'a str,
    pub mac: Option<Mac>,
    pub mtu: u32,
}

impl Linux {
    /// Makes a pair, or makes an existing one like this. A name that is taken by something else
    /// is freed if it is ours to free, and waited for if its holder may be vanishing.
    pub(super) fn add_pair(&mut self, pair: &Pair<'_>, step: &Step) -> Result<(), Error> {
        let end = Instant::now() + VANISHING;
        loop {
            let made = self.make_pair(pair, step);
            let taken = matches!(&made, Err(Error::Step { source, .. })
                if source.raw_os_error() == Some(libc::EEXIST));
            if !taken || Instant::now() > end {
                made?;
                break;
            }
            if self.is_pair(pair)? {
                break;
            }
            let rtnl = self.rtnl(pair.at)?;
            if rtnl.link(pair.outer).map_err(failed(step))?.is_some() {
                ignore(links::remove(rtnl, pair.outer), &[libc::ENODEV]).map_err(failed(step))?;
            } else if self.is_orphan(pair)? {
                let rtnl = self.rtnl(pair.there)?;
                ignore(links::remove(rtnl, pair.inner), &[libc::ENODEV]).map_err(failed(step))?;
            } else {
                thread::sleep(POLL);
            }
        }
        let owner = self.alias(pair.at);
        let ends = [
            (pair.there, pair.inner, pair.mac, None),
            (pair.at, pair.outer, None, owner.as_deref()),
        ];
        for (at, name, mac, alias) in ends {
            let rtnl = self.rtnl(at)?;
            rtnl.forget_name(name);
            links::set_end(rtnl, name, mac, pair.mtu, alias).map_err(failed(step))?;
        }
        Ok(())
    }

    fn is_pair(&mut self, pair: &Pair<'_>) -> Result<bool, Error> {
        let outer = self.one(pair.at, pair.outer)?.into_values().next();
        let inner = self.one(pair.there, pair.inner)?.into_values().next();
        Ok(outer.zip(inner).is_some_and(|(o, i)| o.is_peer_of(&i)))
    }

    /// Whether the inner end is ours by its MAC, or by its place, and somebody renamed the outer one:
    /// both go together.
    fn is_orphan(&mut self, pair: &Pair<'_>) -> Result<bool, Error> {
        let inner = self.one(pair.there, pair.inner)?.into_values().next();
        let own = |found: &Iface| match pair.mac {
            Some(mac) => found.mac == Some(mac),
            None => *pair.there == Place::Router,
        };
        Ok(inner.is_some_and(|found| found.peer.is_some() && own(&found)))
    }

    fn make_pair(&mut self, pair: &Pair<'_>, step: &Step) -> Result<(), Error> {
        // Opens both: a borrow of one would forbid the other.
        self.rtnl(pair.at)?;
        self.open(pair.there)?;
        let own;
        let there = self.places.get(pair.there).and_then(|o| o.namespace.as_ref());
        let file = if let Some(ns) = there {
            ns.file.try_clone().map_err(failed(step))?
        } else {
            own = Namespace::open("/proc/thread-self/ns/net".as_ref()).map_err(failed(step))?;
            own.file
        };
        let peer = Peer {
            name: pair.inner,
            mac: pair.mac,
            namespace: file.as_fd(),
        };
        links::add_pair(self.rtnl(pair.at)?, pair.outer, &peer, pair.mtu).map_err(failed(step))
    }

    /// Waits until an interface went with its other end's namespace; deletes it if it does not.
    pub(super) fn wait_gone(&mut self, step: &Step) -> io::Result<()> {
        let (at, name, there) = match step.object() {
            // The name is wanted again with the next router: always waited for.
            Object::Uplink { host, .. } => (&Place::Host, host, &Place::Router),
            Object::Veth { .. } if self.patience.is_zero() => return Ok(()),
            Object::Veth {
                at, sandbox, inside, ..
            } if !self.is_there(at).unwrap_or(true) => (sandbox, inside, at),
            Object::Veth {
                at, port, sandbox, ..
            } => (at, port, sandbox),
            _ => return Ok(()),
        };
        self.places.remove(there);
        let patience = self.patience.max(SHORTEST);
        let Ok(rtnl) = self.rtnl(at) else {
            return Ok(());
        };
        let end = Instant::now() + patience;
        while rtnl.link(name)?.is_some() {
            if Instant::now() > end {
                return ignore(links::remove(rtnl, name), &[libc::ENODEV]);
            }
            thread::sleep(POLL);
        }
        rtnl.forget();
        Ok(())
    }
}
