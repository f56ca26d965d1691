//! Containers that `bridge` attached, as the commands show them. They have no wall of ours, so that
//! there is nothing a link could open.

use std::path::{Path, PathBuf};

use super::Key;
use super::bridge::Record;
use super::unplug::read;
use crate::model::{BridgePolicy, Bystander, Name, Proto, WALLS};
use crate::ops::collect::lives;
use crate::ops::context::Moat;
use crate::ops::error::{Error, Result};
use crate::plan::classic::{self, Ingress};
use crate::plan::{Element, Object, SetName};
use crate::store::{Attachment, Stage};

/// One of them, with what is recorded of it.
#[derive(Clone, Debug)]
pub(in crate::ops) struct Shown {
    pub name: Name,
    pub attachment: Attachment,
    pub record: Record,
}

/// A port of the host that leads to a container.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Opened {
    pub host_ip: Option<std::net::IpAddr>,
    pub host_port: u16,
    pub port: u16,
    pub proto: Proto,
}

impl Shown {
    pub fn is_alive(&self) -> bool {
        self.attachment.stage == Stage::Added && lives(&self.attachment)
    }

    pub fn netns(&self) -> Option<PathBuf> {
        self.attachment.netns.as_deref().map(|p| Path::new(p).to_owned())
    }

    /// Whether a word means it: its name, what its runtime calls it, or the start of its id.
    fn is_called(&self, word: &str) -> bool {
        let id = &self.attachment.key.container;
        self.name.as_str() == word
            || self.record.aliases.iter().any(|a| a == word)
            || id == word
            || word.len() >= 3 && id.starts_with(word)
    }

    /// What is said where only a container with a wall will do.
    fn refusal(&self) -> Error {
        let what = format!(
            "`{}` is on bridge `{}`, which has no walls of moat",
            self.name, self.record.bridge
        );
        Error::Refused {
            what,
            hint: WALLS.to_owned(),
        }
    }
}

impl Moat {
    /// All of them, the oldest first. What mode `policy` or the OCI hook walls is not among
    /// them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::ops) fn shown_classic(&self) -> Result<Vec<Shown>> {
        let mut all: Vec<Shown> = Vec::new();
        for attachment in self.store.attachments(Some("bridge"), None)? {
            let (key, record) = (&attachment.key, read(&attachment));
            let Ok(network) = key.network.parse::<Name>() else {
                continue;
            };
            let mut walled = false;
            for address in &record.addresses {
                walled |= self.store.holder(address.ip())?.is_some();
            }
            if walled {
                continue;
            }
            let first = Name::through_cni(&network, &key.container, None)?;
            let name = if all.iter().any(|s| s.name == first) {
                Name::through_cni(&network, &key.container, Some(&key.ifname))?
            } else {
                first
            };
            all.push(Shown {
                name,
                attachment,
                record,
            });
        }
        Ok(all)
    }

    /// The ones that live, as `decide` knows them.
    pub(in crate::ops) fn bystanders(&self) -> Result<Vec<Bystander>> {
        let alive = self.shown_classic()?.into_iter().filter(Shown::is_alive);
        alive
            .map(|s| {
                Ok(Bystander {
                    policy: self.policy_of(&s.record.bridge)?,
                    container: s.name,
                    addresses: s.record.addresses.iter().map(ipnetwork::IpNetwork::ip).collect(),
                    bridge: s.record.bridge,
                })
            })
            .collect()
    }

    /// What holds on a bridge: whose element is wanted.
    fn policy_of(&self, bridge: &str) -> Result<BridgePolicy> {
        let wanted = |policy| classic::ingress(bridge, policy, &[]);
        for (policy, set, is) in [
            (Ingress::Isolated, SetName::Isolated, BridgePolicy::Isolated),
            (Ingress::SameBridge, SetName::Bridges, BridgePolicy::SameBridge),
        ] {
            for object in wanted(policy) {
                if let Object::Element(e) = object
                    && e.set == set
                    && !self.store.holders(&e.identity())?.is_empty()
                {
                    return Ok(is);
                }
            }
        }
        Ok(BridgePolicy::Open)
    }

    /// The one that a word means, if it is the only one.
    pub(in crate::ops) fn called_classic(&self, word: &str) -> Result<Option<Shown>> {
        let mut all = self.shown_classic()?;
        if let Some(exact) = all.iter().position(|s| s.name.as_str() == word) {
            return Ok(Some(all.swap_remove(exact)));
        }
        all.retain(|s| s.is_called(word));
        Ok(if all.len() == 1 { all.pop() } else { None })
    }

    /// Where only a container of ours, or one with a wall, will do.
    ///
    /// # Errors
    /// The word means one of these.
    pub(in crate::ops) fn refuse_classic(&self, word: &str) -> Result<()> {
        if self.store.container(word)?.is_some() {
            return Ok(());
        }
        match self.called_classic(word)? {
            Some(shown) => Err(shown.refusal()),
            None => Ok(()),
        }
    }

    /// The ports that `portmap` publishes for it.
    pub(in crate::ops) fn opened_classic(&self, shown: &Shown) -> Result<Vec<Opened>> {
        let key = Key {
            plugin: "portmap".to_owned(),
            ..shown.attachment.key.clone()
        };
        let held = self.store.held_by(&key, false)?;
        let mut all: Vec<Opened> = Vec::new();
        for held in held {
            let element: Option<Element> = serde_json::from_str(&held.json).ok();
            if let Some(opened) = element.as_ref().and_then(opened)
                && !all.iter().any(|o| same(o, &opened))
            {
                all.push(opened);
            }
        }
        Ok(all)
    }
}

fn opened(e: &Element) -> Option<Opened> {
    let flow = super::want::port_flow(&Object::Element(e.clone()))?;
    Some(Opened {
        host_ip: flow.host_ip,
        host_port: flow.host_port,
        port: flow.to.1,
        proto: Proto::of_number(flow.proto)?,
    })
}

/// One for each family is one.
fn same(a: &Opened, b: &Opened) -> bool {
    (a.host_ip, a.host_port, a.port, a.proto) == (b.host_ip, b.host_port, b.port, b.proto)
}
