//! Arguments as typed requests. What exists after this is right in form.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::args::{Exec, HealthArgs, Run};
use super::isolation;
use crate::model::{End, Party, bytes_of};
use crate::ops::publish::PortMap;
use crate::ops::{
    Error, ExecRequest, Health, Limits, Result, Root, Spec, Tmpfs, Volume, run, signal_number, time,
};

pub(super) fn input(value: &str, reason: &str, hint: &str) -> Error {
    Error::Input {
        value: value.to_owned(),
        reason: reason.to_owned(),
        hint: Some(hint.to_owned()),
    }
}

/// `moat run` as a request.
///
/// # Errors
/// The first argument that cannot be read.
pub fn run(args: Run) -> Result<run::Request> {
    let net = match args.net.as_str() {
        "none" => None,
        name => Some(name.parse()?),
    };
    let mut addresses = Vec::new();
    for (text, v4, flag) in [(&args.ip, true, "--ip"), (&args.ip6, false, "--ip6")] {
        let Some(text) = text else { continue };
        let ip: Option<IpAddr> = text.parse().ok().filter(|ip: &IpAddr| ip.is_ipv4() == v4);
        addresses.push(ip.ok_or_else(|| {
            input(
                text,
                &format!("{flag} is no such address"),
                "--ip takes IPv4, --ip6 IPv6",
            )
        })?);
    }
    Ok(run::Request {
        name: args.name.as_deref().map(str::parse).transpose()?,
        net,
        auto_remove: args.rm,
        labels: labels(&args.labels)?,
        links: args
            .links
            .iter()
            .map(|l| Ok(End::with_service(l)?))
            .collect::<Result<_>>()?,
        ports: args
            .publish
            .iter()
            .map(|p| p.parse::<PortMap>())
            .collect::<Result<_>>()?,
        addresses,
        mac: args.mac.as_deref().map(str::parse).transpose()?,
        aliases: vec![],
        image: args.image.clone(),
        entrypoint: args.entrypoint.clone().map(|program| vec![program]),
        spec: spec(args)?,
    })
}

fn labels(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |t: &String| match t.split_once('=') {
        Some((k, v)) if !k.is_empty() && !t.contains(['\n', '\0']) => Ok((k.to_owned(), v.to_owned())),
        _ => Err(input(t, "a label is KEY=VALUE", "for example `--label app=web`")),
    };
    texts.iter().map(pair).collect()
}

/// `KEY=VALUE` sets a label, `KEY-` takes it away.
pub fn relabel(texts: &[String]) -> Result<crate::ops::label::Changes> {
    let change = |t: &String| match t.strip_suffix('-').filter(|key| !key.contains('=')) {
        Some(key) if !key.is_empty() => Ok((key.to_owned(), None)),
        _ => labels(std::slice::from_ref(t)).map(|l| {
            let (key, value) = l.into_iter().next().unwrap_or_default();
            (key, Some(value))
        }),
    };
    texts.iter().map(change).collect()
}

fn spec(args: Run) -> Result<Spec> {
    let isolation = isolation::read(&args)?;
    let mut env = Vec::new();
    for file in &args.env_file {
        let text = std::fs::read_to_string(file).map_err(|e| {
            let path = file.display().to_string();
            let hint = "a line is KEY=VALUE; one that begins with `#` is left out";
            input(
                &path,
                &format!("the file with variables cannot be read ({e})"),
                hint,
            )
        })?;
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty() && !l.starts_with('#'));
        env.extend(lines.map(variable).collect::<Result<Vec<_>>>()?);
    }
    env.extend(args.env.iter().map(|e| variable(e)).collect::<Result<Vec<_>>>()?);
    let (root, fixed) = root(args.rootfs, args.share)?;
    Ok(Spec {
        id: String::new(),
        dir: PathBuf::new(),
        layer: PathBuf::new(),
        hide: vec![],
        root,
        command: args.command,
        env,
        workdir: args.workdir,
        user: args.user,
        hostname: args
            .hostname
            .map(|h| hostname(&h))
            .transpose()?
            .unwrap_or_default(),
        volumes: args.volumes.iter().map(|v| volume(v)).collect::<Result<_>>()?,
        tmpfs: args.tmpfs.iter().map(|t| tmpfs(t)).collect::<Result<_>>()?,
        limits: Limits {
            memory: args.memory.as_deref().map(size).transpose()?,
            cpus: args.cpus.map(cpus).transpose()?,
            pids: args.pids,
        },
        ulimits: args.ulimit.iter().map(|u| ulimit(u)).collect::<Result<_>>()?,
        cap_add: args.cap_add,
        cap_drop: args.cap_drop,
        isolation,
        read_only: args.read_only || fixed,
        init: !args.no_init,
        tty: args.tty,
        interactive: args.interactive,
        detach: args.detach,
        restart: args.restart.parse()?,
        health: health(args.health)?,
        stop_signal: args.stop_signal.as_deref().map(signal).transpose()?,
        log_size: args.log_size.as_deref().map(size).transpose()?,
    })
}

fn health(args: HealthArgs) -> Result<Option<Health>> {
    let Some(command) = args.health_cmd else {
        return Ok(None);
    };
    let default = Health::default();
    let ms = |text: Option<String>, without: u64| match text {
        Some(text) => time::milliseconds(&text),
        None => Ok(without),
    };
    Ok(Some(Health {
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), command],
        interval_ms: ms(args.health_interval, default.interval_ms)?,
        timeout_ms: ms(args.health_timeout, default.timeout_ms)?,
        retries: args.health_retries.unwrap_or(default.retries),
        start_period_ms: ms(args.health_start_period, default.start_period_ms)?,
    }))
}

/// `DIR[:ro]`, or the host's own tree; whether nothing may be written.
fn root(rootfs: Option<PathBuf>, share: Vec<PathBuf>) -> Result<(Root, bool)> {
    let Some(given) = rootfs else {
        return Ok((Root::Host { share }, false));
    };
    let text = given.to_string_lossy();
    let (dir, fixed) = match text.strip_suffix(":ro") {
        // A directory may be called so.
        Some(dir) if !given.exists() => (PathBuf::from(dir), true),
        _ => (given.clone(), false),
    };
    let whole = std::path::absolute(&dir).map_err(|source| Error::State {
        path: dir.display().to_string(),
        source,
    })?;
    Ok((Root::Dir(whole), fixed))
}

/// `K=V`, or `K` for the caller's own value.
fn variable(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((k, v)) if !k.is_empty() => Ok((k.to_owned(), v.to_owned())),
        None if !text.is_empty() => Ok((text.to_owned(), std::env::var(text).unwrap_or_default())),
        _ => Err(input(
            text,
            "a variable is KEY=VALUE",
            "for example `-e MODE=test`",
        )),
    }
}

fn hostname(text: &str) -> Result<String> {
    let fits = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    if fits {
        Ok(text.to_owned())
    } else {
        Err(input(text, "no host name", "1 to 63 of `a-z 0-9 - .`"))
    }
}

fn volume(text: &str) -> Result<Volume> {
    let bad = || {
        input(
            text,
            "a volume is SRC:DST[:ro], both absolute paths",
            "for example `-v /srv/data:/data:ro`",
        )
    };
    let mut parts = text.split(':');
    let (src, dst) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(bad)?);
    let read_only = match parts.next() {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(_) => return Err(bad()),
    };
    if parts.next().is_some() || !src.starts_with('/') || !dst.starts_with('/') {
        return Err(bad());
    }
    Ok(Volume {
        src: src.into(),
        dst: dst.into(),
        read_only,
    })
}

fn tmpfs(text: &str) -> Result<Tmpfs> {
    let bad = || {
        input(
            text,
            "a tmpfs is DST[:size=S]",
            "for example `--tmpfs /cache:size=64m`",
        )
    };
    let (dst, rest) = text.split_once(':').map_or((text, None), |(d, r)| (d, Some(r)));
    let size = match rest {
        Some(rest) => Some(size(rest.strip_prefix("size=").ok_or_else(bad)?)?),
        None => None,
    };
    if dst.starts_with('/') {
        Ok(Tmpfs {
            dst: dst.into(),
            size,
        })
    } else {
        Err(bad())
    }
}

fn size(text: &str) -> Result<u64> {
    bytes_of(text).ok_or_else(|| input(text, "no size", "bytes, or with k, m, g: `512m`"))
}

fn cpus(n: f64) -> Result<f64> {
    if n.is_finite() && n >= 0.01 {
        Ok(n)
    } else {
        Err(input(
            &n.to_string(),
            "no number of CPUs",
            "for example `--cpus 0.5`",
        ))
    }
}

fn ulimit(text: &str) -> Result<(String, u64, u64)> {
    let bad = || {
        input(
            text,
            "a limit is NAME=SOFT[:HARD]",
            "for example `--ulimit nofile=1024:4096`",
        )
    };
    let number = |s: &str| {
        if s == "unlimited" {
            Ok(u64::MAX)
        } else {
            s.parse::<u64>().map_err(|_| bad())
        }
    };
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    Ok((name.to_owned(), number(soft)?, number(hard)?))
}

/// `moat exec` as a request.
///
/// # Errors
/// A variable that cannot be read.
pub fn exec(args: &Exec) -> Result<ExecRequest> {
    Ok(ExecRequest {
        command: args.command.clone(),
        env: args.env.iter().map(|e| variable(e)).collect::<Result<_>>()?,
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        tty: args.tty,
        interactive: args.interactive,
    })
}

/// A party of a question: a container, `host`, `world`, or an address.
///
/// # Errors
/// None of these.
pub fn party(end: &End) -> Result<Party> {
    match end {
        End::Container(n) => Ok(Party::Container(n.clone())),
        End::Host => Ok(Party::Host),
        End::World => Ok(Party::World),
        End::Cidr(range) if range.prefix() == if range.is_ipv4() { 32 } else { 128 } => {
            Ok(Party::Address(range.ip()))
        }
        other => Err(input(
            &other.to_string(),
            "a question is about one container, `host`, `world` or one address",
            "ask for each apart",
        )),
    }
}

/// A signal by name or number.
///
/// # Errors
/// There is no such signal.
pub fn signal(text: &str) -> Result<i32> {
    signal_number(text).ok_or_else(|| input(text, "no such signal", "`kill -l` lists them"))
}
