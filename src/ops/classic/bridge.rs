//! `bridge`: a container plugged into a bridge of the host.
//!
//! In two halves, because an address may come from a delegate between them that needs the
//! interface (`dhcp`): [`Adding::begin`] plugs it in, with its filters before it is up;
//! [`Adding::address`] or [`Adding::raise`] finish it inside. No lock is held between.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::kernel::linux::{BridgeWish, PairWish};
use crate::model::Mac;
use crate::ops::cni;
use crate::ops::context::{Moat, Where};
use crate::ops::error::{Error, Result};
use crate::ops::fault;
use crate::plan::classic::{self, Ingress};
use crate::plan::{Place, State};
use crate::store::Stage;

use super::unplug::{clear_dead, undo};
use super::{Key, namespace, refused};

/// How long a port may take to forward, and an address to be checked for duplicates.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(1);

/// What is to be plugged in.
#[derive(Clone, Debug)]
pub struct Request {
    pub key: Key,
    /// `CNI_NETNS`.
    pub netns: PathBuf,
    pub bridge: String,
    /// Bytes; 0 for the kernel's choice.
    pub mtu: u32,
    pub promiscuous: bool,
    pub hairpin: bool,
    pub isolated: bool,
    /// Nothing passes to other containers of the bridge, nor of other bridges with walls.
    pub walled: bool,
    pub mac: Option<Mac>,
    /// The container may send from its own MAC only.
    pub check_mac: bool,
    pub aliases: Vec<String>,
    pub labels: Vec<(String, String)>,
    /// The configuration that a delegate needs to release what it gave.
    pub delegate: Option<serde_json::Value>,
}

/// What was made, for DEL and for `moat ps`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    pub bridge: String,
    pub host_veth: String,
    /// The index of the host's end; another interface may have the name later.
    pub index: Option<u32>,
    pub mac: Option<Mac>,
    pub addresses: Vec<IpNetwork>,
    pub aliases: Vec<String>,
    pub labels: Vec<(String, String)>,
    pub delegate: Option<serde_json::Value>,
    /// Only until ADD is done: what goes again if it fails.
    pub made_bridge: bool,
    pub gave: Vec<IpNetwork>,
}

/// The interfaces of an attachment, as they ended up.
#[derive(Clone, Debug)]
pub struct Plugged {
    pub bridge: (String, Option<Mac>),
    pub host: (String, Option<Mac>),
    pub mac: Option<Mac>,
    /// Bytes: of the bridge, of the pair.
    pub mtu: (u32, u32),
}

/// An ADD that has begun: the interface is there, down inside.
pub struct Adding {
    pub(super) moat: Moat,
    pub(super) request: Request,
    pub(super) record: Record,
    pub(super) inside: Place,
    pub(super) elements: State,
}

impl Adding {
    /// Plugs a container in.
    ///
    /// # Errors
    /// The interface or its attachment exists, the namespace does not, or the kernel refused; then
    /// nothing is left behind.
    pub fn begin(place: &Where, request: Request) -> Result<Self> {
        let mut moat = cni::open(place)?;
        let inside = namespace(&request.netns);
        if moat.kernel.see(&inside, &request.key.ifname)?.is_some() {
            let (ifname, netns) = (&request.key.ifname, request.netns.display());
            let what = format!("container veth name `{ifname}` exists already in {netns}");
            return Err(refused(what, "DEL removes it, or choose another CNI_IFNAME"));
        }
        clear_dead(&mut moat, &request.key)?;
        let record = Record {
            bridge: request.bridge.clone(),
            aliases: request.aliases.clone(),
            labels: request.labels.clone(),
            delegate: request.delegate.clone(),
            ..Record::default()
        };
        let mut adding = Self {
            moat,
            request,
            record,
            inside,
            elements: State::new(),
        };
        match adding.plug() {
            Ok(()) => {
                adding.moat.lock = None;
                Ok(adding)
            }
            Err(e) => Err(match adding.abort() {
                Ok(()) => e,
                Err(also) => e.noting(&format!("undoing it failed too ({also}); DEL tries again")),
            }),
        }
    }

    fn plug(&mut self) -> Result<()> {
        let _lock = self.moat.locks.classic()?;
        self.name_host_end()?;
        fault::step("making the bridge")?;
        let r = &self.request;
        let kernel = &mut self.moat.kernel;
        // Recorded as made before it is: a bridge without ports is no loss.
        self.record.made_bridge = kernel.see(&Place::Host, &r.bridge)?.is_none();
        self.save(Stage::Adding)?;
        let r = &self.request;
        let kernel = &mut self.moat.kernel;
        kernel.ensure_bridge(BridgeWish {
            name: &r.bridge,
            mtu: r.mtu,
            promiscuous: r.promiscuous,
        })?;
        fault::step("making the pair")?;
        kernel.plug(PairWish {
            host: &self.record.host_veth,
            sandbox: &self.inside,
            inside: &r.key.ifname,
            mac: r.mac,
            mtu: r.mtu,
        })?;
        let host = kernel.see(&Place::Host, &self.record.host_veth)?;
        self.record.index = host.map(|i| i.index);
        let inner = kernel.see(&self.inside, &r.key.ifname)?;
        self.record.mac = inner.and_then(|i| i.mac);
        fault::step("joining the bridge")?;
        kernel.join(&self.record.host_veth, &r.bridge, r.hairpin, r.isolated)?;
        if let Some(mac) = self.record.mac.filter(|_| self.request.check_mac) {
            self.elements = classic::mac_check(&self.record.host_veth, mac);
        }
        if self.request.walled {
            let ports = [self.record.host_veth.clone()];
            let walls = classic::ingress(&self.request.bridge, Ingress::Isolated, &ports);
            self.elements.extend(walls);
        }
        self.save(Stage::Adding)?;
        fault::step("checking the MAC address")?;
        self.moat.make_wanted(&self.elements)?;
        fault::step("setting the port up")?;
        Ok(self.moat.kernel.raise(&Place::Host, &self.record.host_veth)?)
    }

    /// `veth` and eight hexadecimal digits, as the reference names the host's ends.
    fn name_host_end(&mut self) -> Result<()> {
        loop {
            let name = format!("veth{:08x}", random()?);
            if self.moat.kernel.see(&Place::Host, &name)?.is_none() {
                self.record.host_veth = name;
                return Ok(());
            }
        }
    }

    /// Sets the interface up without an address.
    ///
    /// # Errors
    /// When the kernel refuses; the caller takes it back.
    pub fn raise(&mut self) -> Result<()> {
        self.moat.share()?;
        self.moat.kernel.raise(&self.inside, &self.request.key.ifname)?;
        self.wait_for_port()
    }

    /// Until the port forwards.
    pub(super) fn wait_for_port(&mut self) -> Result<()> {
        let host = self.record.host_veth.clone();
        let end = Instant::now() + PATIENCE;
        while !self
            .moat
            .kernel
            .see(&Place::Host, &host)?
            .is_some_and(|i| i.running)
        {
            if Instant::now() > end {
                let what = format!("bridge port in error state: `{host}` has no carrier");
                return Err(refused(what, "`ip link` shows it"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Until no address of the container is being checked for duplicates.
    pub(super) fn wait_for_addresses(&mut self) -> Result<()> {
        let (inside, ifname) = (self.inside.clone(), self.request.key.ifname.clone());
        let end = Instant::now() + PATIENCE;
        while (self.moat.kernel.addresses_of(&inside, &ifname)?.iter()).any(|a| a.1) {
            if Instant::now() > end {
                let what = format!("addresses of `{ifname}` are still tentative after 10 s");
                return Err(refused(what, "another machine may have one of them"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    pub(super) fn save(&mut self, stage: Stage) -> Result<()> {
        let text = serde_json::to_string(&self.record).unwrap_or_default();
        let netns = self.request.netns.display().to_string();
        self.moat.record(
            &self.request.key,
            stage,
            Some(&netns),
            &text,
            Some(&self.elements),
        )
    }

    /// Notes that all is done.
    ///
    /// # Errors
    /// When the kernel cannot be asked; the caller takes it back.
    pub fn done(&mut self) -> Result<Plugged> {
        self.record.made_bridge = false;
        self.record.gave.clear();
        let (bridge, host) = (self.record.bridge.clone(), self.record.host_veth.clone());
        let gone = |name: &str| refused(format!("`{name}` vanished meanwhile"), "try again");
        let kernel = &mut self.moat.kernel;
        let outer = kernel.see(&Place::Host, &bridge)?.ok_or_else(|| gone(&bridge))?;
        let port = kernel.see(&Place::Host, &host)?.ok_or_else(|| gone(&host))?;
        fault::step("noting the attachment")?;
        self.save(Stage::Added)?;
        Ok(Plugged {
            bridge: (bridge, outer.mac),
            host: (host, port.mac),
            mac: self.record.mac,
            mtu: (outer.mtu, port.mtu),
        })
    }

    /// Takes back what was begun.
    ///
    /// # Errors
    /// What would not go; DEL tries again.
    pub fn abort(mut self) -> Result<()> {
        if self.moat.lock.is_none() {
            self.moat.share()?;
        }
        let _lock = self.moat.locks.classic()?;
        undo(&mut self.moat, &self.request.key)
    }
}

fn random() -> Result<u32> {
    use std::io::Read as _;
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .map_err(|source| Error::State {
            path: "/dev/urandom".into(),
            source,
        })?;
    Ok(u32::from_ne_bytes(bytes))
}
