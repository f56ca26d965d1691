//! A flood of ten thousand frames a second at somebody who must never get one.

use std::time::Duration;

use crate::harness;
use crate::net::{Running, until};
use crate::walls::gateway_mac;
use crate::world::Container;

/// One container sends to another, and there somebody counts what comes from it.
pub struct Flood {
    sender: Running,
    receiver: Running,
}

impl Flood {
    #[track_caller]
    pub fn start(from: &Container, to: &Container) -> Self {
        let receiver = to.ns.start(&["hear", &from.ip4, &from.ip6]);
        let gate = gateway_mac(from);
        let ends = [&from.mac, &to.mac, &from.ip4, &from.ip6, &to.ip4, &to.ip6];
        let mut args = vec!["flood", &gate];
        args.extend(ends.map(String::as_str));
        let sender = from.ns.start(&args);
        Self { sender, receiver }
    }

    /// Fails when anything has arrived.
    #[track_caller]
    pub fn none(&self, what: &str) {
        let heard = self.receiver.count();
        assert_eq!(
            heard,
            0,
            "{what}: {}{heard} frames of the flood",
            harness::ARRIVED
        );
    }

    /// How many frames were sent, and that so many were.
    #[track_caller]
    pub fn sent(&self, at_least: u64) -> u64 {
        until(Duration::from_secs(10), || self.sender.count() >= at_least);
        let sent = self.sender.count();
        assert!(sent >= at_least, "{sent} sent: {}", self.sender.text());
        sent
    }

    /// What is linked arrives, so that a count of none means something.
    #[track_caller]
    pub fn arrives(&self) {
        let came = until(Duration::from_secs(10), || self.receiver.count() > 0);
        assert!(came, "the receiver hears nothing: {}", self.receiver.text());
    }
}
