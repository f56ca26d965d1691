//! The end of containers and networks: `rm`, what a dead command began, what exited.

use std::time::Duration;

use super::context::{Moat, Where, make_dir, now, state};
use super::error::{Error, Result};
use super::fault;
use crate::model::Name;
use crate::plan::Plan;
use crate::sandbox::{self, Spec};
use crate::store::{Container, Phase, Store};

/// What becomes of work that ends what cannot be brought back.
pub const GOES_ON: &str = "the next `moat` command goes on with it";

/// How many containers a command that is not about all of them looks at for their end.
const GLANCE: u32 = 64;

/// How long the kernel may take to end a container's processes.
const PATIENCE: Duration = Duration::from_secs(10);

/// `moat rm`: removes containers; a running one only by force.
///
/// # Errors
/// The first that cannot be removed, after all were tried.
pub fn rm(place: &Where, names: &[String], all: bool, force: bool) -> Result<Vec<Name>> {
    let mut moat = Moat::settled(place)?;
    let found: Vec<Container> = if all {
        moat.store.containers()?
    } else {
        names.iter().map(|n| moat.find(n)).collect::<Result<_>>()?
    };
    let mut removed = Vec::new();
    let mut first = None;
    for c in found {
        match remove(&mut moat, &c, force) {
            Ok(()) => removed.push(c.name),
            Err(e) => first = first.or(Some(e.while_doing(format!("remove `{}`", c.name)))),
        }
    }
    let swept = if all {
        sweep(&mut moat)
    } else {
        sweep_some(&mut moat)
    };
    first.map_or(swept.map(|()| removed), Err)
}

/// What the end of containers would change in the kernel; nothing is done.
///
/// # Errors
/// One does not exist, or the store cannot be read.
pub fn plan_end(place: &Where, names: &[String], all: bool) -> Result<Plan> {
    let mut moat = Moat::settled(place)?;
    let found: Vec<Container> = if all {
        moat.store.containers()?
    } else {
        names.iter().map(|n| moat.find(n)).collect::<Result<_>>()?
    };
    let before = moat.wanted()?;
    moat.store.begin()?;
    let gone = found.iter().try_for_each(|c| moat.store.remove_endpoint(&c.name));
    let after = gone.map_err(Error::from).and_then(|()| {
        for row in moat.store.networks()?.into_iter().filter(|r| !r.kept) {
            if moat.store.attached_count(&row.network.name)? == 0 {
                moat.store.remove_network(&row.network.name)?;
            }
        }
        moat.wanted()
    });
    moat.store.roll_back()?;
    Ok(Plan::between(&before, &after?))
}

/// Removes one container.
///
/// # Errors
/// It runs and `force` is not given, or something would not go.
pub fn remove(moat: &mut Moat, c: &Container, force: bool) -> Result<()> {
    let alive = c
        .pid
        .is_some_and(|(pid, started)| sandbox::is_alive(pid, started));
    if c.name.is_anothers() && !force && c.phase == Phase::Running {
        let hint = format!(
            "its runtime removes it; `moat rm -f {}` takes its network away at once",
            c.name
        );
        return Err(Error::Refused {
            what: "it is another runtime's".into(),
            hint,
        });
    }
    if alive && !force && c.phase == Phase::Running {
        let hint = format!("`moat stop {0}` first, or `moat rm -f {0}`", c.name);
        return Err(Error::Refused {
            what: "it is running".into(),
            hint,
        });
    }
    let claimed = moat.store.write(|s| claim(s, moat.me, c))?;
    if claimed {
        erase(moat, c).map_err(|e| e.noting(GOES_ON))
    } else {
        Ok(())
    }
}

/// Marks a container as being removed by this command. Another rm may have been faster: then there is
/// nothing to do.
pub(super) fn claim(s: &Store, me: (i32, u64), c: &Container) -> Result<bool> {
    let now = s.container(c.name.as_str())?.filter(|n| n.id == c.id);
    let free = now.is_some_and(|n| n.phase != Phase::Removing || !sandbox::is_alive(n.owner.0, n.owner.1));
    if free {
        s.set_phase(&c.name, Phase::Removing, me)?;
    }
    Ok(free)
}

/// Takes away everything of a container whose record says so.
///
/// # Errors
/// What would not go; the record stays, so the next command tries again.
pub fn erase(moat: &mut Moat, c: &Container) -> Result<()> {
    let intent = moat
        .store
        .intend(&format!("remove {}", c.name), moat.me.0, moat.me.1)?;
    fault::step("killing the processes")?;
    kill_and_wait(c)?;
    moat.unlimit(c)?;
    moat.detach(&c.name)?;
    clean(moat, c)?;
    fault::step("forgetting the container")?;
    moat.store.write(|s| {
        s.remove_links_of(&c.name)?;
        super::cni::forget_attachment(s, c)?;
        s.remove_container(&c.name)?;
        s.finish(intent)
    })?;
    Ok(())
}

/// Nothing is done to processes of another runtime.
pub(super) fn kill_and_wait(c: &Container) -> Result<()> {
    if let Some((pid, started)) = c.pid.filter(|_| !c.name.is_anothers()) {
        if let Ok(spec) = serde_json::from_str::<Spec>(&c.spec) {
            // Gone already is what is wanted.
            let _ = sandbox::kill_all(&spec, pid, started);
        }
        sandbox::wait_end(pid, started, PATIENCE)?;
    }
    Ok(())
}

/// Removes a container's files: layer, cgroups, run-time directory.
pub(super) fn clean(moat: &Moat, c: &Container) -> Result<()> {
    fault::step("removing the files")?;
    if let Ok(spec) = serde_json::from_str::<Spec>(&c.spec) {
        sandbox::cleanup(&spec)?;
    }
    let dir = moat.container_dir(&c.id);
    match std::fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(state(&dir, e)),
        _ => Ok(()),
    }
}

/// Records that a container's process is over, and frees its network. Whether it was over.
///
/// # Errors
/// When its network would not go.
pub fn note_exit(moat: &mut Moat, c: &Container) -> Result<bool> {
    let Some((pid, started)) = c.pid else {
        return Ok(false);
    };
    // Another runtime may leave its process a zombie for long: there the namespace tells.
    if runs(moat, &c.name, (pid, started))? {
        return Ok(false);
    }
    if c.auto_remove {
        remove(moat, c, true)?;
        return Ok(true);
    }
    let intent = moat
        .store
        .intend(&format!("end {}", c.name), moat.me.0, moat.me.1)?;
    kill_and_wait(c)?;
    moat.detach(&c.name)?;
    // A first process of ours that left no word was killed, since it ends of nothing else.
    let killed = (!c.name.is_anothers()).then_some(128 + libc::SIGKILL);
    let code = sandbox::exit_code(&moat.container_dir(&c.id)).or(killed);
    moat.store.write(|s| {
        s.set_exited(&c.name, code, now())?;
        s.finish(intent)
    })?;
    Ok(true)
}

/// Whether a container with this first process is there. Another runtime may leave its process a zombie for
/// long: there the namespace tells.
fn runs(moat: &Moat, name: &Name, (pid, started): (i32, u64)) -> Result<bool> {
    Ok(sandbox::is_alive(pid, started) && (!name.is_anothers() || moat.is_attached(name)?))
}

/// Notes every container whose process is over, and what nobody uses any more goes.
///
/// # Errors
/// What would not go.
pub fn sweep(moat: &mut Moat) -> Result<()> {
    tidy(moat, u32::MAX).map_err(|e| e.while_doing("tidy up after what ended").noting(GOES_ON))
}

/// As [`sweep`], at a cost that does not grow with the number of containers: of more than [`GLANCE`] each
/// command looks at some, and a listing at all.
///
/// # Errors
/// What would not go.
pub fn sweep_some(moat: &mut Moat) -> Result<()> {
    tidy(moat, GLANCE).map_err(|e| e.while_doing("tidy up after what ended").noting(GOES_ON))
}

fn tidy(moat: &mut Moat, most: u32) -> Result<()> {
    let count = moat.store.process_count()?;
    // Others than the command before, whose number is another one.
    let skip = (moat.me.0 as u32).wrapping_mul(most) % count.saturating_sub(most).saturating_add(1);
    for (name, pid, started) in moat.store.processes(most, skip)? {
        if !runs(moat, &name, (pid, started))?
            && let Some(c) = moat.store.container(name.as_str())?
            && c.phase == Phase::Running
        {
            note_exit(moat, &c)?;
        }
    }
    if idle(moat)? {
        moat.exclude()?;
        drop_idle_networks(moat)?;
        if moat.store.networks()?.is_empty() {
            moat.tear_down()?;
        }
        moat.lock = None;
        moat.share()?;
    }
    Ok(())
}

/// Whether the default network is there and nobody is on it.
fn idle(moat: &Moat) -> Result<bool> {
    let networks = moat.store.networks()?;
    if networks.is_empty() {
        return Ok(moat.store.meta("live")?.is_some());
    }
    for row in networks.iter().filter(|r| !r.kept) {
        if moat.store.attached_count(&row.network.name)? == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Forgets networks that came by themselves and have no container left. Needs the exclusive lock.
///
/// # Errors
/// When their objects would not go.
pub fn drop_idle_networks(moat: &mut Moat) -> Result<()> {
    for row in moat.store.networks()?.into_iter().filter(|r| !r.kept) {
        if moat.store.attached_count(&row.network.name)? > 0 {
            continue;
        }
        let intent = moat.store.intend(
            &format!("drop network {}", row.network.name),
            moat.me.0,
            moat.me.1,
        )?;
        take_down(moat, &row.network.name)?;
        moat.store.write(|s| {
            s.remove_network(&row.network.name)?;
            s.finish(intent)
        })?;
    }
    Ok(())
}

/// Takes a network's objects out of a kernel that keeps other networks: what nobody else needs.
///
/// # Errors
/// The step that failed.
pub fn take_down(moat: &mut Moat, name: &Name) -> Result<()> {
    if moat.store.networks()?.len() == 1 {
        // The last one takes the whole world along, which is taken down apart.
        return Ok(());
    }
    let plan = plan_without(moat, name)?;
    moat.apply(&plan)
}

/// What goes with a network.
///
/// # Errors
/// When store or kernel cannot be read.
pub fn plan_without(moat: &mut Moat, name: &Name) -> Result<Plan> {
    let before = moat.wanted()?;
    moat.store.begin()?;
    let after = moat
        .store
        .remove_network(name)
        .map_err(Error::from)
        .and_then(|()| moat.wanted());
    moat.store.roll_back()?;
    Ok(Plan::between(&before, &after?))
}

/// Makes the directories of a new container.
///
/// # Errors
/// When they cannot be made.
pub fn make_dirs(moat: &Moat, id: &str) -> Result<()> {
    let dir = moat.container_dir(id);
    make_dir(&dir)?;
    let layers = moat.data.join("layers");
    make_dir(&layers)
}

impl Moat {
    /// A container whose processes are ours, by name or id.
    ///
    /// # Errors
    /// [`Error::Unknown`], or it is another runtime's.
    pub fn find_own(&self, key: &str) -> Result<Container> {
        let c = self.find(key)?;
        if c.name.is_anothers() {
            return Err(Error::Refused {
                what: format!("`{}` is another runtime's: so are its processes", c.name),
                hint: "ask the runtime that started it".into(),
            });
        }
        Ok(c)
    }

    /// A container by name or id, or by what its runtime calls it.
    ///
    /// # Errors
    /// [`Error::Unknown`], with a name that is like it.
    pub fn find(&self, key: &str) -> Result<Container> {
        if let Some(c) = self.store.container(key)? {
            return Ok(c);
        }
        self.refuse_classic(key)?;
        let all = self.store.containers()?;
        let near = super::error::nearest(key, all.iter().map(|c| c.name.as_str()));
        Err(Error::Unknown {
            kind: "container",
            name: key.to_owned(),
            near,
        })
    }
}
