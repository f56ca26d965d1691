//! What other tools' rules do to packets that are forwarded: asked of `nft`, chains only.

use nftables::helper::get_current_ruleset_raw;

use super::ruleset::program;
use crate::kernel::Error;

/// The chains on the host that drop forwarded packets by policy, as `family table chain`.
///
/// # Errors
/// When `nft` is missing or fails.
pub fn dropping_forward_chains() -> Result<Vec<String>, Error> {
    let fail = |detail: String| Error::Nft {
        which: "the host's chains".to_owned(),
        detail,
    };
    let program = program();
    let text = get_current_ruleset_raw(Some(program.as_os_str()), ["list", "chains"])
        .map_err(|e| fail(e.to_string()))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
    let items = json
        .get("nftables")
        .and_then(|v| v.as_array())
        .cloned()
        .unwrap_or_default();
    let word = |chain: &serde_json::Value, key: &str| {
        chain
            .get(key)
            .and_then(|v| v.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    Ok(items
        .iter()
        .filter_map(|item| item.get("chain"))
        .filter(|c| word(c, "hook") == "forward" && word(c, "policy") == "drop")
        .map(|c| format!("{} {} {}", word(c, "family"), word(c, "table"), word(c, "name")))
        .collect())
}
