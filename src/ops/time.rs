//! Points in time and durations as text.

use super::error::{Error, Result};

pub use crate::sandbox::date_time as rfc3339;

/// A duration like `90s`, `15m`, `2h`, `1d`, or plain seconds; in seconds, at least 1.
///
/// # Errors
/// The text is none.
pub fn duration(text: &str) -> Result<u64> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let factor = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => 1,
    };
    let seconds = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|s| (1..=u64::from(u32::MAX)).contains(s));
    seconds.ok_or_else(|| Error::Input {
        value: text.to_owned(),
        reason: "no duration".into(),
        hint: Some("`90s`, `15m`, `2h` or `1d`".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_435_200), "2026-11-23T12:00:00Z");
        assert_eq!(duration("15m").unwrap(), 900);
        assert_eq!(duration("7").unwrap(), 7);
        for bad in ["", "0", "-1", "1w", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
