//! A service of a file as a request to run a container.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::super::context::Moat;
use super::super::error::{Error, Result};
use super::super::net::DEFAULT;
use super::super::publish::PortMap;
use super::super::{image, run};
use super::file::Found;
use super::parts;
use crate::model::Name;
use crate::model::topology::{
    self, CONFIG, MEMBER, PROJECT, REPLICA, Role, SERVICE, Settings, Source, SystemCalls,
};
use crate::model::yaml::Fault;
use crate::sandbox::{self, Isolation, Limits, Root, Seccomp, Spec, Tmpfs, Users, Volume};

/// What to run for one replica.
///
/// # Errors
/// Something that this machine cannot do, with its place in the file.
pub fn request(moat: &Moat, found: &Found, role: &Role, name: &Name, replica: u32) -> Result<run::Request> {
    let s = &role.settings;
    let project = &found.project.name;
    let mut labels = s.labels.clone();
    labels.extend(own_labels(project, role, replica));
    let ports = s.ports.iter().map(|p| PortMap {
        host_ip: p.host_ip,
        host: p.host,
        inside: p.inside,
        proto: p.proto,
    });
    let mut aliases = vec![role.name.to_string()];
    aliases.extend(s.aliases.iter().filter(|a| **a != role.name.as_str()).cloned());
    aliases.retain(|a| a != name.as_str());
    let net = match &s.network {
        Some(name) => name.clone(),
        None => DEFAULT.parse()?,
    };
    let mut request = run::Request {
        name: Some(name.clone()),
        net: Some(net),
        auto_remove: false,
        labels,
        links: vec![],
        ports: ports.collect(),
        addresses: s.addresses.clone(),
        mac: s.mac,
        aliases,
        image: s.image.clone(),
        entrypoint: s.entrypoint.clone(),
        spec: spec(moat, found, role)?,
    };
    if let Some(key) = request.image.take() {
        // From here on its root says which layers it needs.
        image::choose(moat.data_root(), &key)
            .and_then(|chosen| chosen.complete(&mut request))
            .map_err(|e| {
                let mut fault = Fault::new(role.pos, format!("service `{}`: {e}", role.name));
                fault.hint = e.hint();
                found.wrong(fault)
            })?;
    }
    Ok(request)
}

fn own_labels(project: &Name, role: &Role, replica: u32) -> BTreeMap<String, String> {
    [
        (MEMBER, format!("{project}/{}", role.name)),
        (PROJECT, project.to_string()),
        (SERVICE, role.name.to_string()),
        (REPLICA, replica.to_string()),
        (CONFIG, role.config()),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into()
}

fn spec(moat: &Moat, found: &Found, role: &Role) -> Result<Spec> {
    let s = &role.settings;
    let volumes = s.mounts.iter().map(|m| {
        let src = match &m.source {
            Source::Path(path) => path.clone(),
            Source::Volume(key) => match found.project.volumes.get(key) {
                Some(wish) => parts::volume_dir(moat, wish),
                None => return Err(found.wrong(Fault::new(m.pos, format!("no volume is named `{key}`")))),
            },
        };
        Ok(Volume {
            src,
            dst: m.target.clone(),
            read_only: m.read_only,
        })
    });
    Ok(Spec {
        root: root(role),
        // An entry point goes with the image's own command.
        command: match (&s.image, &s.command) {
            (Some(_), command) => command.clone().unwrap_or_default(),
            (None, _) => role.words(),
        },
        env: s.environment.clone().into_iter().collect(),
        workdir: s.working_dir.clone(),
        user: s.user.clone(),
        hostname: s.hostname.clone().unwrap_or_default(),
        volumes: volumes.collect::<Result<_>>()?,
        tmpfs: s.tmpfs.iter().map(tmpfs).collect(),
        limits: Limits {
            memory: s.memory,
            cpus: s.cpus,
            pids: s.pids,
        },
        cap_add: s.cap_add.clone(),
        cap_drop: s.cap_drop.clone(),
        read_only: s.read_only,
        init: s.init.unwrap_or(true),
        isolation: Isolation {
            users: users(found, role)?,
            seccomp: match &s.seccomp {
                None => Seccomp::Default,
                Some(SystemCalls::Off) => Seccomp::Off,
                Some(SystemCalls::Profile(text)) => Seccomp::Profile(text.clone()),
            },
            devices: s.devices.clone(),
        },
        ulimits: s.ulimits.clone(),
        stop_signal: stop_signal(found, role)?,
        restart: restart(s.restart),
        health: s.health.as_ref().map(health),
        detach: true,
        ..Spec::default()
    })
}

fn restart(wish: topology::Restart) -> sandbox::Restart {
    match wish {
        topology::Restart::No => sandbox::Restart::No,
        topology::Restart::OnFailure(most) => sandbox::Restart::OnFailure { most },
        topology::Restart::Always => sandbox::Restart::Always,
    }
}

fn health(wish: &topology::Health) -> sandbox::Health {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    sandbox::Health {
        command: wish.test.clone(),
        interval_ms: ms(wish.interval),
        timeout_ms: ms(wish.timeout),
        retries: wish.retries,
        start_period_ms: ms(wish.start_period),
    }
}

fn users(found: &Found, role: &Role) -> Result<Users> {
    match role.settings.userns.as_deref() {
        None | Some("auto") => Ok(Users::Auto),
        Some("host") => Ok(Users::Host),
        Some("own") => Ok(Users::Own),
        Some(other) => {
            let what = format!(
                "service `{}`: `userns` is auto, own or host, not: `{other}`",
                role.name
            );
            Err(found.wrong(Fault::new(role.pos, what)))
        }
    }
}

fn stop_signal(found: &Found, role: &Role) -> Result<Option<i32>> {
    let Some(text) = &role.settings.stop_signal else {
        return Ok(None);
    };
    let what = || {
        Fault::new(
            role.pos,
            format!("service `{}`: no such signal: `{text}`", role.name),
        )
    };
    let number = sandbox::signal_number(text).ok_or_else(|| found.wrong(what()))?;
    Ok(Some(number))
}

fn tmpfs((dst, size): &(PathBuf, Option<u64>)) -> Tmpfs {
    Tmpfs {
        dst: dst.clone(),
        size: *size,
    }
}

fn root(role: &Role) -> Root {
    let s = &role.settings;
    match &s.rootfs {
        Some(dir) => Root::Dir(dir.clone()),
        None => Root::Host {
            share: s.share.clone(),
        },
    }
}

/// Whether what this role names on the host is there, and the sandbox can make such a container.
///
/// # Errors
/// It cannot, with the place in the file.
pub fn check(found: &Found, role: &Role, request: &run::Request) -> Result<()> {
    let Settings { mounts, .. } = &role.settings;
    for mount in mounts {
        if let Source::Path(path) = &mount.source
            && !path.exists()
        {
            let what = format!("no such file or directory on the host: `{}`", path.display());
            return Err(found.wrong(Fault::new(mount.pos, what)));
        }
    }
    let mut spec = request.spec.clone();
    // A volume is made later.
    spec.volumes.retain(|v| v.src.exists());
    sandbox::prepare(&spec).map_err(|e| {
        let hint = e.hint();
        let mut fault = Fault::new(role.pos, format!("service `{}`: {e}", role.name));
        fault.hint = hint;
        found.wrong(fault)
    })?;
    super::super::publish::check_free(&request.ports).map_err(|e: Error| {
        let pos = role.settings.ports.first().map_or(role.pos, |p| p.pos);
        let mut fault = Fault::new(pos, e.to_string());
        fault.hint = e.hint();
        found.wrong(fault)
    })
}
