//! What must hold for the answer to any call.

use serde_json::Value;

use super::{Case, VERSIONS};

/// What must hold for every answer; else what does not.
pub fn wrong(case: &Case, stdout: &[u8], code: i32) -> Option<String> {
    let documents: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(stdout).into_iter().collect();
    let Ok(documents) = documents else {
        return Some("stdout is not JSON".into());
    };
    let verb = case.env[0].1.as_str();
    let prints = code == 1 || matches!(verb, "ADD" | "VERSION");
    if documents.len() != usize::from(prints) {
        return Some(format!("{} documents", documents.len()));
    }
    let Some(document) = documents.first() else {
        return (code != 0).then(|| format!("exit status {code}"));
    };
    let speaks = document["cniVersion"]
        .as_str()
        .is_some_and(|v| VERSIONS.contains(&v));
    let is_right = match code {
        1 => {
            let code = document["code"].as_u64().is_some_and(|c| c > 0);
            let msg = document["msg"].as_str().is_some_and(|m| !m.is_empty());
            code && msg && document["details"].as_str() != Some("")
        }
        0 if verb == "VERSION" => document["supportedVersions"]
            .as_array()
            .is_some_and(|v| !v.is_empty()),
        0 => verb == "ADD" && document.get("code").is_none(),
        _ => false,
    };
    (!speaks || !is_right).then(|| format!("exit status {code} with {document}"))
}
