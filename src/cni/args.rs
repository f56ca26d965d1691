//! What a caller wants beside `runtimeConfig`: `CNI_ARGS`, `args.cni`, and who has precedence.

use super::call::Call;
use super::error::{Error, Result, code};
use super::json::{IP, MAC, Object};
use super::runtime::{WantedIp, wanted_ips};
use crate::model::Mac;

/// What one container wants, the most specific source first: `runtimeConfig`, `args.cni`,
/// `CNI_ARGS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    pub ips: Vec<WantedIp>,
    pub mac: Option<Mac>,
    /// `args.cni.labels`.
    pub labels: Vec<(String, String)>,
}

impl Call {
    /// What the container wants, of each kind from the most specific source that says any.
    ///
    /// # Errors
    /// Code 7, or 4 for `CNI_ARGS`, with the key and its value.
    pub fn wishes(&self) -> Result<Wishes> {
        let runtime = self.runtime()?;
        let [env_ips, args_ips, _] = self.wanted_ips()?;
        let ips = [runtime.ips, args_ips, env_ips];
        let args = self.args_cni()?;
        let mac = match (runtime.mac, &args) {
            (Some(mac), _) => Some(mac),
            (None, Some(args)) => args.parsed("mac", MAC)?,
            (None, None) => None,
        };
        Ok(Wishes {
            ips: ips.into_iter().find(|ips| !ips.is_empty()).unwrap_or_default(),
            mac: match mac {
                Some(mac) => Some(mac),
                None => self.arg("MAC").map(arg_mac).transpose()?,
            },
            labels: args.map(|a| labels(&a)).unwrap_or_default(),
        })
    }

    /// The addresses that `CNI_ARGS`, `args.cni` and `runtimeConfig` ask for. host-local takes
    /// all of them, in this order.
    ///
    /// # Errors
    /// As [`Call::wishes`].
    pub fn wanted_ips(&self) -> Result<[Vec<WantedIp>; 3]> {
        let list = self.arg("IP").into_iter().flat_map(|t| t.split(','));
        let env = list.map(|t| {
            let bad = || Error::new(code::ENVIRONMENT, format!("CNI_ARGS: IP must be {IP}: {t:?}"));
            WantedIp::read(t.trim()).ok_or_else(bad)
        });
        let args = self.args_cni()?;
        Ok([
            env.collect::<Result<_>>()?,
            args.map_or_else(|| Ok(Vec::new()), |a| wanted_ips(&a))?,
            self.runtime()?.ips,
        ])
    }

    /// The value of a key of `CNI_ARGS`; an empty one counts as missing.
    #[must_use]
    pub fn arg(&self, key: &str) -> Option<&str> {
        let pair = self.args.iter().find(|(k, _)| k == key)?;
        Some(pair.1.as_str()).filter(|v| !v.is_empty())
    }

    /// `args.cni` of the configuration.
    ///
    /// # Errors
    /// Code 7 when it is no object.
    pub fn args_cni(&self) -> Result<Option<Object<'_>>> {
        match self.conf().object("args")? {
            Some(args) => args.object("cni"),
            None => Ok(None),
        }
    }

    /// Refuses keys of `CNI_ARGS` that a plugin does not know, unless the caller said
    /// `IgnoreUnknown`.
    ///
    /// # Errors
    /// Code 4, with the pairs.
    pub fn know_args(&self, known: &[&str]) -> Result<()> {
        let ignore = match self.arg("IgnoreUnknown").map(str::to_ascii_lowercase).as_deref() {
            None | Some("0" | "false") => false,
            Some("1" | "true") => true,
            Some(other) => {
                let msg = format!("CNI_ARGS: IgnoreUnknown is neither true nor false: {other:?}");
                return Err(Error::new(code::ENVIRONMENT, msg));
            }
        };
        let is_unknown = |key: &str| key != "IgnoreUnknown" && !known.contains(&key);
        let unknown = self.args.iter().filter(|(key, _)| is_unknown(key));
        let unknown: Vec<String> = unknown.map(|(k, v)| format!("{k}={v}")).collect();
        if ignore || unknown.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            code::ENVIRONMENT,
            format!("CNI_ARGS: unknown args {unknown:?}"),
        ))
    }
}

fn arg_mac(text: &str) -> Result<Mac> {
    let msg = format!("CNI_ARGS: MAC must be {MAC}: {text:?}");
    text.parse().map_err(|_| Error::new(code::ENVIRONMENT, msg))
}

/// Labels are metadata for whoever understands them: what has another form is passed over.
fn labels(args: &Object<'_>) -> Vec<(String, String)> {
    let label = |value: &serde_json::Value| {
        let text = |key| value.get(key)?.as_str().map(str::to_owned);
        Some((text("key")?, text("value")?))
    };
    let list = args.get("labels").and_then(|n| n.value.as_array());
    list.into_iter().flatten().filter_map(label).collect()
}
