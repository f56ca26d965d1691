//! Many calls at once, killed calls, and the codes of errors (SPEC.md sections 3 and 5).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::call::Said;
use super::lab::{Attached, Lab, Net, Subject};
use super::{Part, Row, Verdict};
use crate::net::Running;

pub const PART: Part = Part {
    heading: "Many at once, killed calls, error codes",
    rows: &[
        Row::new(
            "75",
            "12 ADDs at once on two networks, then 12 DELs: no error, no address twice, nothing left",
            at_once,
        ),
        Row::new(
            "76",
            "ADD killed at any moment, then DEL: nothing left, and ADD works again",
            killed_adding,
        )
        .not_always("a veth pair or an address stays"),
        Row::new(
            "78",
            "DEL killed at any moment, then DEL: nothing left",
            killed_removing,
        )
        .not_always("rules stay"),
        Row::new(
            "73",
            "a lock that is not given back is code 11 after a bounded time",
            locked,
        )
        .of(&["1.0.0"])
        .unlike("waits without end"),
        Row::new(
            "74",
            "a full pool is code 100, a host port that somebody has 101",
            codes,
        )
        .unlike("999, and the port's last owner wins"),
    ],
};

fn clean(lab: &Lab, id: &str, addresses: &[String]) -> Verdict {
    let words: Vec<&str> = addresses.iter().map(String::as_str).chain([id]).collect();
    let traces = lab.traces(&words);
    let inside = lab.inside(id, "ip -o link show").stdout;
    let gone = traces.is_empty() && !inside.contains("eth0");
    gone.then_some(())
        .ok_or(format!("left of {id}: {traces:#?} {inside}"))
}

/// One call for each of these at the same moment, by the first plugin of its network.
fn together(lab: &Lab, verb: &str, all: &[(Net, String)]) -> Vec<(String, Said)> {
    let children: Vec<_> = all
        .iter()
        .map(|(net, id)| {
            let mut call = lab.about(net, verb, id, &format!("/run/netns/{id}"));
            call.stdin = lab.conf(net, 0, None).to_string().into_bytes();
            let mut child = call.command().spawn().expect("the plugin");
            let mut pipe = child.stdin.take().expect("stdin");
            std::io::Write::write_all(&mut pipe, &call.stdin).expect("stdin");
            (id.clone(), child)
        })
        .collect();
    let end = |(id, child): (String, std::process::Child)| {
        let out = child.wait_with_output().expect("the plugin ends");
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let said = Said {
            code: out.status.code().unwrap_or(-1),
            stdout: text(&out.stdout),
            stderr: text(&out.stderr),
        };
        (id, said)
    };
    children.into_iter().map(end).collect()
}

fn second(lab: &Lab) -> Net {
    let mut net = lab.net();
    net.name = "second".into();
    if lab.subject == Subject::Moat {
        net.plugins[0]["subnets"] = json!(["10.98.0.0/24", "fd98::/64"]);
    } else {
        net.plugins[0]["bridge"] = json!("cx1");
        net.plugins[0]["ipam"]["ranges"] = json!([[{"subnet": "10.98.0.0/24"}], [{"subnet": "fd98::/64"}]]);
    }
    net
}

fn at_once(lab: &Lab) -> Verdict {
    let nets = [lab.net(), second(lab)];
    let all: Vec<(Net, String)> = (0..12).map(|n| (nets[n % 2].clone(), format!("p{n}"))).collect();
    all.iter().for_each(|(_, id)| drop(lab.netns(id)));
    let mut seen = BTreeSet::new();
    let mut there = Vec::new();
    for (id, said) in together(lab, "ADD", &all) {
        if said.code != 0 {
            return Err(format!("{id}: {said:?}"));
        }
        let a = Attached {
            netns: format!("/run/netns/{id}"),
            id,
            result: said.json()?,
        };
        if a.addresses().len() != 2 || !a.addresses().into_iter().all(|ip| seen.insert(ip)) {
            return Err(format!("an address twice, or none: {}", a.result));
        }
        there.push(a);
    }
    for (_, said) in together(lab, "DEL", &all) {
        said.quiet()?;
    }
    there.iter().try_for_each(|a| clean(lab, &a.id, &a.addresses()))
}

/// Starts a call and kills it after a while, with the programs that it has started.
fn killed(lab: &Lab, net: &Net, verb: &str, id: &str, after: Duration) {
    use std::os::unix::process::CommandExt;
    let call = lab.about(net, verb, id, &format!("/run/netns/{id}"));
    let mut child = call.command().process_group(0).spawn().expect("the plugin");
    let mut pipe = child.stdin.take().expect("stdin");
    let _ = std::io::Write::write_all(&mut pipe, &call.stdin);
    drop(pipe);
    std::thread::sleep(after);
    let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    let _ = child.wait();
}

/// How long a verb takes here, and then moments that are spread over it.
fn moments(whole: Duration) -> impl Iterator<Item = Duration> {
    (1..8).map(move |n| whole * n / 8)
}

fn killed_adding(lab: &Lab) -> Verdict {
    let net = lab.net();
    // The network stays alive beside it.
    let other = lab.add(&net, "stays")?;
    lab.netns("k");
    let begun = Instant::now();
    let a = lab
        .add_at(&net, "k", "/run/netns/k")
        .map_err(|s| format!("{s:?}"))?;
    let whole = begun.elapsed();
    lab.del(&net, &a)?;
    for after in moments(whole) {
        killed(lab, &net, "ADD", "k", after);
        lab.each(&net, "DEL", ("k", "/run/netns/k"), None)[0].quiet()?;
        clean(lab, "k", &[]).map_err(|e| format!("killed after {after:?}: {e}"))?;
        let veths = lab.sh("ip -o link show type veth | grep -c veth").stdout;
        if lab.subject != Subject::Moat && veths.trim() != "1" {
            return Err(format!("killed after {after:?}: {veths} veths"));
        }
    }
    let a = lab
        .add_at(&net, "k", "/run/netns/k")
        .map_err(|s| format!("{s:?}"))?;
    lab.del(&net, &a)?;
    lab.del(&net, &other)
}

fn killed_removing(lab: &Lab) -> Verdict {
    let net = lab.net();
    let other = lab.add(&net, "stays")?;
    lab.netns("k");
    let mut whole = Duration::from_millis(40);
    for n in 1..6 {
        let a = lab
            .add_at(&net, "k", "/run/netns/k")
            .map_err(|s| format!("{s:?}"))?;
        killed(lab, &net, "DEL", "k", whole * n / 6);
        let begun = Instant::now();
        lab.each(&net, "DEL", ("k", "/run/netns/k"), None)[0].quiet()?;
        whole = begun.elapsed().min(whole);
        clean(lab, "k", &a.addresses()).map_err(|e| format!("{n}: {e}"))?;
    }
    lab.del(&net, &other)
}

fn locked(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a")?;
    let file = lab
        .sh("ls /run/moat/*/lock || ls -d /var/lib/cni/networks/lab/lock")
        .stdout;
    let mut hold = std::process::Command::new("flock");
    hold.args([
        "--no-fork",
        "-x",
        file.trim(),
        "sh",
        "-c",
        "echo held; exec sleep 100",
    ]);
    let holder = Running::start(&mut hold, "held");
    let netns = lab.netns("late");
    let limit = Duration::from_secs(if lab.subject == Subject::Reference { 3 } else { 75 });
    let call = lab.about(&net, "ADD", "late", &netns);
    let mut child = call.command().spawn().expect("the plugin");
    std::io::Write::write_all(&mut child.stdin.take().expect("stdin"), &call.stdin).expect("stdin");
    let begun = Instant::now();
    let ended = crate::net::until(limit, || child.try_wait().ok().flatten().is_some());
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("waits for more than {limit:?}"));
    }
    let out = child.wait_with_output().expect("ended");
    let said = Said {
        code: out.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::new(),
    };
    said.fails(&[11])
        .map_err(|e| format!("{e} after {:?}", begun.elapsed()))?;
    drop(holder);
    lab.del(&net, &a)
}

fn codes(lab: &Lab) -> Verdict {
    let taken = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let net = lab.net_with_ports(&taken);
    let a = lab.add(&net, "a")?;
    lab.try_add(&net, "b")
        .err()
        .ok_or("one port, two owners")?
        .fails(&[101])?;
    lab.del(&net, &a)?;
    let mut net = lab.net();
    net.name = "small".into();
    if lab.subject == Subject::Moat {
        net.plugins[0]["subnets"] = json!(["10.97.0.0/29"]);
    } else {
        net.plugins[0]["bridge"] = json!("cx1");
        net.plugins[0]["ipam"]["ranges"] = json!([[{"subnet": "10.97.0.0/29"}]]);
    }
    for n in 0..5 {
        lab.add(&net, &format!("c{n}"))?;
    }
    lab.try_add(&net, "late")
        .err()
        .ok_or("a sixth address")?
        .fails(&[100])
        .map(drop)
}
