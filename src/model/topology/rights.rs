//! What a service may use of the machine, and of the kernel: limits, capabilities, devices, system calls.

use super::values::{size, texts};
use super::{Around, Settings, SystemCalls};
use crate::model::Device;
use crate::model::yaml::{Fault, Fields, Node, Value};

/// Reads the keys of a service about these.
pub fn rights(fields: &mut Fields<'_>, around: &Around<'_>, s: &mut Settings) -> Result<(), Fault> {
    if let Some(node) = fields.take("cap_add") {
        s.cap_add = texts(node, "`cap_add`")?;
    }
    if let Some(node) = fields.take("cap_drop") {
        s.cap_drop = texts(node, "`cap_drop`")?;
    }
    if let Some(node) = fields.take("devices") {
        s.devices = node
            .list("`devices`")?
            .iter()
            .map(device)
            .collect::<Result<_, _>>()?;
    }
    if let Some(node) = fields.take("security_opt") {
        for item in node.list("`security_opt`")? {
            security(item, around, s)?;
        }
    }
    if let Some(node) = fields.take("mem_limit") {
        s.memory = Some(size(node, "`mem_limit`")?);
    }
    if let Some(node) = fields.take("cpus") {
        s.cpus = Some(cpus(node)?);
    }
    if let Some(node) = fields.take("pids_limit") {
        s.pids = pids(node, "`pids_limit`")?;
    }
    if let Some(node) = fields.take("ulimits") {
        ulimits(node, s)?;
    }
    Ok(())
}

/// `deploy.resources`: the same limits in another place.
pub fn resources(node: &Node, s: &mut Settings) -> Result<(), Fault> {
    let mut fields = node.fields("`resources`")?;
    if let Some(node) = fields.take("limits") {
        let mut inner = node.fields("`limits`")?;
        if let Some(node) = inner.take("memory") {
            let bytes = size(node, "`memory`")?;
            agree(node, "mem_limit", s.memory.replace(bytes), &bytes)?;
        }
        if let Some(node) = inner.take("cpus") {
            let number = cpus(node)?;
            agree(node, "cpus", s.cpus.replace(number), &number)?;
        }
        if let Some(node) = inner.take("pids")
            && let Some(number) = pids(node, "`pids`")?
        {
            agree(node, "pids_limit", s.pids.replace(number), &number)?;
        }
        inner.finish_extensible()?;
    }
    fields.finish_extensible()
}

fn agree<T: PartialEq>(node: &Node, key: &str, before: Option<T>, now: &T) -> Result<(), Fault> {
    match before {
        Some(before) if before != *now => Err(node.fault(format!(
            "`{key}` and `deploy.resources.limits` say different things"
        ))),
        _ => Ok(()),
    }
}

fn cpus(node: &Node) -> Result<f64, Fault> {
    let cpus: f64 = node.parse("`cpus`", "a number like `0.5`")?;
    if !cpus.is_finite() || cpus < 0.01 {
        return Err(node.fault(format!("`cpus` is a number like `0.5`, not: `{cpus}`")));
    }
    Ok(cpus)
}

fn pids(node: &Node, what: &str) -> Result<Option<u64>, Fault> {
    let pids: i64 = node.parse(what, "a number, or -1 for none")?;
    Ok(u64::try_from(pids).ok().filter(|n| *n > 0))
}

/// `SRC[:DST][:rwm]`, or `source`, `target` and `permissions`.
fn device(node: &Node) -> Result<Device, Fault> {
    let text = if let Value::Map(_) = node.value {
        let mut fields = node.fields("a device")?;
        let source = fields.need("source")?.text("`source`")?.to_owned();
        let mut rest = String::new();
        for key in ["target", "permissions"] {
            if let Some(node) = fields.take(key) {
                rest = format!("{rest}:{}", node.text(&format!("`{key}`"))?);
            }
        }
        fields.finish_extensible()?;
        source + &rest
    } else {
        node.text("`devices`")?.to_owned()
    };
    text.parse()
        .map_err(|e: crate::model::DeviceError| node.fault(e.to_string()))
}

/// One entry of `security_opt`, `KEY=VALUE` or `KEY:VALUE`.
fn security(node: &Node, around: &Around<'_>, s: &mut Settings) -> Result<(), Fault> {
    let text = node.text("`security_opt`")?;
    let (key, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
    match (key, value) {
        ("seccomp", "unconfined" | "off") => s.seccomp = Some(SystemCalls::Off),
        ("seccomp", "default") => s.seccomp = None,
        ("seccomp", path) if !path.is_empty() => {
            let profile = (around.read)(&around.path(path))
                .map_err(|e| node.fault(format!("cannot read the file `{path}`: {e}")))?;
            s.seccomp = Some(SystemCalls::Profile(profile));
        }
        // No container gains rights by running a program.
        ("no-new-privileges", "" | "true") => {}
        ("no-new-privileges", _) => {
            let what = format!("no container may gain rights by running a program: `{text}`");
            return Err(node
                .fault(what)
                .hinting("`cap_add` gives single capabilities from the start"));
        }
        _ => {
            let what = format!("the security option is not supported: `{text}`");
            let hint = "`seccomp=FILE`, `seccomp=unconfined` and `no-new-privileges:true` are";
            return Err(node.fault(what).hinting(hint));
        }
    }
    Ok(())
}

/// A mapping from a name to a number, or to `soft` and `hard`; -1 is unlimited.
fn ulimits(node: &Node, s: &mut Settings) -> Result<(), Fault> {
    let Value::Map(entries) = &node.value else {
        return Err(
            node.fault("`ulimits` is a mapping like `nofile: 1024` or `nofile: {soft: 1024, hard: 4096}`")
        );
    };
    for (key, value) in entries {
        let number = |node: &Node| -> Result<u64, Fault> {
            let n: i64 = node.parse(&format!("`{}`", key.text), "a number, or -1 for none")?;
            match n {
                -1 => Ok(u64::MAX),
                n => u64::try_from(n).map_err(|_| node.fault(format!("no limit: `{n}`"))),
            }
        };
        let (soft, hard) = if let Value::Map(_) = value.value {
            let mut fields = value.fields(format!("`{}`", key.text))?;
            let (soft, hard) = (number(fields.need("soft")?)?, number(fields.need("hard")?)?);
            fields.finish()?;
            (soft, hard)
        } else {
            let both = number(value)?;
            (both, both)
        };
        if soft > hard {
            return Err(value.fault(format!("`soft` is above `hard`: {soft} and {hard}")));
        }
        s.ulimits.push((key.text.clone(), soft, hard));
    }
    Ok(())
}
