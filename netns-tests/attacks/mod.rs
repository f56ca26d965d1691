//! Attacks: whoever owns one container, with root and raw sockets in it, against all others.
//!
//! Each attack works on a plain bridge (a test that cannot fail proves nothing) and not behind the
//! walls. Those that are frames and packets are in the `.py` files, one a family of attacks; those
//! that need commands of moat in between are in the `.rs` files.

mod escape;
mod hostile;
mod judge;
mod lab;
mod make;
mod published;
mod reuse;
mod talk;
mod windows;

use self::judge::{fails, works};
use self::lab::Lab;
use crate::harness::{Story, everywhere, own};
use crate::world::Mode;

pub const STORIES: &[Story] = &[
    everywhere("attacks::on_the_link", on_the_link),
    everywhere("attacks::by_packets", by_packets),
    everywhere("attacks::after_unlink", reuse::after_unlink),
    everywhere("attacks::succession", reuse::succession),
    everywhere("attacks::every_change", windows::every_change),
    everywhere("attacks::published_ports", published::ports),
    everywhere("attacks::names", published::names),
    own("attacks::every_known_way", escape::every_known_way),
    own("attacks::the_callers_terminal", escape::the_callers_terminal),
    own("attacks::a_hostile_root", hostile::a_hostile_root),
    own("attacks::set_uid_on_a_volume", hostile::set_uid_on_a_volume),
    own("attacks::mounts_that_race", hostile::mounts_that_race),
    own("attacks::words_for_a_terminal", escape::words_for_a_terminal),
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
