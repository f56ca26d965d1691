//! The way out of a lab: pasta or slirp4netns, which carry its connections as the caller's own.
//!
//! Both need a tap interface, and so `/dev/net/tun`. They run beside the lab and end with it; nothing of the
//! host's loopback, and none of its ports, is lent to the lab.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::time::{Duration, Instant};

use crate::sandbox::{Beside, Built, installed};

const TUN: &str = "/dev/net/tun";

/// How long one of them may take until the lab has a default route.
const PATIENCE: Duration = Duration::from_secs(5);

/// Leads a way out of a lab.
///
/// # Errors
/// Why there is none, in words.
pub fn open(lab: &Built) -> Result<Beside, String> {
    // Pasta as root becomes somebody else, who may not enter the lab.
    let order = if nix::unistd::geteuid().is_root() {
        ["slirp4netns", "pasta"]
    } else {
        ["pasta", "slirp4netns"]
    };
    let Some(name) = order.into_iter().find(|name| installed(name)) else {
        return Err("neither pasta (package passt) nor slirp4netns is installed".to_owned());
    };
    if let Err(e) = OpenOptions::new().read(true).write(true).open(TUN) {
        return Err(format!("{name} needs {TUN}: {e}"));
    }
    let mut carrier = lab.beside(&command(name, lab.pid())).map_err(|e| e.to_string())?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if leads_out(lab.pid()) {
            return Ok(carrier);
        }
        if let Some(said) = carrier.last_words() {
            let last = said
                .lines()
                .rfind(|l| !l.trim().is_empty() && !l.contains("syslog"));
            return Err(format!("{name} failed: {}", last.unwrap_or("it said nothing")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(format!("{name} led none within {} s", PATIENCE.as_secs()))
}

fn command(name: &str, pid: i32) -> Vec<String> {
    let pid = pid.to_string();
    let words: &[&str] = match name {
        "pasta" => &[
            "--foreground",
            "--config-net",
            "--no-map-gw",
            "-t",
            "none",
            "-u",
            "none",
            "-T",
            "none",
            "-U",
            "none",
            &pid,
        ],
        _ => &[
            "--configure",
            "--mtu=65520",
            "--disable-host-loopback",
            "--enable-ipv6",
            &pid,
            "tap0",
        ],
    };
    [&[name], words].concat().into_iter().map(str::to_owned).collect()
}

/// Whether the namespace of a process has a default route of IPv4.
fn leads_out(pid: i32) -> bool {
    let mut text = String::new();
    let read = File::open(format!("/proc/{pid}/net/route")).and_then(|mut f| f.read_to_string(&mut text));
    let is_default = |l: &str| {
        let mut fields = l.split_ascii_whitespace().skip(1);
        fields.next() == Some("00000000") && fields.nth(5) == Some("00000000")
    };
    read.is_ok() && text.lines().skip(1).any(is_default)
}
