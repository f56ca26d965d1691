//! Whether and when a command that ended is started again. Pure: the caller has the clock.

use std::time::Duration;

use super::spec::Restart;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
/// A command that ran this long works: what comes after is a new trouble, not the old one.
const STEADY: Duration = Duration::from_secs(10);

/// The policy of one container, with its memory of recent trouble.
#[derive(Debug)]
pub(super) struct Policy {
    restart: Restart,
    in_a_row: u32,
}

impl Policy {
    pub fn new(restart: Restart) -> Self {
        Self { restart, in_a_row: 0 }
    }

    /// How long to wait before the next start of a command that ended with `code` after it ran for `ran`;
    /// `None` to leave it at that.
    pub fn after(&mut self, code: i32, ran: Duration) -> Option<Duration> {
        if ran >= STEADY {
            self.in_a_row = 0;
        }
        let again = match self.restart {
            Restart::No => false,
            Restart::OnFailure { most } => code != 0 && most.is_none_or(|most| self.in_a_row < most),
            Restart::Always => true,
        };
        if !again {
            return None;
        }
        let delay = SHORTEST * 2_u32.pow(self.in_a_row.min(10));
        self.in_a_row = self.in_a_row.saturating_add(1);
        Some(delay.min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn the_wait_doubles_up_to_a_bound_and_starts_anew_after_a_good_run() {
        let mut policy = Policy::new(Restart::Always);
        let waits: Vec<u128> = (0..9)
            .filter_map(|_| policy.after(0, AT_ONCE))
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(policy.after(1, STEADY), Some(SHORTEST));
        for _ in 0..100 {
            assert!(policy.after(0, AT_ONCE).is_some());
        }
    }

    #[test]
    fn failures_are_counted_in_a_row() {
        let mut policy = Policy::new(Restart::OnFailure { most: Some(2) });
        assert!(policy.after(3, AT_ONCE).is_some());
        assert!(policy.after(3, AT_ONCE).is_some());
        assert_eq!(policy.after(3, AT_ONCE), None);
        assert!(policy.after(3, STEADY).is_some());
        assert_eq!(policy.after(0, AT_ONCE), None);
        assert_eq!(Policy::new(Restart::No).after(1, AT_ONCE), None);
        assert_eq!(
            Policy::new(Restart::OnFailure { most: Some(0) }).after(1, AT_ONCE),
            None
        );
    }

    #[test]
    fn policies_are_read() {
        assert_eq!("no".parse::<Restart>().ok(), Some(Restart::No));
        assert_eq!("unless-stopped".parse::<Restart>().ok(), Some(Restart::Always));
        let five = Restart::OnFailure { most: Some(5) };
        assert_eq!("on-failure:5".parse::<Restart>().ok(), Some(five));
        for bad in ["", "on-failure:", "on-failure:-1", "Always", "on-failure:x"] {
            assert!(bad.parse::<Restart>().is_err(), "{bad}");
        }
    }
}
