//! What is left of a container: in the kernel's tables of all namespaces, and on disk.

use super::lab::{Lab, Subject};

/// Everything that could name a container or its address.
const LOOK: &str = r"
nft list ruleset; ip -o link show type veth; ip -4 route; ip -6 route; ip -4 neigh
iptables-save 2>/dev/null; ip6tables-save 2>/dev/null
find /var/lib/cni -type f ! -name 'last_reserved_ip*' ! -name lock 2>/dev/null | sed 's|$| lease|'
for r in /run/moat/*/router; do
    nsenter --net=$r sh -c 'nft list ruleset; ip -o link show type veth; ip route show table all; ip neigh'
done 2>/dev/null";

impl Lab {
    /// What there is of this address or container: empty when it left nothing. The network's
    /// own things (bridge, chains that all share) do not count.
    pub fn traces(&self, words: &[&str]) -> Vec<String> {
        let mut all = self.sh(LOOK).stdout;
        if self.subject == Subject::Moat {
            all += &self
                .sh(&format!("{} ps -a --json | tr ',' '\\n'", self.moat()))
                .stdout;
        }
        all.lines()
            .filter(|l| words.iter().any(|w| names(l, w)))
            .map(str::to_owned)
            .collect()
    }
}

/// Whether a line has this word, by itself or at the end of a path.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || ".:-_/".contains(c);
    line.split(|c| !part(c))
        .any(|w| w == word || w.rsplit('/').next() == Some(word) || w.split('/').next() == Some(word))
}
