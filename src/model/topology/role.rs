//! One service of a file.

use std::time::Duration;

use super::mounts::{absolute, volumes};
use super::rights::{resources, rights};
use super::values::{duration, one_or_more, pairs, texts, words};
use super::{Around, Health, Restart, Role, Settings, around, links, ports};
use crate::model::yaml::{Fault, Fields, Key, Node, Value};
use crate::model::{Name, bytes_of};

/// A service, with the networks it names in the file's words.
pub struct Read<'a> {
    pub role: Role,
    pub networks: Option<&'a Node>,
}

/// Reads one service. `default` is the file's own `x-moat`.
pub fn role<'a>(
    key: &Key,
    node: &'a Node,
    default: Option<&'a Node>,
    around: &Around<'_>,
) -> Result<Read<'a>, Fault> {
    let what = format!("service `{}`", key.text);
    let name: Name = key
        .text
        .parse()
        .map_err(|e: crate::model::NameError| Fault::new(key.pos, e.to_string()))?;
    let mut fields = node.fields(what.clone())?;
    fields.pos = key.pos;
    let mut s = Settings::default();
    root(&mut fields, default, around, &mut s)?;
    process(&mut fields, &mut s)?;
    environment(&mut fields, around, &mut s)?;
    files(&mut fields, around, &mut s)?;
    rights(&mut fields, around, &mut s)?;
    if let Some(node) = fields.take("ports") {
        s.ports = ports::ports(node)?;
    }
    if let Some(node) = fields.take("healthcheck") {
        s.health = health(node)?;
    }
    let replicas = replicas(&mut fields, &mut s)?;
    let links = fields
        .take("links")
        .map(links::links)
        .transpose()?
        .unwrap_or_default();
    let depends_on = fields.take("depends_on").map(links::depends_on).transpose()?;
    let networks = fields.take("networks");
    refuse_by_name(&fields)?;
    fields.finish_extensible()?;
    let role = Role {
        pos: key.pos,
        body: node.pos,
        name,
        replicas,
        links,
        depends_on: depends_on.unwrap_or_default(),
        settings: s,
    };
    check(&role)?;
    Ok(Read { role, networks })
}

/// Keys that people will look for, each with what to write instead.
fn refuse_by_name(fields: &Fields<'_>) -> Result<(), Fault> {
    const OWN: &str = "leave it out: each container has its own";
    const KNOWN: [(&str, &str); 21] = [
        (
            "build",
            "build the image with another tool, and name it with `image`",
        ),
        (
            "container_name",
            "containers are named PROJECT-SERVICE-N; inside, the service's name is known",
        ),
        (
            "expose",
            "leave it out: it opens nothing, a link says which port is reached",
        ),
        ("privileged", "`cap_add` and `devices` give single rights"),
        ("network_mode", "leave it out: each container has its own network"),
        ("extra_hosts", "a link makes a name known"),
        ("external_links", "`moat link` links to containers of no project"),
        ("profiles", "write another file, and name it with -f"),
        ("extends", "a YAML anchor and `<<:` do the same within a file"),
        ("secrets", "bind a file with `volumes`"),
        ("configs", "bind a file with `volumes`"),
        ("volumes_from", "name the same volume in both services"),
        (
            "logging",
            "leave it out: `moat logs` reads the log of each container",
        ),
        ("tty", "leave it out: `moat exec -it` gives a terminal"),
        ("stdin_open", "leave it out: `moat exec -it` gives a terminal"),
        ("pid", OWN),
        ("ipc", OWN),
        ("uts", OWN),
        ("cgroup", OWN),
        ("device_cgroup_rules", "`devices` names single devices"),
        ("group_add", "`user` takes a group: USER:GROUP"),
    ];
    for (key, _) in fields.rest() {
        if let Some((name, hint)) = KNOWN.iter().find(|(name, _)| *name == key.text) {
            return Err(Fault::new(key.pos, format!("the key `{name}` is not supported")).hinting(*hint));
        }
    }
    Ok(())
}

fn check(role: &Role) -> Result<(), Fault> {
    let s = &role.settings;
    let name = &role.name;
    if s.image.is_some() && s.rootfs.is_some() {
        let what = format!("service `{name}` has both an image and `x-moat: rootfs`");
        return Err(Fault::new(role.pos, what));
    }
    if s.image.is_none() && role.words().is_empty() {
        let what = format!("service `{name}` has no command");
        return Err(Fault::new(role.pos, what).hinting("without an image, `command` says what runs"));
    }
    if let (true, Some(port)) = (role.replicas > 1, s.ports.first()) {
        let what = format!(
            "service `{name}` has {} replicas, and only one container can have the host's port {}",
            role.replicas, port.host
        );
        return Err(Fault::new(port.pos, what).hinting("publish a load balancer that is linked to it"));
    }
    let address = s.addresses.first().map(ToString::to_string);
    let address = address.or_else(|| s.mac.map(|mac| mac.to_string()));
    if let (true, Some(address)) = (role.replicas > 1, address) {
        let what = format!(
            "service `{name}` has {} replicas, and one address: `{address}`",
            role.replicas
        );
        return Err(Fault::new(role.pos, what));
    }
    Ok(())
}

fn root(
    fields: &mut Fields<'_>,
    default: Option<&Node>,
    around: &Around<'_>,
    s: &mut Settings,
) -> Result<(), Fault> {
    if let Some(node) = fields.take("image") {
        s.image = Some(node.text("`image`")?.to_owned());
    }
    let own = fields.take("x-moat");
    if let Some(node) = own.or(default.filter(|_| s.image.is_none())) {
        extension(node, around, s)?;
    }
    if let Some(node) = fields.take("userns_mode") {
        if own.is_some() && s.userns.is_some() {
            return Err(
                node.fault("`userns_mode` and `userns` of `x-moat` are the same: one of them is enough")
            );
        }
        s.userns = Some(users(node, "`userns_mode`")?);
    }
    Ok(())
}

fn users(node: &Node, what: &str) -> Result<String, Fault> {
    let text = node.text(what)?;
    if ["auto", "own", "host"].contains(&text) {
        return Ok(text.to_owned());
    }
    Err(node.fault(format!("{what} is auto, own or host, not: `{text}`")))
}

/// `x-moat`: what the specification has no key for.
fn extension(node: &Node, around: &Around<'_>, s: &mut Settings) -> Result<(), Fault> {
    let mut inner = node.fields("`x-moat`")?;
    if let Some(node) = inner.take("rootfs") {
        s.rootfs = Some(around.path(node.text("`rootfs`")?));
    }
    if let Some(node) = inner.take("share") {
        let paths = one_or_more(node, "`share`")?;
        s.share = paths.iter().map(|(_, p)| around.path(p)).collect();
    }
    if let Some(node) = inner.take("userns") {
        s.userns = Some(users(node, "`userns`")?);
    }
    inner.finish()
}

fn process(fields: &mut Fields<'_>, s: &mut Settings) -> Result<(), Fault> {
    let command = |node: Option<&Node>, what| node.map(|n| words(n, what)).transpose();
    s.entrypoint = command(fields.take("entrypoint"), "`entrypoint`")?;
    s.command = command(fields.take("command"), "`command`")?;
    let text = |node: Option<&Node>, what| node.map(|n| Ok(n.text(what)?.to_owned())).transpose();
    s.user = text(fields.take("user"), "`user`")?;
    s.hostname = text(fields.take("hostname"), "`hostname`")?;
    if let Some(node) = fields.take("working_dir") {
        s.working_dir = Some(absolute(node, node.text("`working_dir`")?)?);
    }
    if let Some(node) = fields.take("init") {
        s.init = Some(node.boolean("`init`")?);
    }
    if let Some(node) = fields.take("restart") {
        s.restart = restart(node)?;
    }
    if let Some(node) = fields.take("stop_grace_period") {
        s.stop_grace = Some(duration(node, "`stop_grace_period`")?);
    }
    s.stop_signal = text(fields.take("stop_signal"), "`stop_signal`")?;
    if let Some(node) = fields.take("mac_address") {
        s.mac = Some(node.parse("`mac_address`", "a unicast MAC address")?);
    }
    if let Some(node) = fields.take("labels") {
        let labels = pairs(node, "`labels`")?;
        if let Some(own) = labels.keys().find(|k| k.starts_with("moat.")) {
            return Err(node.fault(format!("labels that begin with `moat.` are moat's own: `{own}`")));
        }
        s.labels = labels
            .into_iter()
            .map(|(k, v)| (k, v.unwrap_or_default()))
            .collect();
    }
    Ok(())
}

fn restart(node: &Node) -> Result<Restart, Fault> {
    let text = node.text("`restart`")?;
    match text.split_once(':') {
        None => match text {
            "no" | "false" => Some(Restart::No),
            "always" | "unless-stopped" => Some(Restart::Always),
            "on-failure" => Some(Restart::OnFailure(None)),
            _ => None,
        },
        Some(("on-failure", n)) => n.parse().ok().map(|n| Restart::OnFailure(Some(n))),
        Some(_) => None,
    }
    .ok_or_else(|| {
        node.fault(format!(
            "`restart` is no, always, unless-stopped or on-failure[:N], not: `{text}`"
        ))
    })
}

fn environment(fields: &mut Fields<'_>, around: &Around<'_>, s: &mut Settings) -> Result<(), Fault> {
    if let Some(node) = fields.take("env_file") {
        for (node, path) in env_files(node)? {
            let text = (around.read)(&around.path(&path))
                .map_err(|e| node.fault(format!("cannot read the file `{path}`: {e}")))?;
            let lines = around::dotenv(&text, &around.variables)
                .map_err(|f| node.fault(format!("{path}:{}: {}", f.pos, f.what)))?;
            s.environment
                .extend(lines.into_iter().filter_map(|(k, v)| Some((k, v?))));
        }
    }
    if let Some(node) = fields.take("environment") {
        for (key, value) in pairs(node, "`environment`")? {
            // Without a value it is the caller's, or none.
            if let Some(value) = value.or_else(|| around.variables.get(&key).cloned()) {
                s.environment.insert(key, value);
            }
        }
    }
    Ok(())
}

/// One path, a list of them, or a list of mappings with `path`.
fn env_files(node: &Node) -> Result<Vec<(Node, String)>, Fault> {
    let Value::List(items) = &node.value else {
        return one_or_more(node, "`env_file`");
    };
    let mut all = Vec::new();
    for item in items {
        if let Value::Map(_) = item.value {
            let mut fields = item.fields("an entry of `env_file`")?;
            let path = fields.need("path")?;
            fields.finish_extensible()?;
            all.push((path.clone(), path.text("`path`")?.to_owned()));
        } else {
            all.push((item.clone(), item.text("`env_file`")?.to_owned()));
        }
    }
    Ok(all)
}

fn files(fields: &mut Fields<'_>, around: &Around<'_>, s: &mut Settings) -> Result<(), Fault> {
    if let Some(node) = fields.take("volumes") {
        volumes(node, around, s)?;
    }
    if let Some(node) = fields.take("tmpfs") {
        for (node, text) in one_or_more(node, "`tmpfs`")? {
            let (path, options) = text
                .split_once(':')
                .map_or((text.as_str(), None), |(p, o)| (p, Some(o)));
            let bytes = options
                .map(|o| {
                    let wrong = || node.fault(format!("a tmpfs is `PATH[:size=SIZE]`, not: `{text}`"));
                    o.strip_prefix("size=").and_then(bytes_of).ok_or_else(wrong)
                })
                .transpose()?;
            s.tmpfs.push((absolute(&node, path)?, bytes));
        }
    }
    if let Some(node) = fields.take("read_only") {
        s.read_only = node.boolean("`read_only`")?;
    }
    Ok(())
}

fn replicas(fields: &mut Fields<'_>, s: &mut Settings) -> Result<u32, Fault> {
    const FORM: &str = "a number from 0 to 1000";
    let read = |node: &Node, what| {
        let n: u32 = node.parse(what, FORM)?;
        if n > 1000 {
            return Err(node.fault(format!("{what} is {FORM}, not: `{n}`")));
        }
        Ok(n)
    };
    let scale = fields
        .take("scale")
        .map(|n| read(n, "`scale`").map(|v| (n, v)))
        .transpose()?;
    let mut deployed = None;
    if let Some(node) = fields.take("deploy") {
        let mut inner = node.fields("`deploy`")?;
        deployed = inner
            .take("replicas")
            .map(|n| read(n, "`replicas`"))
            .transpose()?;
        if let Some(node) = inner.take("resources") {
            resources(node, s)?;
        }
        inner.finish_extensible()?;
    }
    match (scale, deployed) {
        (Some((node, a)), Some(b)) if a != b => {
            Err(node.fault(format!("`scale` says {a}, and `deploy.replicas` {b}")))
        }
        (scale, deployed) => Ok(scale.map(|(_, n)| n).or(deployed).unwrap_or(1)),
    }
}

fn health(node: &Node) -> Result<Option<Health>, Fault> {
    let mut fields = node.fields("`healthcheck`")?;
    let mut time = |key, default| {
        let node = fields.take(key);
        node.map_or(Ok(default), |n| duration(n, &format!("`{key}`")))
    };
    let interval = time("interval", Duration::from_secs(30))?;
    let timeout = time("timeout", Duration::from_secs(30))?;
    let start_period = time("start_period", Duration::ZERO)?;
    let retries = match fields.take("retries") {
        Some(node) => node.parse("`retries`", "a number")?,
        None => 3,
    };
    let disabled = match fields.take("disable") {
        Some(node) => node.boolean("`disable`")?,
        None => false,
    };
    let test = fields.take("test").map(test).transpose()?.flatten();
    let pos = fields.pos;
    fields.finish_extensible()?;
    match test {
        _ if disabled => Ok(None),
        None => Ok(None),
        Some(test) if test.is_empty() => Err(Fault::new(pos, "`healthcheck` has an empty `test`")),
        Some(test) => Ok(Some(Health {
            test,
            interval,
            timeout,
            retries,
            start_period,
        })),
    }
}

/// The command of a health check; `None` where it is `NONE`.
fn test(node: &Node) -> Result<Option<Vec<String>>, Fault> {
    let shell = |line: &str| Some(["/bin/sh", "-c", line].map(str::to_owned).to_vec());
    if let Value::Text(line) = &node.value {
        return Ok(shell(line));
    }
    let all = texts(node, "`test`")?;
    match all.split_first() {
        Some((first, _)) if first == "NONE" => Ok(None),
        Some((first, [line])) if first == "CMD-SHELL" => Ok(shell(line)),
        Some((first, rest)) if first == "CMD" => Ok(Some(rest.to_vec())),
        _ => {
            Err(node.fault("`test` is one line of shell, or a list that begins with CMD, CMD-SHELL or NONE"))
        }
    }
}
