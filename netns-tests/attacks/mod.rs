//! Attacks: whoever owns one container, with root and raw sockets in it, against all others.
//!
//! Each attack works on a plain bridge (a test that cannot fail proves nothing) and not behind the
//! walls. Those that are frames and packets are in the `.py` files, one a family of attacks; those
//! that need commands of moat in between are in the `.rs` files.

mod judge;
mod lab;
mod talk;

use self::judge::{fails, works};
use self::lab::Lab;
use crate::harness::{Story, everywhere};
use crate::world::Mode;

pub const STORIES: &[Story] = &[
    everywhere("attacks::on_the_link", on_the_link),
    everywhere("attacks::by_packets", by_packets),
];

fn on_the_link(mode: Mode) {
    against(mode, &["A1", "A2", "A4", "A5"]);
}

fn by_packets(mode: Mode) {
    against(mode, &["A3", "A6", "A7", "A8", "A9", "A14", "A16"]);
}

/// In the host's namespace the walls are tried alone: that the attacks work, the other has shown.
fn against(mode: Mode, numbers: &[&str]) {
    if mode == Mode::Own {
        works(&mut Lab::plain(), numbers);
    }
    let mut walled = Lab::walled(mode);
    fails(&mut walled, numbers);
    walled.tidy();
}
