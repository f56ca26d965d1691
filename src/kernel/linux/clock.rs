//! Time that nobody sets: seconds since the boot, suspended ones included (`clock_gettime(2)`).

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What has passed since the boot.
#[must_use]
pub fn since_boot() -> Duration {
    // The clock exists since Linux 2.6.39; an answer that is no time is one of the boot itself.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, |t| {
        Duration::new(t.tv_sec().max(0) as u64, t.tv_nsec().max(0) as u32)
    })
}
