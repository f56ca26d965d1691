//! ADD and DEL go wrong, at each of their steps: what was begun is undone or finished by the
//! next call, whoever makes it.

use serde_json::{Value, json};

use crate::harness::{Story, own};
use crate::pods::{Call, Pod, conf};
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("cni_faults::first_add_killed", |m| add(m, "abort", false)),
    own("cni_faults::first_add_failed", |m| add(m, "fail", false)),
    own("cni_faults::further_add_killed", |m| add(m, "abort", true)),
    own("cni_faults::further_add_failed", |m| add(m, "fail", true)),
    own("cni_faults::last_del_killed", |m| del(m, "abort", false)),
    own("cni_faults::last_del_failed", |m| del(m, "fail", false)),
    own("cni_faults::further_del_killed", |m| del(m, "abort", true)),
    own("cni_faults::further_del_failed", |m| del(m, "fail", true)),
];

/// A link of the configuration, which stays as long as the network.
fn labelled(app: &str, more: &Value) -> Value {
    let mut all = conf(more);
    all["links"] = json!([{ "from": "label:app=x", "to": "label:app=y", "port": "80/tcp" }]);
    all["args"] = json!({ "cni": { "labels": [{ "key": "app", "value": app }] } });
    all
}

fn whole() -> Value {
    let more = json!({
        "runtimeConfig": { "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }],
            "bandwidth": { "ingressRate": 8_000_000, "ingressBurst": 80_000,
                           "egressRate": 8_000_000, "egressBurst": 80_000 } },
    });
    labelled("x", &more)
}

/// A world, with somebody on the network or nobody.
fn world(mode: Mode, further: bool) -> World {
    let world = World::new(mode);
    if further {
        world.pod("keeper", &labelled("y", &json!({})));
    }
    world.ok(&["ps"]);
    world
}

fn call<'a>(verb: &'a str, pod: &'a Pod, fault: Option<&'a str>) -> Call<'a> {
    Call {
        verb,
        id: &pod.id,
        netns: &pod.netns,
        args: "",
        fault,
    }
}

fn add(mode: Mode, how: &str, further: bool) {
    let w = world(mode, further);
    let pod = Pod::new("pod");
    let base = w.moment();
    for step in 1..200 {
        let (fault, what) = (format!("{how}:{step}"), format!("{how} at step {step} of ADD"));
        let out = w.plugin(call("ADD", &pod, Some(&fault)), &whole());
        if out.ok() {
            assert!(step > 10, "the steps are counted");
            w.gone(&pod, &whole());
            w.comes_to_be(&[&base], "at the end");
            return;
        }
        if how == "fail" {
            w.refuses(&out, 999);
            assert!(pod.ifaces().is_empty(), "{what}");
            w.comes_to_be(&[&base], &what);
        } else {
            assert_eq!(out.code, -1, "{what}: {out:?}");
        }
        // A runtime calls DEL after an ADD that failed; or somebody else comes first.
        if step % 2 == 0 {
            w.gone(&pod, &whole());
        } else {
            w.ok(&["ps"]);
        }
        w.is_clean();
        assert!(pod.ifaces().is_empty(), "{what}, afterwards");
        w.comes_to_be(&[&base], &format!("{what}, afterwards"));
    }
    panic!("no end of steps");
}

fn del(mode: Mode, how: &str, further: bool) {
    let w = world(mode, further);
    let pod = Pod::new("pod");
    let base = w.moment();
    for step in 1..200 {
        let (fault, what) = (format!("{how}:{step}"), format!("{how} at step {step} of DEL"));
        let out = w.plugin(call("ADD", &pod, None), &whole());
        assert!(out.ok(), "{what}: {out:?}");
        let out = w.plugin(call("DEL", &pod, Some(&fault)), &whole());
        let done = out.ok();
        if !done {
            let asked = if how == "fail" { 1 } else { -1 };
            assert_eq!(out.code, asked, "{what}: {out:?}");
            if step % 2 == 0 {
                w.ok(&["ps"]);
                w.is_clean();
            }
            w.gone(&pod, &whole());
        }
        w.is_clean();
        w.comes_to_be(&[&base], &format!("{what}, afterwards"));
        if done {
            assert!(step > 5, "the steps are counted");
            return;
        }
    }
    panic!("no end of steps");
}
