//! The two helps that a line for each command or option would make longer than a screen.
//!
//! A test below holds the texts against what clap knows: nothing is left out, nothing is made up.

/// The commands, by what they are for.
const COMMANDS: &str = "\
Containers:
  run, exec                 Start a container; run a further command in it
  ps, inspect, logs         List containers; say all of one; print what it wrote
  stop, kill, wait, rm      Ask it to end; send a signal; wait for it; remove it
  stats, top                What containers use, once a second; the processes of one
  pause, unpause            Hold containers still; let them go on
  up, down                  Make what runs what a Compose file says; remove it again
  cp, diff, image           Copy files in or out; list what it changed; bring images

Networks and links:
  net, label                Make, list and remove networks; other labels for a container
  link, unlink, links       Let one container reach another; take that back; list
  cni, hook                 Serve podman, containerd, CRI-O and nerdctl as their plugin, or as an OCI hook

Answers:
  why, reach, graph, flows  Whether a flow may pass, and why; the matrix; a picture; as it happens
  policy                    Test, explain and enforce Kubernetes network policies
  doctor, fsck, gc          Check the machine; compare records and kernel; tidy up
  audit, watch              Who changed which link, port map or network; notice and mend at once

  lab                       All of this without root, in a world that goes with its command
  help                      `moat help COMMAND` says more of each";

/// The options of `moat run`, by what they are for.
const RUN: &str = "\
Options:
      --name NAME, --hostname H    Its name, and what it calls itself; made up without
  -d, --detach    -i, --interactive    -t, --tty    --rm (remove it when it ends)
      --label K=V                  Labels, which links can name
Network:
      --net NET                    Network, or `none` for loopback only
      --link TARGET                Let it reach TO[:PORT[-END][/PROTO]]
  -p, --publish MAP                [ADDR:]HOSTPORT[-END]:PORT[-END][/PROTO]
      --ip A, --ip6 A, --mac M     Addresses; free ones without
Files (without --rootfs and --image the host's own tree, copy-on-write):
      --rootfs DIR[:ro]            A directory as root, copy-on-write or read-only
      --image REF, --entrypoint P  An image as root; a program instead of its own
      --share PATH                 Show a path of the host hidden otherwise
  -v, --volume MAP                 Bind SRC:DST[:ro]
      --tmpfs DST, --read-only     Memory file system: DST[:size=S]; no writing to the root
Process:
  -e, --env K=V, --env-file F      Variables, each or from a file
  -u, --user USER[:GROUP]          Whom it runs as, by name or number
  -w, --workdir DIR, --no-init     Working directory; the command is process 1 itself
      --restart WHEN               Start it again: no, on-failure[:N], always
      --health-cmd CMD             Check it so; --health-interval D, --health-timeout D,
                                   --health-retries N, --health-start-period D
      --stop-signal SIG, --log-size SIZE      TERM and 16m without
Limits and rights:
  -m, --memory MEM, --cpus N, --pids N    Bytes or with k, m, g; like 0.5; processes
      --ulimit N=SOFT[:HARD]       A resource limit, like nofile=1024:4096
      --cap-add C, --cap-drop C    A capability more or less, or ALL
      --security seccomp=FILE      Filter of system calls: a profile, or `seccomp=off`
      --userns WHOSE, --device SRC[:DST][:rw]    User ids: auto, own, host; a device

      --dry-run                    Print the change as ip and nft lines, make none
  -h, --help                       Print help";

/// The whole command line with both texts in place.
pub fn arrange(top: clap::Command) -> clap::Command {
    let template =
        |text: &str| format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{text}{{after-help}}");
    top.help_template(template(&format!("{COMMANDS}\n\nOptions:\n{{options}}")))
        .mut_subcommand("run", |run| run.help_template(template(RUN)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    fn words(text: &str, of: impl Fn(&str) -> bool) -> BTreeSet<String> {
        text.split([' ', ',', '\n'])
            .filter(|word| of(word))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_command_is_in_the_list() {
        let top = crate::cli::command();
        let known: BTreeSet<String> = top
            .get_subcommands()
            .filter(|c| !c.is_hide_set())
            .map(|c| c.get_name().to_owned())
            .chain(["help".to_owned()])
            .collect();
        let listed: BTreeSet<String> = super::COMMANDS
            .lines()
            .filter_map(|l| l.strip_prefix("  "))
            .flat_map(|l| words(l.split("  ").next().unwrap_or(""), |w| !w.is_empty()))
            .collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn every_option_of_run_is_in_the_list() {
        let top = crate::cli::command();
        let run = top.find_subcommand("run").expect("there is one");
        let known: BTreeSet<String> = run
            .get_arguments()
            .filter(|a| !a.is_hide_set() && !a.is_global_set())
            .filter_map(|a| a.get_long().map(|l| format!("--{l}")))
            .chain(["--dry-run".to_owned(), "--help".to_owned()])
            .collect();
        let listed = words(super::RUN, |w| w.starts_with("--"));
        assert_eq!(listed, known);
    }
}
