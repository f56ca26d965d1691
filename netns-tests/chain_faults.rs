//! CNI chains that fail or die at each of their steps.

use serde_json::json;

use crate::chain::{Chain, container, host_state, leases, prepare};
use crate::cni_chains::{net, web};
use crate::harness::{Story, own};
use crate::net::{Ns, Out};
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own(
        "chain_faults::a_failed_add_leaves_nothing",
        a_failed_add_leaves_nothing,
    ),
    own("chain_faults::a_killed_add_is_undone", a_killed_add_is_undone),
    own("chain_faults::a_killed_del_is_finished", a_killed_del_is_finished),
];

/// More steps than any call has.
const MANY: u32 = 80;

fn chain() -> Chain {
    let mut strict = net();
    strict["macspoofchk"] = json!(true);
    let firewall = json!({ "type": "firewall", "ingressPolicy": "isolated" });
    Chain::ours("net", vec![strict, json!({ "type": "portmap" }), firewall]).with(web())
}

/// The chain with a fault in its plugin `n` alone: the others' calls are made here.
fn add(chain: &Chain, n: usize, fault: &str) -> Result<(), Out> {
    let mut extra = json!({});
    for k in 0..=n {
        let mut one = chain.clone();
        one.fault = (k == n).then(|| fault.to_owned());
        let out = one.call(k, "ADD", "a", None, &extra);
        if !out.ok() {
            return Err(out);
        }
        let result: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
        extra = json!({ "prevResult": result });
    }
    Ok(())
}

/// Makes what stays after the first ADD, so that states can be compared.
fn warm(w: &World, chain: &Chain) {
    let _b = container("b");
    chain.with(json!({})).add("b");
    w.ok(&["ps"]);
}

/// Fails plugin `n` at every step; afterwards `look` is called. How many steps there were.
fn every_step(n: usize, how: &str, chain: &Chain, mut look: impl FnMut(u32, &Out)) -> u32 {
    for step in 1..MANY {
        match add(chain, n, &format!("{how}:{step}")) {
            Ok(()) => {
                chain.del_with("a", None, None);
                return step - 1;
            }
            Err(out) => look(step, &out),
        }
    }
    panic!("plugin {n} has no end");
}

fn a_failed_add_leaves_nothing(_: Mode) {
    prepare();
    let w = World::new(Mode::Own);
    let (chain, a) = (chain(), container("a"));
    // With nothing there before, and beside another attachment.
    for beside in [false, true] {
        if beside {
            // The first round ended with an ADD that worked.
            Ns::host().must("ip link del cni0");
            warm(&w, &chain);
        }
        let before = host_state();
        // The other plugins need the bridge's result.
        for n in 0..if beside { 3 } else { 1 } {
            let steps = every_step(n, "fail", &chain, |step, out| {
                assert!(out.stdout.contains("fault injected"), "{out:?}");
                if n == 0 {
                    assert!(!a.sh("ip link show eth0").ok(), "step {step}");
                    assert_eq!(leases("net"), if beside { 2 } else { 0 }, "step {step}");
                }
                chain.del_with("a", None, None);
                let after = host_state();
                assert_eq!(
                    forwarding_apart(&before),
                    forwarding_apart(&after),
                    "plugin {n}, step {step}"
                );
            });
            assert!(steps >= 4, "plugin {n} has {steps} steps");
        }
        w.is_clean();
    }
}

/// Once on, forwarding stays: others may rely on it by now.
fn forwarding_apart(state: &str) -> Vec<&str> {
    state.lines().filter(|l| !l.contains("forward")).collect()
}

fn a_killed_add_is_undone(_: Mode) {
    prepare();
    let w = World::new(Mode::Own);
    let (chain, a) = (chain(), container("a"));
    warm(&w, &chain);
    let before = host_state();
    for n in 0..3 {
        every_step(n, "abort", &chain, |step, out| {
            assert_eq!(out.stdout, "", "killed at step {step}");
            if n > 0 {
                // The plugins before it did their work.
                chain.del_with("a", None, None);
            }
            // Whoever comes next heals.
            w.ok(&["ps"]);
            assert!(!a.sh("ip link show eth0").ok(), "plugin {n}, step {step}");
            assert_eq!(before, host_state(), "plugin {n}, step {step}");
            chain.del_with("a", None, None);
            assert_eq!(leases("net"), 2, "plugin {n}, step {step}");
        });
    }
    w.is_clean();
}

fn a_killed_del_is_finished(_: Mode) {
    prepare();
    let w = World::new(Mode::Own);
    let (chain, a) = (chain(), container("a"));
    warm(&w, &chain);
    let before = host_state();
    for n in 0..3 {
        for step in 1..MANY {
            let added = chain.add("a");
            let mut dying = chain.clone();
            dying.fault = Some(format!("abort:{step}"));
            let extra = json!({ "prevResult": added.0 });
            let out = dying.call(n, "DEL", "a", Some(""), &extra);
            if step % 2 == 0 {
                w.ok(&["ps"]);
            }
            chain.del_with("a", Some(""), Some(&added));
            assert!(!a.sh("ip link show eth0").ok(), "plugin {n}, step {step}");
            assert_eq!(before, host_state(), "plugin {n}, step {step}");
            assert_eq!(leases("net"), 2, "plugin {n}, step {step}");
            if out.ok() {
                assert!(step > 2, "plugin {n} has steps");
                break;
            }
        }
    }
    w.is_clean();
}
