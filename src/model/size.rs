//! Sizes as people write them.

/// Bytes: `4096`, or with k, m, g or t, in powers of 1024: `512k`, `64m`, `1gb`. None of nothing.
#[must_use]
pub fn bytes_of(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, shift) = match lower.char_indices().next_back()? {
        (at, 'k') => (&lower[..at], 10),
        (at, 'm') => (&lower[..at], 20),
        (at, 'g') => (&lower[..at], 30),
        (at, 't') => (&lower[..at], 40),
        _ => (lower, 0),
    };
    let number: u64 = Some(digits)
        .filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?
        .parse()
        .ok()?;
    number.checked_mul(1 << shift).filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, wanted) in [
            ("4096", 4096),
            ("1b", 1),
            ("512k", 512 << 10),
            ("64M", 64 << 20),
            ("1gb", 1 << 30),
            ("2T", 2 << 40),
        ] {
            assert_eq!(bytes_of(text), Some(wanted), "{text}");
        }
        for text in [
            "",
            "b",
            "k",
            "0",
            "0m",
            "-1",
            "+1",
            "1kk",
            "1.5g",
            "1 m",
            "m1",
            "\u{e9}",
            "1\u{e9}",
            "99999999999999999999",
            "18014398509481984k",
        ] {
            assert_eq!(bytes_of(text), None, "{text}");
        }
    }
}
