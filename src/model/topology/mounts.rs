//! Volumes of a service, in the short and the long form.

use std::path::PathBuf;

use super::values::size;
use super::{Around, Mount, Settings, Source};
use crate::model::yaml::{Fault, Node, Value};

/// Reads the volumes of a service into its settings.
pub fn volumes(node: &Node, around: &Around<'_>, settings: &mut Settings) -> Result<(), Fault> {
    for item in node.list("`volumes`")? {
        match &item.value {
            Value::Map(_) => long(item, around, settings)?,
            _ => settings.mounts.push(short(item, around)?),
        }
    }
    Ok(())
}

fn short(node: &Node, around: &Around<'_>) -> Result<Mount, Fault> {
    let text = node.text("a volume")?;
    let mut parts = text.split(':');
    let (source, target, mode, more) = (
        parts.next().unwrap_or_default(),
        parts.next(),
        parts.next(),
        parts.next(),
    );
    let Some(target) = target else {
        let what = format!("a volume is `SOURCE:TARGET[:ro]`, not: `{text}`");
        return Err(node.fault(what).hinting(
            "a container writes everywhere, and it is thrown away with it: leave the volume out, or name it",
        ));
    };
    let read_only = match (mode, more) {
        (None | Some("rw"), None) => false,
        (Some("ro"), None) => true,
        _ => return Err(node.fault(format!("the mode of a volume is `ro` or `rw`: `{text}`"))),
    };
    mount(node, source_of(node, source, around)?, target, read_only)
}

fn source_of(node: &Node, text: &str, around: &Around<'_>) -> Result<Source, Fault> {
    if text.starts_with(['/', '.', '~']) {
        return Ok(Source::Path(around.path(text)));
    }
    if text.is_empty() || text.contains('/') {
        let what =
            format!("a volume's source is a path, with `./` before a relative one, or a name: `{text}`");
        return Err(node.fault(what));
    }
    Ok(Source::Volume(text.to_owned()))
}

fn mount(node: &Node, source: Source, target: &str, read_only: bool) -> Result<Mount, Fault> {
    Ok(Mount {
        pos: node.pos,
        source,
        target: absolute(node, target)?,
        read_only,
    })
}

/// A path inside of a container.
pub fn absolute(node: &Node, text: &str) -> Result<PathBuf, Fault> {
    if text.starts_with('/') && !text.split('/').any(|part| part == "..") {
        return Ok(PathBuf::from(text));
    }
    Err(node.fault(format!(
        "a path in a container begins with `/`, without `..`: `{text}`"
    )))
}

fn long(node: &Node, around: &Around<'_>, settings: &mut Settings) -> Result<(), Fault> {
    let mut fields = node.fields("a volume")?;
    let kind = fields.need("type")?;
    let target = fields.need("target")?.text("`target`")?;
    let source = fields.take("source");
    let read_only = match fields.take("read_only") {
        Some(node) => node.boolean("`read_only`")?,
        None => false,
    };
    let needs = || node.fault("a volume of this type needs the key `source`");
    match kind.text("`type`")? {
        "bind" => {
            let source = source.ok_or_else(needs)?;
            let path = Source::Path(around.path(source.text("`source`")?));
            settings.mounts.push(mount(source, path, target, read_only)?);
        }
        "volume" => {
            let source = source.ok_or_else(needs)?;
            let name = Source::Volume(source.text("`source`")?.to_owned());
            settings.mounts.push(mount(source, name, target, read_only)?);
        }
        "tmpfs" => {
            if source.is_some() || read_only {
                return Err(node.fault("a tmpfs has neither `source` nor `read_only`"));
            }
            let mut bytes = None;
            if let Some(options) = fields.take("tmpfs") {
                let mut inner = options.fields("`tmpfs` of a volume")?;
                bytes = inner.take("size").map(|n| size(n, "`size`")).transpose()?;
                inner.finish_extensible()?;
            }
            settings.tmpfs.push((absolute(node, target)?, bytes));
        }
        other => {
            return Err(kind.fault(format!(
                "a volume is of type bind, volume or tmpfs, not: `{other}`"
            )));
        }
    }
    fields.finish_extensible()
}
