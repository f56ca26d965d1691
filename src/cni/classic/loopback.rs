//! `loopback`: `lo` of a container. It has no keys; its result is that of the plugins before,
//! if there are any.

use super::netns;
use crate::cni::Plugin;
use crate::cni::call::Call;
use crate::cni::error::Result;
use crate::cni::result::{Interface, Ip, Outcome};
use crate::ops::classic::loopback;

/// The plugin type.
pub struct Loopback;

impl Plugin for Loopback {
    fn name(&self) -> &'static str {
        "loopback"
    }

    fn add(&self, call: &Call) -> Result<Outcome> {
        let previous = call.previous()?;
        let netns = netns(call)?;
        let addresses = loopback::up(netns)?;
        let lo = Interface {
            name: loopback::LO.into(),
            mac: "00:00:00:00:00:00".into(),
            sandbox: netns.display().to_string(),
            ..Interface::default()
        };
        let ip = |address| Ip {
            interface: Some(0),
            address,
            gateway: None,
        };
        Ok(previous.unwrap_or_else(|| Outcome {
            interfaces: vec![lo],
            ips: addresses.into_iter().map(ip).collect(),
            ..Outcome::default()
        }))
    }

    fn del(&self, call: &Call) -> Result<()> {
        Ok(loopback::down(call.netns.as_deref())?)
    }

    fn check(&self, call: &Call) -> Result<()> {
        Ok(loopback::check(netns(call)?)?)
    }

    /// It keeps nothing outside the container.
    fn gc(&self, call: &Call) -> Result<()> {
        call.valid_attachments().map(drop)
    }

    fn status(&self, _: &Call) -> Result<()> {
        Ok(())
    }
}
