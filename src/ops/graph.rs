//! `moat graph`: the picture of what runs and of every link.

use super::context::{Moat, Where};
use super::error::Result;
use super::remove;
use crate::model::{Name, Picture};
use crate::store::{Container, Phase};

/// Who may talk to whom, of the containers that run.
///
/// # Errors
/// When the store cannot be read or what ended not be tidied.
pub fn graph(place: &Where) -> Result<Picture> {
    let mut moat = Moat::settled(place)?;
    remove::sweep(&mut moat)?;
    let containers = moat.store.containers()?;
    let running: Vec<&Container> = (containers.iter())
        .filter(|c| c.phase == Phase::Running)
        .collect();
    let mut world = moat.world()?;
    let lone: Vec<_> = (running.iter())
        .filter(|c| !world.endpoints.contains_key(&c.name))
        .map(|c| c.name.clone())
        .collect();
    let runs = |name: &Name| running.iter().any(|c| c.name == *name);
    world.endpoints.retain(|name, _| runs(name));
    world.published.retain(|p| runs(&p.container));
    Ok(Picture::of(&world, &lone))
}
