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

/// A duration as Compose files have them: `500ms`, `1.5s`, `1m30s`, or plain seconds; in milliseconds.
///
/// # Errors
/// The text is none, or too long to be meant.
pub fn milliseconds(text: &str) -> Result<u64> {
    parts(text)
        .filter(|ms| u32::try_from(*ms).is_ok())
        .ok_or_else(|| Error::Input {
            value: text.to_owned(),
            reason: "no duration".into(),
            hint: Some("`500ms`, `2s` or `1m30s`".into()),
        })
}

fn parts(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "us" => 0.001,
            "ms" => 1.0,
            "" | "s" => 1000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return None,
        };
        let ms = number.parse::<f64>().ok()? * factor;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is not negative
        let ms = ms.round() as u64;
        total = total.checked_add(ms)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
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
        for (text, ms) in [
            ("500ms", 500),
            ("1.5s", 1500),
            ("1m30s", 90_000),
            ("2", 2000),
            ("0s", 0),
        ] {
            assert_eq!(milliseconds(text).unwrap(), ms, "{text}");
        }
        for bad in ["", "s", "-1s", "1x", "1..2s", "99999999999h"] {
            assert!(milliseconds(bad).is_err(), "{bad}");
        }
        for bad in ["", "0", "-1", "1w", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
