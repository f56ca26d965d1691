//! What somebody types who has not read everything: one error, a hint that helps, the right status.

use crate::faulty::{says_one_error, words};
use crate::harness::{Story, own};
use crate::net::Ns;
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[own("input::of_a_newcomer", of_a_newcomer)];

/// A container `web` runs, and `done` has ended.
#[rustfmt::skip]
const LINES: &[(&str, i32, &str)] = &[
    // Found by reading the words.
    ("frob", 2, "`moat --help`"),
    ("stast", 2, "`stats`"),
    ("ps -x", 2, "`moat ps --help`"),
    ("net", 2, "`create`, `ls`"),
    ("image", 2, "`import`, `pull`"),
    ("net create x --mtu 5", 2, "1280"),
    ("graph --format jpeg", 2, "svg"),
    ("run", 125, "`moat run --help`"),
    ("run --frob -- true", 125, "`--frob`"),
    ("run --cpus x -- true", 125, "`--cpus <N>`"),
    ("run --rootfs / --image x -- true", 125, "cannot be used with"),
    ("exec web", 125, "<COMMAND>"),
    ("exec web --frob", 125, "`--frob`"),
    ("wait", 125, "`moat wait --help`"),
    // Forms.
    ("run -p 80 -- true", 125, "127.0.0.1:8080:80"),
    ("run -p 80-82:80-83 -- true", 125, "different lengths"),
    ("run -e =x -- true", 125, "KEY=VALUE"),
    ("run --env-file /nowhere -- true", 125, "file with variables"),
    ("run -v /etc -- true", 125, "SRC:DST"),
    ("run -v /etc:/ -- true", 125, "not `/` itself"),
    ("run --tmpfs x -- true", 125, "DST[:size=S]"),
    ("run -w here -- true", 125, "absolute"),
    ("run -m 1q -- true", 125, "512m"),
    ("run -m 1 -- true", 125, "-m 64m"),
    ("run --cpus 1e9 -- true", 125, "--cpus 0.5"),
    ("run --pids 0 -- true", 125, "at least 2"),
    ("run --pids 1 -- true", 125, "counts the first"),
    ("run --ulimit foo=1 -- true", 125, "nofile"),
    ("run --ulimit nofile=5:2 -- true", 125, "SOFT[:HARD]"),
    ("run --restart never -- true", 125, "on-failure"),
    ("run --device /etc -- true", 125, "below /dev"),
    ("run --security foo -- true", 125, "seccomp=FILE"),
    ("run --userns foo -- true", 125, "`own`"),
    ("run --stop-signal FOO -- true", 125, "kill -l"),
    ("run --health-cmd x --health-interval 0 -- true", 125, "500ms"),
    ("run --log-size 1 -d -- true", 125, "16m"),
    ("run --hostname _ -- true", 125, "a-z"),
    ("run --ip6 10.9.0.3 -- true", 125, "--ip takes IPv4"),
    ("run --label x -- true", 125, "app=web"),
    ("run -it -- true", 125, "leave out `-t`"),
    ("run --image nope", 125, "moat image"),
    ("link web done:80 --for x", 2, "15m"),
    ("link label:x done", 2, "label:KEY=VALUE"),
    ("link host web", 2, "linked from"),
    ("wait web:80 --timeout x", 125, "500ms"),
    ("wait web --timeout x", 125, "500ms"),
    ("up -f /nowhere", 2, "-f FILE"),
    ("up --scale x", 2, "--scale web=3"),
    ("logs", 2, "-f FILE"),
    // State.
    ("wait web --timeout 100ms", 125, "moat stop web"),
    ("exec done true", 125, "moat ps -a"),
    ("pause done", 2, "moat ps -a"),
    ("kill done", 2, "moat ps -a"),
    ("top nope", 2, "moat ps -a"),
    ("stats nope", 2, "moat ps -a"),
    ("diff nope", 2, "moat ps -a"),
    ("unpause nope", 2, "moat ps -a"),
    ("cp web:/nope /tmp/x", 2, "does not exist"),
    ("cp a b", 2, "NAME:PATH"),
    ("unlink web done:80", 2, "moat links"),
    ("net inspect nope", 2, "moat net ls"),
    ("reach --net nope", 2, "moat net ls"),
    ("why web nope", 2, "moat ps -a"),
    ("image rm nope", 2, "moat image ls"),
    ("image import /nowhere", 2, "archive"),
    ("policy test /nowhere", 2, "manifests"),
];

fn of_a_newcomer(mode: Mode) {
    let world = World::new(mode);
    world.idle("web", &[]);
    world.run_d("done", &["--link", "web:80"], &["sleep", "1000"]);
    world.ok(&words("kill done"));
    let known = world.ok(&["ps", "-a", "--json"]);
    for (line, code, says) in LINES {
        let out = world.moat(&words(line));
        says_one_error(&out.stderr, line);
        assert_eq!(out.code, *code, "{line}: {out:?}");
        assert!(
            out.stdout.is_empty() && out.stderr.contains(says),
            "{line}: {out:?}"
        );
        assert_eq!(out.stderr.matches("hint: ").count(), 1, "{line}: {out:?}");
    }
    assert_eq!(world.ok(&["ps", "-a", "--json"]), known, "nothing came or went");
    // Without any word: what there is.
    let out = world.moat(&[]);
    assert!(out.code == 2 && out.stdout.is_empty(), "{out:?}");
    assert!(
        out.stderr.contains("Examples:") && out.stderr.lines().count() <= 40,
        "{out:?}"
    );
    // What follows the command is its own, and `--` lets it begin with a dash.
    assert_eq!(world.exec("web", &["echo", "-n", "--frob"]).stdout, "--frob");
    let out = world.moat(&words("run --rm -- --frob"));
    assert_eq!(out.code, 127, "{out:?}");
    // Status 1 is an answer: no.
    for line in ["why web done:80", "wait web:80 --timeout 100ms"] {
        assert_eq!(world.moat(&words(line)).code, 1, "{line}");
    }
    assert_eq!(
        Ns::host().must("ls -d /nowhere 2>/dev/null || echo none"),
        "none\n"
    );
    world.is_clean();
}
