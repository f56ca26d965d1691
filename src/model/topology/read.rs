//! A whole file: services, networks, volumes, and that what they name is there.

use std::collections::BTreeMap;

use super::interpolate::interpolate_all;
use super::{Around, Condition, NetworkWish, Project, Role, Source, To, VolumeWish, role};
use crate::model::yaml::{Fault, Fields, Key, Node, Pos, Value, load};
use crate::model::{Name, NameError, Subnet, nearest};

/// Reads a Compose file. `name` is the project's, if somebody gave one.
///
/// # Errors
/// The first thing in it that is wrong or not supported, with its place.
pub fn read(text: &str, name: Option<&Name>, around: &Around<'_>) -> Result<Project, Fault> {
    let mut node = document(text)?;
    project(&mut node, name, around)
}

fn document(text: &str) -> Result<Node, Fault> {
    let mut documents = load(text)?;
    match (documents.pop(), documents.len()) {
        (Some(node), 0) => Ok(node),
        (Some(second), _) => Err(second.fault("a Compose file has one document")),
        (None, _) => Err(Fault::new(Pos { line: 1, column: 1 }, "the file is empty")),
    }
}

/// Reads a Compose file that was written for another program: keys that are not supported are taken out
/// and given back as what is wrong with them.
///
/// # Errors
/// What is wrong and no unknown key.
pub fn without_unknown(
    text: &str,
    name: Option<&Name>,
    around: &Around<'_>,
) -> Result<(Project, Vec<Fault>), Fault> {
    let mut node = document(text)?;
    let mut unknown = Vec::new();
    loop {
        let fault = match project(&mut node.clone(), name, around) {
            Ok(project) => return Ok((project, unknown)),
            Err(fault) => fault,
        };
        // Each round takes a key out, so it ends.
        if !fault.what.contains("key `") || !take_out(&mut node, &fault) {
            return Err(fault);
        }
        unknown.push(fault);
    }
}

fn take_out(node: &mut Node, fault: &Fault) -> bool {
    match &mut node.value {
        Value::Map(entries) => {
            let before = entries.len();
            entries.retain(|(k, _)| k.pos != fault.pos);
            entries.len() < before || entries.iter_mut().any(|(_, n)| take_out(n, fault))
        }
        Value::List(items) => items.iter_mut().any(|n| take_out(n, fault)),
        Value::Null | Value::Text(_) => false,
    }
}

fn project(node: &mut Node, name: Option<&Name>, around: &Around<'_>) -> Result<Project, Fault> {
    let mut unset = Vec::new();
    interpolate_all(node, &|name| around.variables.get(name).cloned(), &mut unset)?;
    unset.sort();
    unset.dedup();
    let mut fields = node.fields("the file")?;
    // The specification says that it has no meaning any more.
    let _ = fields.take("version");
    let own = fields.take("name").map(own_name).transpose()?;
    let name = match name.cloned().or(own) {
        Some(name) => name,
        None => by_directory(around, fields.pos)?,
    };
    let default = fields.take("x-moat");
    let services = fields.need("services")?;
    let mut networks = networks(&mut fields, &name)?;
    let volumes = volumes(&mut fields, &name)?;
    fields.finish_extensible()?;
    let mut roles = Vec::new();
    for (key, node) in services.map("`services`")? {
        let read = role::role(key, node, default, around)?;
        let mut role = read.role;
        network_of(&mut role, read.networks, &mut networks)?;
        roles.push(role);
    }
    if roles.is_empty() {
        return Err(services.fault("the file has no service"));
    }
    // Those that nobody is on are not made.
    let used: Vec<_> = roles.iter().filter_map(|r| r.settings.network.clone()).collect();
    networks.retain(|_, n| used.contains(&n.name));
    let project = Project {
        name,
        roles,
        networks,
        volumes,
        warnings: unset
            .iter()
            .map(|v| format!("the variable `{v}` is not set: it is empty in the file"))
            .collect(),
    };
    check(&project)?;
    Ok(project)
}

fn own_name(node: &Node) -> Result<Name, Fault> {
    let wrong = |e: NameError| node.fault(e.to_string());
    node.text("`name`")?.parse().map_err(wrong)
}

/// The name of the directory, with what no name may have left out.
fn by_directory(around: &Around<'_>, pos: Pos) -> Result<Name, Fault> {
    let dir = around
        .dir
        .file_name()
        .map(|n| n.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let plain: String = dir.chars().filter(fits).collect();
    plain
        .trim_start_matches(['-', '_'])
        .parse()
        .map_err(|e: NameError| {
            let hint = "give it one with the key `name`, or with --project";
            Fault::new(pos, format!("the directory gives no name for the project: {e}")).hinting(hint)
        })
}

/// The names of what exists outside of the file: `name`, or PROJECT-KEY.
fn outer_name(fields: &mut Fields<'_>, key: &Key, project: &Name, external: bool) -> Result<Name, Fault> {
    let wrong = |e: NameError| Fault::new(key.pos, e.to_string());
    match fields.take("name") {
        Some(node) => own_name(node),
        None if external => key.text.parse().map_err(wrong),
        None => format!("{project}-{}", key.text).parse().map_err(wrong),
    }
}

fn networks(fields: &mut Fields<'_>, project: &Name) -> Result<BTreeMap<String, NetworkWish>, Fault> {
    let mut all = BTreeMap::new();
    let Some(node) = fields.take("networks") else {
        return Ok(all);
    };
    for (key, node) in node.map("`networks`")? {
        let mut inner = node.fields(format!("network `{}`", key.text))?;
        let mut flag = |k| inner.take(k).map_or(Ok(false), |n| n.boolean(&format!("`{k}`")));
        let (external, internal) = (flag("external")?, flag("internal")?);
        let name = outer_name(&mut inner, key, project, external)?;
        let subnets = inner.take("ipam").map(subnets).transpose()?.unwrap_or_default();
        inner.finish_extensible()?;
        if external && (internal || !subnets.is_empty()) {
            return Err(Fault::new(
                key.pos,
                "an external network is as it is: `internal` and `ipam` say nothing",
            ));
        }
        let wish = NetworkWish {
            pos: key.pos,
            name,
            external,
            internal,
            subnets,
        };
        all.insert(key.text.clone(), wish);
    }
    Ok(all)
}

fn subnets(node: &Node) -> Result<Vec<Subnet>, Fault> {
    let mut fields = node.fields("`ipam`")?;
    let mut all = Vec::new();
    if let Some(list) = fields.take("config") {
        for item in list.list("`config`")? {
            let mut inner = item.fields("an entry of `ipam.config`")?;
            let subnet = inner.need("subnet")?;
            inner.finish_extensible()?;
            all.push(subnet.parse("`subnet`", "a range like `10.7.0.0/16`")?);
        }
    }
    fields.finish_extensible()?;
    Ok(all)
}

fn volumes(fields: &mut Fields<'_>, project: &Name) -> Result<BTreeMap<String, VolumeWish>, Fault> {
    let mut all = BTreeMap::new();
    let Some(node) = fields.take("volumes") else {
        return Ok(all);
    };
    for (key, node) in node.map("`volumes`")? {
        let mut inner = node.fields(format!("volume `{}`", key.text))?;
        let external = inner
            .take("external")
            .map_or(Ok(false), |n| n.boolean("`external`"))?;
        let name = outer_name(&mut inner, key, project, external)?;
        inner.finish_extensible()?;
        let wish = VolumeWish {
            pos: key.pos,
            name,
            external,
        };
        all.insert(key.text.clone(), wish);
    }
    Ok(all)
}

/// Puts a service on its one network: a list with one entry, or a mapping with one key. On none of them it
/// is on `default` where the file says something of that, and otherwise where every container is.
fn network_of(
    role: &mut Role,
    node: Option<&Node>,
    networks: &mut BTreeMap<String, NetworkWish>,
) -> Result<(), Fault> {
    let s = &mut role.settings;
    let (pos, name) = match node {
        None => {
            s.network = networks.get("default").map(|n| n.name.clone());
            return Ok(());
        }
        Some(node) => {
            let names: Vec<(Pos, &str)> = if let Value::Map(entries) = &node.value {
                entries.iter().map(|(k, _)| (k.pos, k.text.as_str())).collect()
            } else {
                let list = node.list("`networks`")?;
                list.iter()
                    .map(|n| Ok((n.pos, n.text("a network")?)))
                    .collect::<Result<_, Fault>>()?
            };
            match names.as_slice() {
                [] => return network_of(role, None, networks),
                [one] => *one,
                [_, second, ..] => {
                    let what = format!("service `{}` is on more than one network", role.name);
                    let hint = "links open what networks did: one network is enough";
                    return Err(Fault::new(second.0, what).hinting(hint));
                }
            }
        }
    };
    let Some(found) = networks.get(name) else {
        if name == "default" {
            return Ok(());
        }
        let near = nearest(name, networks.keys().map(String::as_str));
        let fault = Fault::new(
            pos,
            format!("no network `{name}` is under `networks` of the file"),
        );
        return Err(match near {
            Some(near) => fault.hinting(format!("did you mean `{near}`?")),
            None => fault,
        });
    };
    s.network = Some(found.name.clone());
    if let Some(Node {
        value: Value::Map(entries),
        ..
    }) = node
        && let Some((_, options)) = entries.first()
    {
        let mut inner = options.fields(format!("network `{name}` of service `{}`", role.name))?;
        for key in ["ipv4_address", "ipv6_address"] {
            if let Some(ip) = inner.take(key) {
                s.addresses.push(ip.parse(&format!("`{key}`"), "an address")?);
            }
        }
        if let Some(aliases) = inner.take("aliases") {
            for (node, alias) in super::values::one_or_more(aliases, "`aliases`")? {
                let _: Name = alias.parse().map_err(|e: NameError| node.fault(e.to_string()))?;
                s.aliases.push(alias);
            }
        }
        inner.finish_extensible()?;
    }
    Ok(())
}

/// What services name must be there.
fn check(project: &Project) -> Result<(), Fault> {
    let known = |name: &Name| project.roles.iter().any(|r| r.name == *name);
    let missing = |pos, name: &Name| {
        let near = nearest(name.as_str(), project.roles.iter().map(|r| r.name.as_str()));
        let fault = Fault::new(pos, format!("the file has no service `{name}`"));
        match near {
            Some(near) => fault.hinting(format!("did you mean `{near}`?")),
            None => fault,
        }
    };
    for role in &project.roles {
        for link in &role.links {
            match &link.to {
                To::Role(name) if *name == role.name && role.replicas < 2 => {
                    let what = format!("service `{name}` reaches itself without a link");
                    return Err(Fault::new(link.pos, what));
                }
                To::Role(name) if !known(name) => return Err(missing(link.pos, name)),
                _ => {}
            }
        }
        for d in &role.depends_on {
            let Some(on) = project.role(d.role.as_str()) else {
                return Err(missing(d.pos, &d.role));
            };
            if d.condition == Condition::Healthy && on.settings.health.is_none() {
                let what = format!("service `{}` has no `healthcheck` to wait for", on.name);
                return Err(Fault::new(d.pos, what));
            }
        }
        for mount in &role.settings.mounts {
            if let Source::Volume(name) = &mount.source
                && !project.volumes.contains_key(name)
            {
                let what = format!("no volume `{name}` is under `volumes` of the file");
                return Err(Fault::new(mount.pos, what).hinting("a path of the host begins with `/` or `./`"));
            }
        }
        super::plan::name_of(&project.name, &role.name, role.replicas.max(1))
            .map_err(|e| Fault::new(role.pos, e.to_string()))?;
    }
    super::order(project).map(drop)
}
