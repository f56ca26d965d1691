//! One command's hold on a world: its store, its kernel, its lock, and where things are.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::{Error, Result};
use super::fault;
use super::lock::{Lock, Locks};
use crate::kernel::Kernel;
use crate::kernel::linux::{Holder, Linux};
use crate::model::{Family, World};
use crate::plan::{Machine, Names, Object, Place, Plan, desired};
use crate::store::{self, Store};

/// The state root when nobody names another.
pub const DEFAULT_ROOT: &str = "/run/moat";
/// The data root when nobody names another.
pub const DEFAULT_DATA: &str = "/var/lib/moat";

/// Which world a command is about.
#[derive(Clone, Debug)]
pub struct Where {
    pub root: PathBuf,
    pub data: PathBuf,
    /// `CNI_PATH`, which tells runtimes apart; empty on the command line.
    pub caller: String,
}

/// One command's hold on a world.
pub struct Moat {
    /// The directory of this world, below the state root.
    pub dir: PathBuf,
    /// Where layers live.
    pub data: PathBuf,
    pub root: PathBuf,
    pub names: Names,
    pub store: Store,
    pub kernel: Linux,
    pub locks: Locks,
    pub lock: Option<Lock>,
    /// This process and its start time: the owner of what it begins.
    pub me: (i32, u64),
    /// As in [`Where`].
    pub caller: String,
    /// What the host routes elsewhere, and its MTU; filled by [`Moat::learn_host`].
    pub host_routes: Vec<ipnetwork::IpNetwork>,
    pub mtu: u32,
    /// Whether these two are filled in.
    pub knows_host: bool,
}

impl Moat {
    /// Opens a world, making its directory and database when they are missing. Takes no lock.
    ///
    /// # Errors
    /// Not root, or the state cannot be opened.
    pub fn open(place: &Where) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let boot = store::boot_id()?;
        let cookie = netns_cookie()?;
        make_dir(&place.root)?;
        let root = place.root.canonicalize().map_err(|e| state(&place.root, e))?;
        let dir = root.join(&cookie);
        make_dir(&dir)?;
        clear_other_boot(&dir, &boot)?;
        mark_namespace(&dir)?;
        let names = names_of(&root);
        let mut store = Store::open(&dir, &boot)?;
        store.note_changes_of(super::audit::who().to_string());
        let mut kernel = Linux::new(names.clone(), dir.join("router"))?;
        let data = place.data.join(data_name(&boot, &names, &cookie));
        let traces = [dir.join("router"), dir.join("containers"), data.join("layers")];
        let made = holds_objects(&store, &mut kernel, &names, &root)?;
        if store.fresh && (made || traces.iter().any(|t| t.exists())) {
            // A database was lost with what it knew: the next settling removes what is left.
            store.intend("begin anew where a world was", 0, 0)?;
        }
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let me = (pid, crate::sandbox::start_time(pid)?);
        let (host_routes, mtu) = (vec![], 1500);
        Ok(Self {
            locks: Locks::new(&dir),
            dir,
            data,
            root,
            names,
            store,
            kernel,
            lock: None,
            me,
            caller: place.caller.clone(),
            host_routes,
            mtu,
            knows_host: false,
        })
    }

    /// The path of the router namespace.
    #[must_use]
    pub fn router_path(&self) -> PathBuf {
        self.dir.join("router")
    }

    /// A container's run-time directory.
    #[must_use]
    pub fn container_dir(&self, id: &str) -> PathBuf {
        self.dir.join("containers").join(id)
    }

    /// Where images are, of all worlds.
    #[must_use]
    pub fn data_root(&self) -> &Path {
        self.data.parent().unwrap_or(&self.data)
    }

    /// A container's throw-away layer.
    #[must_use]
    pub fn layer_dir(&self, id: &str) -> PathBuf {
        self.data.join("layers").join(id)
    }

    /// What the plan must know of this machine.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn machine(&mut self) -> Result<Machine> {
        let accepts_ra = self.kernel.advertised()?;
        let filters = self.kernel.sysctls(&Place::Host, &desired::BRIDGE_FILTERS)?;
        Ok(Machine {
            filters_frames: filters.iter().all(Option::is_some),
            families: self.families(),
            mtu: self.kernel.default_mtu()?,
            accepts_ra,
        })
    }

    /// The address families of this kernel.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        self.kernel.families()
    }

    /// Asks the kernel what a new network must know of the host.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn learn_host(&mut self) -> Result<()> {
        self.host_routes = self.kernel.host_routes()?;
        self.mtu = self.kernel.default_mtu()?;
        self.knows_host = true;
        Ok(())
    }

    /// The host's own addresses, the uplink's included.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn host_addresses(&mut self) -> Result<Vec<IpAddr>> {
        let mut all = self.kernel.host_addresses()?;
        all.extend([IpAddr::V4(self.names.host4), IpAddr::V6(self.names.host6)]);
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// The part of the world around some containers, with the host's addresses.
    ///
    /// # Errors
    /// When the store or the kernel cannot be read.
    pub fn around(&mut self, containers: &[&crate::model::Name]) -> Result<World> {
        let mut world = self.store.around(containers, clock())?.0;
        world.host = self.host_addresses()?;
        Ok(world)
    }

    /// Does a plan, step by step where faults are to be injected.
    ///
    /// # Errors
    /// The step that failed; those before it hold.
    pub fn apply(&mut self, plan: &Plan) -> Result<()> {
        if !fault::armed() {
            let done = self.kernel.apply(&plan.0, &mut |_| {});
            self.count_own()?;
            return Ok(done?);
        }
        for step in &plan.0 {
            fault::step("a kernel step")?;
            self.kernel.apply(std::slice::from_ref(step), &mut |_| {})?;
            self.count_own()?;
        }
        Ok(())
    }

    /// Does as much of a plan as can be done: for undoing and taking away.
    ///
    /// # Errors
    /// The first step that cannot be done by itself either, after all were tried.
    pub fn apply_all(&mut self, plan: &Plan) -> Result<()> {
        if self.kernel.apply(&plan.0, &mut |_| {}).is_ok() {
            return self.count_own();
        }
        let mut first = Ok(());
        for step in &plan.0 {
            let done = self.kernel.apply(std::slice::from_ref(step), &mut |_| {});
            first = first.and(done);
        }
        self.count_own()?;
        Ok(first?)
    }

    /// Whether an object is in the kernel; an error counts as no.
    pub fn has(&mut self, object: &Object) -> bool {
        self.kernel.has(object).unwrap_or(false)
    }

    /// Where a network's objects are made.
    #[must_use]
    pub fn place(network: &crate::model::Network) -> Place {
        desired::place(network)
    }
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Seconds since the boot: what ends of links are counted in. Whoever sets the machine's clock ends no
/// link early and opens none again, and the state lives no longer than the boot.
#[must_use]
pub fn clock() -> u64 {
    crate::kernel::linux::clock::since_boot().as_secs()
}

/// A time of [`clock`] in seconds since 1970, by the machine's clock as it is now.
#[must_use]
pub fn date(at: u64) -> u64 {
    (now() + at).saturating_sub(clock())
}

pub(super) fn state(path: &Path, source: std::io::Error) -> Error {
    Error::State {
        path: path.display().to_string(),
        source,
    }
}

pub(super) fn make_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
        .map_err(|e| state(path, e))
}

/// What tells one network namespace from every other of this boot: the kernel never gives a
/// cookie twice (`SO_NETNS_COOKIE`, socket(7)); before Linux 5.14, the inode number.
///
/// # Errors
/// When the kernel cannot be asked: another number would be another world.
pub(super) fn netns_cookie() -> Result<String> {
    use std::os::unix::fs::MetadataExt;
    let path = Path::new("/proc/self/ns/net");
    let cookie = crate::kernel::linux::netns_cookie().map_err(|e| state(path, e))?;
    match cookie {
        Some(cookie) => Ok(cookie),
        None => Ok(format!("i{}", path.metadata().map_err(|e| state(path, e))?.ino())),
    }
}

/// The directory of a world's layers: two roots may share one place for data.
fn data_name(boot: &str, names: &Names, cookie: &str) -> String {
    format!("{}-{}-{cookie}", &boot[..8], names.owner)
}

/// How the world of a state root names things.
pub(super) fn names_of(root: &Path) -> Names {
    Names::of_root(root, Path::new(DEFAULT_ROOT))
}

/// Whether a world that knows of nothing in the kernel has something there: its root was lost.
/// Refuses what another root made, which has the same names by chance: it would pass for ours.
fn holds_objects(store: &Store, kernel: &mut Linux, names: &Names, root: &Path) -> Result<bool> {
    if names.are_unique() && !store.fresh || store.meta("live")?.is_some() {
        return Ok(false);
    }
    match kernel.holder()? {
        Holder::Nobody => Ok(false),
        Holder::Us => Ok(true),
        // What an older moat made, or a command that died, may not say whose it is.
        Holder::Another if names.are_unique() || !store.intents()?.is_empty() => Ok(true),
        Holder::Another => Err(Error::Refused {
            what: format!(
                "the names that {} has in the kernel, `{}…`, are in use by another state root",
                root.display(),
                names.prefix
            ),
            hint: "choose another path for --root (or MOAT_ROOT): the names come from it".into(),
        }),
    }
}

/// Moves a database that cannot be read out of the way. Where it is then.
pub(super) fn set_aside(place: &Where) -> Result<PathBuf> {
    let dir = place.root.join(netns_cookie()?);
    let _lock = Locks::new(&dir).exclusive()?;
    let path = dir.join("state.db");
    // A second one in the same second gets a name of its own: nothing is overwritten.
    let name = |n: u32| dir.join(format!("state.db.broken-{}-{n}", now()));
    let aside = (1..=u32::MAX)
        .map(name)
        .find(|p| p.symlink_metadata().is_err())
        .unwrap_or_else(|| name(0));
    std::fs::rename(&path, &aside).map_err(|e| state(&path, e))?;
    for rest in ["state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(dir.join(rest));
    }
    Ok(aside)
}

/// Which namespace a world belongs to, so that `gc` can tell that it is gone.
fn mark_namespace(dir: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let mark = dir.join("netns");
    if mark.exists() {
        return Ok(());
    }
    let inode = std::fs::metadata("/proc/self/ns/net")
        .map_err(|e| state(&mark, e))?
        .ino();
    std::fs::write(&mark, inode.to_string()).map_err(|e| state(&mark, e))
}

/// State that an earlier boot wrote describes a kernel that is no more.
fn clear_other_boot(dir: &Path, boot: &str) -> Result<()> {
    let mark = dir.join("boot");
    match std::fs::read_to_string(&mark) {
        Ok(text) if text == boot => Ok(()),
        Ok(_) => {
            for entry in [
                "state.db",
                "state.db-wal",
                "state.db-shm",
                "router",
                "lock",
                "gate",
                "links",
                "classic",
                "generation",
            ] {
                let _ = std::fs::remove_file(dir.join(entry));
            }
            let _ = std::fs::remove_dir_all(dir.join("containers"));
            std::fs::write(&mark, boot).map_err(|e| state(&mark, e))
        }
        Err(_) => std::fs::write(&mark, boot).map_err(|e| state(&mark, e)),
    }
}
