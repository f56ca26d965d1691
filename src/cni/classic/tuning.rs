//! `tuning`: properties and sysctls of the container's interface. Without any it passes the
//! result on.

use std::collections::BTreeMap;

use super::{holder, netns, valid};
use crate::cni::Plugin;
use crate::cni::call::Call;
use crate::cni::error::{Error, Result, code};
use crate::cni::json::{Node, Object};
use crate::cni::result::Outcome;
use crate::model::{Mac, MacError};
use crate::ops::classic::tuning::{self, Tuned, Tuning, Wanted};

/// The plugin type.
pub struct Tune;

impl Plugin for Tune {
    fn name(&self) -> &'static str {
        "tuning"
    }

    fn args(&self) -> Option<&'static [&'static str]> {
        Some(&["MAC"])
    }

    fn add(&self, call: &Call) -> Result<Outcome> {
        let mut outcome = call.required_previous()?;
        let wanted = wanted(call)?;
        if wanted != Wanted::default() {
            tuned(call)?.add(netns(call)?, &wanted)?;
        }
        for iface in outcome.interfaces.iter_mut().filter(|i| i.name == call.ifname) {
            if let Some(mac) = wanted.tuning.mac {
                iface.mac = mac.to_string();
            }
            iface.mtu = wanted.tuning.mtu.or(iface.mtu);
        }
        Ok(outcome)
    }

    /// Of the configuration only `dataDir` matters.
    fn del(&self, call: &Call) -> Result<()> {
        Ok(tuned(call)?.del(call.netns.as_deref())?)
    }

    fn check(&self, call: &Call) -> Result<()> {
        call.required_previous()?;
        Ok(tuned(call)?.check(netns(call)?, &wanted(call)?)?)
    }

    fn gc(&self, call: &Call) -> Result<()> {
        let of = tuned(call)?;
        Ok(tuning::gc(&of.data_dir, &of.network, &valid(call)?)?)
    }

    fn status(&self, call: &Call) -> Result<()> {
        wanted(call).map(drop)
    }
}

fn tuned(call: &Call) -> Result<Tuned> {
    let dir = call.conf().text("dataDir")?;
    Ok(Tuned {
        data_dir: dir.unwrap_or(tuning::DATA_DIR).into(),
        network: call.name.clone(),
        holder: holder(call),
    })
}

/// `args.cni` is stronger than everything else, as in the reference.
fn wanted(call: &Call) -> Result<Wanted> {
    let (mut tuning, mut sysctls) = read(&call.conf())?;
    if let Some(text) = call.arg("MAC") {
        let bad = |e| Error::new(code::ENVIRONMENT, format!("CNI_ARGS: MAC: {e}"));
        tuning.mac = Some(mac(text).map_err(bad)?);
    }
    tuning.mac = call.runtime()?.mac.or(tuning.mac);
    if let Some(args) = call.args_cni()? {
        let (stronger, more) = read(&args)?;
        tuning = Tuning {
            mac: stronger.mac.or(tuning.mac),
            mtu: stronger.mtu.or(tuning.mtu),
            promisc: args.field("promisc", Node::flag)?.or(tuning.promisc),
            allmulti: stronger.allmulti.or(tuning.allmulti),
            tx_queue: stronger.tx_queue.or(tuning.tx_queue),
        };
        sysctls.extend(more);
    }
    // `false` is no wish: it is how it should be anyway.
    tuning.promisc = tuning.promisc.filter(|p| *p);
    Ok(Wanted { tuning, sysctls })
}

fn read(from: &Object<'_>) -> Result<(Tuning, BTreeMap<String, String>)> {
    let tuning = Tuning {
        mac: from.field("mac", hardware_address)?.flatten(),
        mtu: from.number("mtu")?.filter(|n| *n != 0),
        promisc: from.field("promisc", Node::flag)?,
        allmulti: from.field("allmulti", Node::flag)?,
        tx_queue: from.number("txQLen")?,
    };
    let mut sysctls = BTreeMap::new();
    for (key, node) in from.object("sysctl")?.iter().flat_map(Object::entries) {
        sysctls.insert(key.to_owned(), node.text()?.to_owned());
    }
    Ok((tuning, sysctls))
}

fn hardware_address(node: &Node<'_>) -> Result<Option<Mac>> {
    match node.text()? {
        "" => Ok(None),
        text => mac(text).map(Some).map_err(|_| node.bad("a unicast MAC address")),
    }
}

/// With colons or hyphens.
fn mac(text: &str) -> Result<Mac, MacError> {
    text.replace('-', ":").parse()
}
