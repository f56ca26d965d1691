//! Commands in which one step after the other goes wrong.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use crate::trace::Moment;
use crate::world::{Mode, World};

/// How the step goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// moat dies there.
    Killed,
    /// The step is an error.
    Failed,
}

/// A command, and the world it is given in.
pub struct Case {
    /// Once, before everything.
    setup: &'static [&'static str],
    /// Before each try.
    prepare: &'static [&'static str],
    command: &'static str,
    /// After each try, to have the world of `setup` again.
    back: &'static [&'static str],
    /// The next command may find the work begun and finish it; otherwise it undoes it.
    finishes: bool,
    /// What failed cannot be undone, because it ended processes.
    ends_processes: bool,
}

const CASE: Case = Case {
    setup: &[],
    prepare: &[],
    command: "",
    back: &[],
    finishes: false,
    ends_processes: false,
};

const TWO: &[&str] = &[
    "run -d --name a --label app=a -- sleep 1000",
    "run -d --name b -- sleep 1000",
];

const GOVERNED: &[&str] = &[
    "net create k --default-policy kubernetes",
    "run -d --net k --name db --label app=db --label io.kubernetes.pod.namespace=shop -- sleep 1000",
    "run -d --net k --name other --label app=other --label io.kubernetes.pod.namespace=shop -- sleep 1000",
];

const GOVERNED_BY_ONE: &[&str] = &[
    GOVERNED[0],
    GOVERNED[1],
    GOVERNED[2],
    concat!(
        "policy apply -f ",
        env!("CARGO_MANIFEST_DIR"),
        "/netns-tests/one-policy.yaml"
    ),
];

impl Case {
    pub const fn first_run() -> Self {
        Self {
            command: "run -d --name x --label k=v -p 8080:80 -- sleep 1001",
            back: &["rm -f x"],
            ..CASE
        }
    }

    pub const fn further_run() -> Self {
        Self {
            setup: TWO,
            command: "run -d --name x --label k=v -p 8080:80 --link a:90 --link label:app=a --pids 50 -- sleep 1001",
            back: &["rm -f x"],
            ..CASE
        }
    }

    pub const fn foreground() -> Self {
        Self {
            setup: TWO,
            command: "run --rm --name x --link a:90 -- true",
            finishes: true,
            ends_processes: true,
            ..CASE
        }
    }

    pub const fn link() -> Self {
        Self {
            setup: TWO,
            command: "link a b:90 --both",
            back: &["unlink a b:90", "unlink b a:90"],
            finishes: true,
            ..CASE
        }
    }

    pub const fn unlink() -> Self {
        Self {
            setup: TWO,
            prepare: &["link a b:90"],
            command: "unlink a b:90",
            finishes: true,
            ..CASE
        }
    }

    pub const fn rm() -> Self {
        Self {
            setup: TWO,
            prepare: &["run -d --name x --link a -p 8080:80 -- sleep 1001"],
            command: "rm -f x",
            finishes: true,
            ends_processes: true,
            ..CASE
        }
    }

    pub const fn last_rm() -> Self {
        Self {
            setup: &[],
            prepare: &["run -d --name x -p 8080:80 -- sleep 1001"],
            command: "rm -f x",
            finishes: true,
            ends_processes: true,
            ..CASE
        }
    }

    pub const fn net() -> Self {
        Self {
            setup: TWO,
            command: "net create n",
            back: &["net rm n"],
            finishes: true,
            ..CASE
        }
    }

    pub const fn first_net() -> Self {
        Self {
            command: "net create n",
            back: &["net rm n"],
            finishes: true,
            ..CASE
        }
    }

    pub const fn net_rm() -> Self {
        Self {
            setup: TWO,
            prepare: &["net create n"],
            command: "net rm n",
            finishes: true,
            ..CASE
        }
    }

    pub const fn last_net_rm() -> Self {
        Self {
            prepare: &["net create n"],
            command: "net rm n",
            finishes: true,
            ..CASE
        }
    }

    pub const fn stop() -> Self {
        Self {
            setup: TWO,
            prepare: &["run -d --name x --link a -p 8080:80 -- sleep 1001"],
            command: "stop -t 5 x",
            back: &["rm -f x"],
            finishes: true,
            ends_processes: true,
        }
    }

    pub const fn policy_apply() -> Self {
        Self {
            setup: GOVERNED,
            command: concat!(
                "policy apply -f ",
                env!("CARGO_MANIFEST_DIR"),
                "/netns-tests/one-policy.yaml"
            ),
            back: &["policy rm db"],
            finishes: true,
            ..CASE
        }
    }

    pub const fn label() -> Self {
        Self {
            setup: GOVERNED_BY_ONE,
            command: "label other app=web",
            back: &["label other app=other"],
            finishes: true,
            ..CASE
        }
    }

    pub const fn governed_run() -> Self {
        Self {
            setup: GOVERNED_BY_ONE,
            command: "run -d --net k --name x --label app=web --label io.kubernetes.pod.namespace=shop -- sleep 1001",
            back: &["rm -f x"],
            ..CASE
        }
    }

    pub const fn governed_rm() -> Self {
        Self {
            setup: GOVERNED_BY_ONE,
            prepare: &[
                "run -d --net k --name x --label app=web --label io.kubernetes.pod.namespace=shop -- sleep 1001",
            ],
            command: "rm -f x",
            finishes: true,
            ends_processes: true,
            ..CASE
        }
    }

    pub fn at_every_step(&self, mode: Mode, ending: Ending) {
        self.at_steps(mode, ending, 1, 1);
    }

    /// Every second step, from the `first` on: for long commands, which two stories share.
    pub fn at_half(&self, mode: Mode, ending: Ending, first: u32) {
        self.at_steps(mode, ending, first, 2);
    }

    fn at_steps(&self, mode: Mode, ending: Ending, first: u32, by: usize) {
        let world = World::new(mode);
        let all = |commands: &[&str]| commands.iter().for_each(|c| drop(world.ok(&words(c))));
        all(self.setup);
        // The first of everything: directories and the database stay.
        world.ok(&["ps"]);
        let base = world.moment();
        for step in (first..300).step_by(by) {
            all(self.prepare);
            let before = if self.prepare.is_empty() {
                base.clone()
            } else {
                world.moment()
            };
            let done = self.one(&world, ending, step, &before, &base);
            all(self.back);
            let what = format!("step {step} of `{}`, afterwards", self.command);
            world.comes_to_be(&[&base], &what);
            if done {
                assert!(step > 3, "the steps are counted");
                println!("{step} steps of `{}`", self.command);
                return;
            }
        }
        panic!("no end of steps");
    }

    /// One try. Whether the command passed all its steps.
    fn one(&self, world: &World, ending: Ending, n: u32, before: &Moment, base: &Moment) -> bool {
        let what = format!("step {n} of `{}`", self.command);
        let fault = match ending {
            Ending::Killed => format!("abort:{n}"),
            Ending::Failed => format!("fail:{n}"),
        };
        let mut c = world.command(&words(self.command));
        let out = c.env("MOAT_FAULT", fault).stdin(Stdio::null()).output();
        let out = out.expect("moat starts");
        if out.status.success() {
            return true;
        }
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        let ids = world.dir_ids();
        match ending {
            Ending::Killed => {
                assert_eq!(out.status.signal(), Some(9), "{what}: {:?}: {stderr}", out.status);
                not_more_open(world, before, &what);
            }
            Ending::Failed => {
                let code = if self.command.starts_with("run") {
                    [2, 125]
                } else {
                    [2, 2]
                };
                assert!(
                    code.contains(&out.status.code().unwrap_or(-1)),
                    "{what}: {:?}: {stderr}",
                    out.status
                );
                says_one_error(&stderr, &what);
                assert!(stderr.contains("\nnote: "), "{what}: no note: {stderr}");
                if !(self.ends_processes && stderr.contains("goes on with it")) {
                    world.comes_to_be(&[before], &format!("{what}, at once ({stderr})"));
                }
            }
        }
        world.ok(&["ps"]);
        let out = world.moat(&["fsck"]);
        assert!(out.ok(), "{what}: {out:?}");
        world.no_cgroups_of(&ids, &what);
        if !self.finishes {
            world.comes_to_be(&[before], &what);
        } else if self.command.starts_with("rm") || self.command.contains("unlink") {
            world.comes_to_be(&[before, base], &what);
        }
        if ending == Ending::Killed || self.ends_processes {
            self.again(world, &what);
        } else {
            world.ok(&words(self.command));
        }
        false
    }

    /// The command once more: what was begun is either undone or finished.
    fn again(&self, world: &World, what: &str) {
        let out = world.moat(&words(self.command));
        let finished = self.finishes && matches!(out.code, 2 | 125);
        let done = ["is taken", "exists", "is named", "no link"];
        assert!(
            out.ok() || finished && done.iter().any(|d| out.stderr.contains(d)),
            "{what}, once more: {out:?}"
        );
    }
}

/// Exactly one error, and no panic.
#[track_caller]
pub fn says_one_error(stderr: &str, what: &str) {
    let errors = stderr.lines().filter(|l| l.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{what}: {stderr}");
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
    let known = |l: &&str| ["error: ", "note: ", "hint: "].iter().any(|s| l.starts_with(s));
    let other: Vec<&str> = stderr.lines().filter(|l| !l.is_empty() && !known(l)).collect();
    assert!(other.is_empty(), "{what}: {stderr}");
}

/// A set element is what opens something: none may be there that was not, except those of
/// the container that the command makes.
fn not_more_open(world: &World, before: &Moment, what: &str) {
    let text = world.moment().since(before);
    let own: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("+ store: endpoints x|"))
        .flat_map(|l| l.split('|').skip(1).take(2))
        .collect();
    let sets = ["pair", "port", "proto", "range", "cidr", "world"];
    let open = |l: &&str| {
        let element = l.strip_prefix("+ router: set ").and_then(|l| l.split_once(" { "));
        element.is_some_and(|(set, e)| {
            sets.iter().any(|s| set.starts_with(s)) && e.contains(['.', ':']) && !e.contains("type ")
        })
    };
    let others: Vec<&str> = text
        .lines()
        .filter(open)
        .filter(|l| !own.iter().any(|ip| l.contains(&format!("{ip} "))))
        .collect();
    let asked = what.contains("`link");
    assert!(others.is_empty() || asked, "{what}: open meanwhile: {others:#?}");
}

pub fn words(command: &str) -> Vec<&str> {
    command.split_whitespace().collect()
}
