//! Where the keys of a JSON document stand: serde_json tells only where an error is.

use std::collections::BTreeMap;

/// The line of each key, counted from 1, by its path as in `plugins[0].ipam.type`; and the
/// paths that occur twice.
#[derive(Default)]
pub struct Lines {
    at: BTreeMap<String, usize>,
    pub twice: Vec<String>,
}

impl Lines {
    /// Of a document that serde_json has read.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut scan = Scan {
            bytes: text.as_bytes(),
            at: 0,
            line: 1,
            found: Self::default(),
        };
        scan.value("");
        scan.found
    }

    #[must_use]
    pub fn line(&self, path: &str) -> Option<usize> {
        self.at.get(path).copied()
    }
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
    found: Lines,
}

impl Scan<'_> {
    /// The next byte that is no space, not taken.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b) = self.bytes.get(self.at).filter(|b| b.is_ascii_whitespace()) {
            self.line += usize::from(*b == b'\n');
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// Takes the next byte that is no space if it is this one.
    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, path: &str) {
        match self.peek() {
            Some(b'{') => self.members(b'}', |scan, _| {
                let line = scan.line;
                let key = scan.string();
                let path = if path.is_empty() {
                    key
                } else {
                    format!("{path}.{key}")
                };
                if scan.found.at.insert(path.clone(), line).is_some() {
                    scan.found.twice.push(path.clone());
                }
                scan.take(b':');
                scan.value(&path);
            }),
            Some(b'[') => self.members(b']', |scan, n| scan.value(&format!("{path}[{n}]"))),
            Some(b'"') => {
                self.string();
            }
            _ => {
                while self
                    .bytes
                    .get(self.at)
                    .is_some_and(|b| !b",]} \t\r\n".contains(b))
                {
                    self.at += 1;
                }
            }
        }
    }

    fn members(&mut self, end: u8, mut member: impl FnMut(&mut Self, usize)) {
        self.at += 1;
        let mut n = 0;
        while self.peek().is_some_and(|b| b != end) {
            member(self, n);
            n += 1;
            self.take(b',');
        }
        self.at += 1;
    }

    fn string(&mut self) -> String {
        let begin = self.at;
        self.at += 1;
        while self.bytes.get(self.at).is_some_and(|b| *b != b'"') {
            self.at += if self.bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        let quoted = self.bytes.get(begin..self.at).unwrap_or_default();
        serde_json::from_slice(quoted).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_line() {
        let text = "{\n \"a\": [1, {\n  \"b\\\"c\": \"}\\\\\", \"d\": null\n }, true],\n \"a\": {}, \"e\":\n-1.5e3 }";
        serde_json::from_str::<serde_json::Value>(text).unwrap();
        let lines = Lines::of(text);
        let all: Vec<_> = lines.at.iter().map(|(p, l)| (p.as_str(), *l)).collect();
        assert_eq!(all, [("a", 5), ("a[1].b\"c", 3), ("a[1].d", 3), ("e", 5)]);
        assert_eq!(lines.twice, ["a"]);
    }
}
