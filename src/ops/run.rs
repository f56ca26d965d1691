//! `moat run`: record, launch, attach, release; each step undone when a later one fails.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sha2::{Digest as _, Sha256};

use super::context::{Moat, Where, now, state};
use super::error::{Error, Result};
use super::publish::{self, PortMap};
use super::{classic, fault, image, net, remove};
use crate::model::{End, Link, Mac, Name, Network, Published, Service};
use crate::plan::Plan;
use crate::sandbox::{self, Spec};
use crate::store::{Container, NewEndpoint, Phase};

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Request {
    pub name: Option<Name>,
    /// `None` is `--net none`: loopback only.
    pub net: Option<Name>,
    pub auto_remove: bool,
    pub labels: BTreeMap<String, String>,
    pub links: Vec<(End, Service)>,
    pub ports: Vec<PortMap>,
    pub addresses: Vec<IpAddr>,
    pub mac: Option<Mac>,
    /// Names by which those that are linked to it find it, beside its own.
    pub aliases: Vec<String>,
    /// A name or id of an image; it says what `spec` leaves out, and is its root.
    pub image: Option<String>,
    /// Instead of the image's own entry point.
    pub entrypoint: Option<Vec<String>>,
    /// The sandbox's part; id, directories and a missing hostname are filled in here.
    pub spec: Spec,
}

/// What came of it.
pub enum Outcome {
    /// A foreground container ended with this status.
    Ended(i32),
    /// A detached container runs.
    Started { id: String, name: Name },
    /// What would be done.
    Planned(Plan),
}

/// Is told, before the command starts, what the person should know and is no error.
pub type Note<'a> = &'a mut dyn FnMut(&str);

/// Runs a container.
///
/// # Errors
/// What failed; nothing of the container stays.
pub fn run(place: &Where, mut request: Request, dry: bool, note: Note<'_>) -> Result<Outcome> {
    fault::reach_launcher();
    let mut moat = Moat::settled(place)?;
    let id = new_id()?;
    let chosen = choose(&moat, &mut request)?;
    let name = match &request.name {
        Some(name) => name.clone(),
        None => invent(&request.spec, chosen.as_ref(), &id)?,
    };
    complete(&moat, &mut request, &id, &name);
    sandbox::prepare(&request.spec)?;
    let wanted = format!("run `{name}`");
    if dry {
        return plan(&mut moat, &name, &request)
            .map(Outcome::Planned)
            .map_err(|e| e.while_doing(wanted));
    }
    let free = publish::check_free(&request.ports)
        .and_then(|()| classic::portmap::check_free(&mut moat, &request.ports));
    free.map_err(|e| e.while_doing(wanted.clone()))?;
    start(&mut moat, &id, &name, &request, chosen, note).map_err(|e| e.while_doing(wanted))
}

/// Looks the image up, if there is one, and fills in what it says.
fn choose(moat: &Moat, request: &mut Request) -> Result<Option<image::Chosen>> {
    let Some(key) = request.image.clone() else {
        return image::again(moat.data_root(), &request.spec.root);
    };
    let chosen = image::choose(moat.data_root(), &key).and_then(|chosen| {
        chosen.complete(request)?;
        Ok(chosen)
    });
    chosen
        .map(Some)
        .map_err(|e| e.while_doing(format!("run image `{key}`")))
}

/// Fills in what the caller could not know.
pub(super) fn complete(moat: &Moat, request: &mut Request, id: &str, name: &Name) {
    let spec = &mut request.spec;
    id.clone_into(&mut spec.id);
    spec.dir = moat.container_dir(id);
    spec.layer = moat.layer_dir(id);
    spec.hide = vec![
        moat.root.clone(),
        moat.data.parent().unwrap_or(&moat.data).to_owned(),
    ];
    if spec.hostname.is_empty() {
        spec.hostname = name
            .as_str()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
    }
}

/// Starts a container in the background, and keeps the lock.
///
/// # Errors
/// What failed; nothing of the container stays.
pub(super) fn start_detached(
    moat: &mut Moat,
    name: &Name,
    mut request: Request,
    note: Note<'_>,
) -> Result<()> {
    request.spec.detach = true;
    let id = new_id()?;
    let chosen = choose(moat, &mut request)?;
    complete(moat, &mut request, &id, name);
    begin(moat, &id, name, &request, chosen, note)
        .map(drop)
        .map_err(|e| e.while_doing(format!("run `{name}`")))
}

fn start(
    moat: &mut Moat,
    id: &str,
    name: &Name,
    request: &Request,
    chosen: Option<image::Chosen>,
    note: Note<'_>,
) -> Result<Outcome> {
    let running = begin(moat, id, name, request, chosen, note)?;
    moat.write_audit();
    // Over the whole life of a foreground container the lock is free.
    moat.lock = None;
    if request.spec.detach {
        return Ok(Outcome::Started {
            id: id.to_owned(),
            name: name.clone(),
        });
    }
    let code = running.wait_foreground()?;
    end(moat, id, name, code)
        .map_err(|e| e.noting(&format!("it ended with status {code}; {}", remove::GOES_ON)))?;
    Ok(Outcome::Ended(code))
}

/// Records, launches and attaches; or nothing of it stays.
fn begin(
    moat: &mut Moat,
    id: &str,
    name: &Name,
    request: &Request,
    chosen: Option<image::Chosen>,
    note: Note<'_>,
) -> Result<sandbox::Running> {
    let record = record(moat, id, name, request)?;
    moat.learn_host()?;
    let intent = moat.store.write(|s| {
        let network = enter(moat, s, &record, name, request)?;
        let intent = s.intend(&format!("run {name}"), moat.me.0, moat.me.1)?;
        Ok::<_, Error>((intent, network))
    })?;
    let (intent, network) = intent;
    let running = match launch(moat, name, request, network.as_ref(), chosen, note) {
        Ok(running) => running,
        Err(e) => {
            let undone = undo(moat, &record);
            return Err(moat.undone(e, undone, intent));
        }
    };
    moat.store.finish(intent)?;
    Ok(running)
}

/// Notes that a foreground container ended.
fn end(moat: &mut Moat, id: &str, name: &Name, code: i32) -> Result<()> {
    moat.share()?;
    let current = moat.store.container(name.as_str())?;
    if let Some(c) = current.filter(|c| c.id == id) {
        if c.phase == Phase::Running {
            remove::note_exit(moat, &c)?;
        }
        // Also where another command noted the end before: this one waited for it.
        moat.store.set_exit_code(name, code)?;
    }
    remove::sweep_some(moat)
}

/// The record of a container that is being created.
fn record(moat: &Moat, id: &str, name: &Name, request: &Request) -> Result<Container> {
    let spec = serde_json::to_string(&request.spec).map_err(|e| Error::Input {
        value: name.to_string(),
        reason: e.to_string(),
        hint: None,
    })?;
    Ok(Container {
        id: id.to_owned(),
        name: name.clone(),
        phase: Phase::Creating,
        owner: moat.me,
        pid: None,
        exit_code: None,
        created: now(),
        finished: None,
        auto_remove: request.auto_remove,
        labels: request.labels.clone(),
        spec,
    })
}

/// Records the container with all it asks for, in one transaction.
fn enter(
    moat: &Moat,
    s: &crate::store::Store,
    record: &Container,
    name: &Name,
    request: &Request,
) -> Result<Option<Network>> {
    s.add_container(record)?;
    let Some(net_name) = &request.net else {
        if request.ports.is_empty() && request.links.is_empty() {
            return Ok(None);
        }
        let hint = "leave `--net none` out".to_owned();
        return Err(Error::Refused {
            what: "a container without a network has no links or ports".into(),
            hint,
        });
    };
    let network = net::find_or_default(moat, s, net_name)?;
    if network.foreign {
        return Err(Error::Refused {
            what: format!("network `{net_name}` is another plugin's: moat only keeps its walls"),
            hint: "`moat net create` makes a network for containers of moat".into(),
        });
    }
    for ip in &request.addresses {
        net::check_address(&network, *ip)?;
    }
    let wish = NewEndpoint {
        addresses: request.addresses.clone(),
        mac: request.mac,
        aliases: request.aliases.clone(),
        ..NewEndpoint::default()
    };
    s.add_endpoint(name, &network, &request.labels, &wish)?;
    for (to, service) in &request.links {
        super::link::check_end(s, to, Some(&network))?;
        let from = End::Container(name.clone());
        s.add_link(&Link {
            from,
            to: to.clone(),
            service: *service,
            expires: None,
        })?;
    }
    for map in &request.ports {
        for p in map.each(name) {
            let p: Published = p;
            s.publish(&p)?;
        }
    }
    Ok(Some(network))
}

/// Launches the process, gives it its network, and lets it go.
fn launch(
    moat: &mut Moat,
    name: &Name,
    request: &Request,
    network: Option<&Network>,
    chosen: Option<image::Chosen>,
    note: Note<'_>,
) -> Result<sandbox::Running> {
    fault::step("making its directories")?;
    remove::make_dirs(moat, &request.spec.id)?;
    if let Some(chosen) = chosen {
        // From here on the mark keeps the layers, and others may change images.
        chosen.mark(moat, &request.spec.id, name.as_str())?;
    }
    write_files(moat, name, request, network)?;
    if network.is_some() {
        moat.ensure_live()?;
    }
    fault::step("launching the process")?;
    let launched = sandbox::launch(&request.spec)?;
    let pid = launched.pid();
    fault::step("recording the process")?;
    let started = sandbox::start_time(pid)?;
    moat.store.write(|s| {
        s.set_process(name, pid, started)?;
        if network.is_some() {
            s.set_sandbox(name, format!("/proc/{pid}/ns/net").as_ref())?;
        }
        Ok::<_, Error>(())
    })?;
    if network.is_some()
        && let Err(error) = plug_in(moat, name)
    {
        // What ended meanwhile took its namespaces along, and has a reason of its own to tell.
        let gone = launched.ended();
        return Err(match gone.then(|| launched.release()) {
            Some(Err(reason)) => reason.into(),
            _ => error,
        });
    }
    fault::step("releasing the process")?;
    launched.notes().iter().for_each(|text| note(text));
    let running = launched.release()?;
    moat.store.set_phase(name, Phase::Running, moat.me)?;
    Ok(running)
}

/// Gives the container its network, and its names to those that know it.
fn plug_in(moat: &mut Moat, name: &Name) -> Result<()> {
    moat.attach(name)?;
    let mut names = moat.who_names(name)?;
    names.push(name.clone());
    moat.refresh_hosts(&names)
}

/// The files that are bound into the container.
fn write_files(moat: &Moat, name: &Name, request: &Request, network: Option<&Network>) -> Result<()> {
    let dir = &request.spec.dir;
    let hostname = &request.spec.hostname;
    let (world, _) = moat.store.around(&[name], super::context::clock())?;
    let hosts = world.endpoints.get(name).map_or_else(
        || format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost\n"),
        |e| super::hosts::hosts_file(&moat.names, &world, e, hostname),
    );
    let resolv = super::hosts::resolv_conf(network.is_none_or(|n| n.internal));
    for (file, text) in [
        ("hosts", hosts),
        ("hostname", format!("{hostname}\n")),
        ("machine-id", machine_id(&request.spec.id)),
        ("resolv.conf", resolv),
    ] {
        let path = dir.join(file);
        std::fs::write(&path, text).map_err(|e| state(&path, e))?;
    }
    Ok(())
}

/// 32 hex digits that no other container has (machine-id(5)).
fn machine_id(id: &str) -> String {
    let digest = Sha256::digest(id);
    let digits: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
    digits + "\n"
}

/// Takes back everything of a container that could not be started.
fn undo(moat: &mut Moat, record: &Container) -> Result<()> {
    let current = moat.store.container(record.name.as_str())?;
    let c = current.unwrap_or_else(|| record.clone());
    remove::erase(moat, &c)?;
    remove::sweep_some(moat)
}

/// What would be done, without doing it: the records are made and rolled back.
fn plan(moat: &mut Moat, name: &Name, request: &Request) -> Result<Plan> {
    let live = moat.store.meta("live")?.is_some();
    moat.learn_host()?;
    let mut plan = Plan::default();
    moat.store.begin()?;
    let entered = enter_only(moat, "dry-run", name, request, "/proc/PID/ns/net");
    let planned = entered.and_then(|()| {
        let wanted = if live {
            moat.objects_of(name)?
        } else {
            moat.wanted()?
        };
        plan = Plan::add(&wanted);
        Ok(())
    });
    moat.store.roll_back()?;
    planned.map(|()| plan)
}

/// Records a container that is never launched, for a plan that is rolled back.
///
/// # Errors
/// Something it asks for is taken.
pub(super) fn enter_only(moat: &Moat, id: &str, name: &Name, request: &Request, netns: &str) -> Result<()> {
    let record = record(moat, id, name, request)?;
    enter(moat, &moat.store, &record, name, request)?;
    Ok(moat.store.set_sandbox(name, netns.as_ref())?)
}

/// Twelve hex digits that nobody else has.
pub(super) fn new_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/uuid";
    let text = std::fs::read_to_string(path).map_err(|e| state(path.as_ref(), e))?;
    Ok(text.chars().filter(char::is_ascii_hexdigit).take(12).collect())
}

/// A name from the image or the command: `redis-server-3f2a`.
fn invent(spec: &Spec, chosen: Option<&image::Chosen>, id: &str) -> Result<Name> {
    let command = spec.command.first().map_or("", String::as_str);
    let command = chosen.map_or(command, image::Chosen::stem);
    let base = command.rsplit('/').next().unwrap_or_default();
    let plain: String = base
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(40)
        .collect();
    let plain = plain.trim_start_matches('-');
    let stem = if plain.is_empty() { "container" } else { plain };
    Ok(format!("{stem}-{}", &id[..4]).parse()?)
}
