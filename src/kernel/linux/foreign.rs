//! What other tools' rules do to packets that are forwarded: asked of `nft`, chains only.

use nftables::helper::get_current_ruleset_raw;

use super::ruleset::program;
use crate::kernel::Error;

/// A chain of somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub family: String,
    pub table: String,
    pub name: String,
    /// Where packets enter it, and what becomes of those that no rule judges; base chains only.
    pub hook: Option<String>,
    pub drops: bool,
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

/// The chains on the host that are not moat's.
///
/// # Errors
/// When `nft` is missing or fails.
pub fn chains() -> Result<Vec<Chain>, Error> {
    let fail = |detail: String| Error::Nft {
        which: "the host's chains".to_owned(),
        detail,
    };
    let program = program();
    let text = get_current_ruleset_raw(Some(program.as_os_str()), ["list", "chains"])
        .map_err(|e| fail(e.to_string()))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
    let all = json["nftables"].as_array().into_iter().flatten();
    let chain = |c: &serde_json::Value| {
        let word = |key: &str| c[key].as_str().unwrap_or_default().to_owned();
        Chain {
            family: word("family"),
            table: word("table"),
            name: word("name"),
            hook: c["hook"].as_str().map(str::to_owned),
            drops: c["policy"] == "drop",
        }
    };
    let own = |c: &Chain| c.table == "moat" || c.table.starts_with("moat_");
    Ok(all
        .filter_map(|item| item.get("chain"))
        .map(chain)
        .filter(|c| !own(c))
        .collect())
}
