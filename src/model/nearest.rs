//! What somebody may have meant: the word that is most like another.

/// The name among `all` that is most like `name`, if one is close.
#[must_use]
pub fn nearest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<String> {
    let limit = 1 + name.len() / 3;
    all.map(|other| (distance(name, other), other))
        .filter(|(d, other)| *d <= limit || (name.len() > 1 && other.starts_with(name)))
        .min()
        .map(|(_, other)| other.to_owned())
}

/// Edits between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
