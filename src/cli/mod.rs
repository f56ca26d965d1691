//! Reads arguments, calls one use case, prints what it says. Decides nothing.

mod args;
mod audit;
mod cni;
mod flows;
mod follow;
mod gen_;
mod graph;
mod help;
mod hook;
mod image;
mod isolation;
mod lab;
mod page;
mod policy;
mod print;
mod read;
mod show;
mod stats;
mod topology;
mod usage;
mod watch;

use std::time::Duration;

use clap::{Arg, ArgAction, CommandFactory, FromArgMatches};

use crate::model::{End, Service};
use crate::ops::{self, Result, Where};
use args::{Cli, Command, Net, Policy, RouterKind};
use print::Printer;

/// The command line with `-v`, which `run` uses for volumes instead. What every command takes
/// is explained once, by `moat --help`: with it a command's own help would not fit a screen.
fn command() -> clap::Command {
    let verbose = Arg::new("verbose")
        .short('v')
        .long("verbose")
        .action(ArgAction::Count)
        .global(true)
        .help("Say more")
        .display_order(904);
    let mut top = Cli::command().arg(verbose);
    let everywhere: Vec<Arg> = ["root", "json", "quiet", "verbose", "color"]
        .iter()
        .filter_map(|id| top.get_arguments().find(|a| a.get_id() == id))
        .map(|a| a.clone().hide(true))
        .collect();
    let names: Vec<String> = top.get_subcommands().map(|s| s.get_name().to_owned()).collect();
    for name in names {
        top = top.mut_subcommand(name, |sub| {
            let runs = sub.get_name() == "run";
            sub.args(everywhere.iter().cloned().map(|arg| match arg.get_short() {
                Some('v') if runs => arg.short(None),
                _ => arg,
            }))
        });
    }
    help::arrange(top)
}

/// How long `wait` waits for a port or for health.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs one command line; the exit status.
#[must_use]
pub fn main(words: impl Iterator<Item = std::ffi::OsString>) -> i32 {
    let words: Vec<_> = words.collect();
    let matches = match command().try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(e) => {
            let words: Vec<String> = (words.iter().skip(1))
                .map(|w| w.to_string_lossy().into_owned())
                .collect();
            return usage::answer(&e, command(), &words);
        }
    };
    let verbose = matches.get_count("verbose") > 0;
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return 2;
        }
    };
    let printer = Printer::new(&cli.global, verbose);
    let place = Where {
        root: cli.global.root.clone(),
        data: cli.global.data.clone(),
        caller: String::new(),
    };
    // Their status is that of a process: moat's own failure must not look like it.
    let passes_on = matches!(
        cli.command,
        Command::Run(_) | Command::Exec(_) | Command::Wait { .. }
    );
    let done = if ops::lab::is_needed() && fits_a_lab(&cli.command) {
        lab::around(&place, &words, &printer)
    } else {
        dispatch(&place, cli, &printer)
    };
    let done = done.and_then(|code| match print::unwritten() {
        Some(e) => Err(ops::Error::Refused {
            what: format!("the answer could not be written to standard output: {e}"),
            hint: "is the disk full that it goes to? `df` tells".into(),
        }),
        None => Ok(code),
    });
    let code = match done {
        Ok(code) => code,
        Err(e) => {
            printer.error(&e);
            match e.exit_code() {
                2 if passes_on => 125,
                code => code,
            }
        }
    };
    if let Some(text) = ops::audit::complaint() {
        printer.say(format!("note: {text}"));
    }
    if let Some(n) = ops::fault::counted() {
        printer.say(format!("steps: {n}"));
    }
    code
}

/// Whether a command is of use in a world that goes with it.
fn fits_a_lab(command: &Command) -> bool {
    match command {
        Command::Run(args) => !args.detach,
        Command::Policy(policy) => policy.sends_packets(),
        _ => false,
    }
}

fn dispatch(place: &Where, cli: Cli, p: &Printer) -> Result<i32> {
    let dry = cli.global.dry_run;
    match cli.command {
        Command::Run(args) => run(place, *args, dry, p),
        Command::Ps { all, project } => {
            let mut containers = ops::list::ps(place, all)?;
            containers.retain(|c| project.as_ref().is_none_or(|p| c.project() == Some(p)));
            Ok(show::containers(p, &containers))
        }
        Command::Inspect { name } => Ok(show::details(p, &ops::list::inspect(place, &name)?)),
        Command::Logs {
            follow,
            tail,
            timestamps,
            project,
            names,
        } => {
            let wish = follow::Wish {
                follow,
                tail,
                timestamps,
            };
            topology::logs(place, project.as_deref(), &names, wish, p)
        }
        Command::Rm { names, all, .. } if dry => planned(place, p, Some(ops::plan_end(place, &names, all)?)),
        Command::Stop { names, .. } if dry => planned(place, p, Some(ops::plan_end(place, &names, false)?)),
        Command::Exec(_)
        | Command::Kill { .. }
        | Command::Pause { .. }
        | Command::Unpause { .. }
        | Command::Gc
            if dry =>
        {
            Err(ops::Error::Refused {
                what: "what this command does to the kernel is not known beforehand".into(),
                hint: "leave --dry-run out; `moat fsck` lists what `moat gc` would tidy".into(),
            })
        }
        Command::Exec(args) => ops::life::exec(place, &args.name, &read::exec(&args)?),
        Command::Stop { time, names } => {
            ops::life::stop(place, &names, Duration::from_secs(time)).map(|()| 0)
        }
        Command::Kill { signal, names } => ops::life::kill(place, &names, read::signal(&signal)?).map(|()| 0),
        Command::Rm { force, all, names } => {
            ops::rm(place, &names, all, force)?
                .iter()
                .for_each(|n| p.say(format!("removed {n}")));
            Ok(0)
        }
        Command::Wait {
            target,
            healthy,
            timeout,
        } => wait(place, &target, healthy, timeout.as_deref(), p),
        Command::Stats { no_stream, names } => stats::stats(p, place, &names, no_stream),
        Command::Top { name } => Ok(stats::top(p, &ops::pause::top(place, &name)?)),
        Command::Pause { names } => ops::pause::pause(place, &names, true).map(|()| 0),
        Command::Unpause { names } => ops::pause::pause(place, &names, false).map(|()| 0),
        Command::Net(net) => network(place, net, dry, p),
        Command::Cp { .. } if dry => Err(ops::Error::Refused {
            what: "files are no part of the kernel: there is no plan to print".into(),
            hint: "leave --dry-run out".into(),
        }),
        Command::Cp { from, to } => {
            ops::copy::copy(place, &ops::copy::End::read(&from), &ops::copy::End::read(&to)).map(|()| 0)
        }
        Command::Diff { name } => Ok(show::changes(p, &ops::copy::diff(place, &name)?)),
        Command::Image(image) => image::run(place, image, dry, p),
        Command::Cni(cni) => cni::run(cni, dry, p),
        Command::Lab(lab) => lab::run(place, &lab.command, p),
        Command::Hook(hook) => hook::run(place, hook, dry, p),
        Command::Link {
            from,
            to,
            both,
            lasting,
        } => {
            let (to, service) = End::with_service(&to)?;
            let lasting = lasting.as_deref().map(ops::time::duration).transpose()?;
            let request = ops::link::Request {
                from: End::from_end(&from)?,
                to,
                service,
                both,
                lasting,
            };
            planned(place, p, ops::link::link(place, &request, dry)?)
        }
        Command::Unlink { from, to } => {
            let (to, service) = End::with_service(&to)?;
            let service = (service != Service::Any).then_some(service);
            planned(
                place,
                p,
                ops::link::unlink(place, &End::from_end(&from)?, &to, service, dry)?,
            )
        }
        Command::Label { name, labels } => planned(
            place,
            p,
            ops::label::label(place, &name, &read::relabel(&labels)?, dry)?,
        ),
        Command::Links => Ok(show::links(p, &ops::link::links(place)?)),
        Command::Why { from, to, probe } => {
            let (to, service) = End::with_service(&to)?;
            let (from, to) = (read::party(&from.parse()?)?, read::party(&to)?);
            let answer = ops::why::why(place, &from, &to, service, probe)?;
            Ok(show::answer(p, &from, &to, service, &answer))
        }
        Command::Reach {
            net,
            ports,
            probe,
            html,
        } => {
            let request = ops::reach::Request {
                net: net.as_deref().map(str::parse).transpose()?,
                services: ports.iter().map(|p| Ok(p.parse()?)).collect::<Result<_>>()?,
                probing: probe,
            };
            let matrix = ops::reach::reach(place, &request)?;
            if let Some(path) = html {
                print::save(&path, &page::matrix(&matrix))?;
            }
            Ok(show::matrix(p, &matrix))
        }
        Command::Policy(command) => policy::run(place, command, dry, p),
        Command::Graph { format } => Ok(graph::show(p, &ops::graph::graph(place)?, format)),
        Command::Flows {
            follow,
            denied,
            lasting,
        } => {
            let lasting = lasting.as_deref().map(ops::time::duration).transpose()?;
            let wish = flows::Wish {
                follow: follow || lasting.is_some() || denied,
                denied,
                lasting: lasting.map(Duration::from_secs),
            };
            flows::flows(p, place, wish)
        }
        Command::Up(args) => topology::up(place, args, dry, p),
        Command::Down(args) => topology::down(place, args, dry, p),
        Command::Audit { follow, tail } => audit::run(place, follow, tail, p),
        Command::Watch { heal } => watch::run(place, heal, p),
        Command::Doctor => Ok(show::checks(p, &ops::doctor::doctor(place))),
        Command::Fsck { fix } => Ok(show::report(p, &ops::fsck::fsck(place, fix && !dry)?)),
        Command::Gc => {
            let n = ops::fsck::gc(place)?;
            if p.json {
                p.json(&serde_json::json!({ "removed": n }));
            } else {
                p.say(format!("removed {n}"));
            }
            Ok(0)
        }
        Command::Gen { what } => gen_::generate(what, command()),
    }
}

fn run(place: &Where, args: args::Run, dry: bool, p: &Printer) -> Result<i32> {
    let mut note = |text: &str| p.say(format!("note: {text}"));
    match ops::run::run(place, read::run(args)?, dry, &mut note)? {
        ops::run::Outcome::Ended(code) => Ok(code),
        ops::run::Outcome::Planned(plan) => planned(place, p, Some(plan)),
        ops::run::Outcome::Started { id, name } => {
            if p.json {
                p.json(&serde_json::json!({ "id": id, "name": name }));
            } else {
                p.line(name.as_str());
            }
            Ok(0)
        }
    }
}

/// Prints the plan of a dry run.
fn planned(place: &Where, p: &Printer, plan: Option<ops::Plan>) -> Result<i32> {
    if let Some(plan) = plan {
        let text = ops::plan_text(place, &plan, p.verbose)?;
        if p.json {
            p.json(&serde_json::json!({ "plan": text.lines().collect::<Vec<_>>() }));
        } else if !text.is_empty() {
            p.line(text.trim_end());
        }
    }
    Ok(0)
}

fn wait(place: &Where, target: &str, healthy: bool, timeout: Option<&str>, p: &Printer) -> Result<i32> {
    let limit = timeout.map(ops::time::milliseconds).transpose()?;
    let limit = limit.map(Duration::from_millis);
    let (end, service) = End::with_service(target)?;
    let End::Container(name) = end else {
        let (value, reason) = (target.to_owned(), "only a container can be waited for".to_owned());
        return Err(ops::Error::Input {
            value,
            reason,
            hint: None,
        });
    };
    if service == Service::Any && !healthy {
        return ops::life::wait(place, name.as_str(), limit);
    }
    let (limit, timeout) = (limit.unwrap_or(PATIENCE), timeout.unwrap_or("60s"));
    if healthy {
        if ops::life::wait_healthy(place, name.as_str(), limit)? {
            return Ok(0);
        }
        p.say(format!("`{name}` is not healthy after {timeout}"));
        return Ok(1);
    }
    if ops::life::wait_port(place, name.as_str(), service, limit)? {
        return Ok(0);
    }
    p.say(format!("`{name}` does not listen on {service} after {timeout}"));
    Ok(1)
}

fn network(place: &Where, net: Net, dry: bool, p: &Printer) -> Result<i32> {
    match net {
        Net::Create {
            name,
            subnet,
            internal,
            default_policy,
            mtu,
            router,
        } => {
            let request = ops::net::Request {
                name: name.parse()?,
                subnets: subnet.iter().map(|s| Ok(s.parse()?)).collect::<Result<_>>()?,
                internal,
                default_policy: match default_policy {
                    Policy::Isolated => crate::model::DefaultPolicy::Isolated,
                    Policy::Kubernetes => crate::model::DefaultPolicy::Kubernetes,
                },
                mtu,
                router: match router {
                    RouterKind::Own => crate::model::Router::Own,
                    RouterKind::Host => crate::model::Router::Host,
                },
            };
            let plan = ops::net::create(place, &request, dry)?;
            if plan.is_none() && p.json {
                p.json(&ops::net::inspect(place, &request.name)?);
            }
            planned(place, p, plan)
        }
        Net::Ls => Ok(show::networks(p, &ops::net::ls(place)?)),
        Net::Inspect { name } => {
            p.json(&ops::net::inspect(place, &name.parse()?)?);
            Ok(0)
        }
        Net::Rm { name } => planned(place, p, ops::net::rm(place, &name.parse()?, dry)?),
    }
}

#[cfg(test)]
mod tests {
    /// The words that call a command, and those of all below it.
    fn calls(before: &[String], command: &clap::Command) -> Vec<Vec<String>> {
        let own = [before, &[command.get_name().to_owned()]].concat();
        let below = command.get_subcommands().filter(|c| c.get_name() != "help");
        let deeper: Vec<_> = below.flat_map(|c| calls(&own, c)).collect();
        [vec![own], deeper].concat()
    }

    #[test]
    fn every_help_fits_a_screen_and_ends_with_two_examples() {
        super::command().debug_assert();
        for mut call in calls(&[], &super::command()) {
            call.push("--help".to_owned());
            let help = super::command()
                .try_get_matches_from(&call)
                .unwrap_err()
                .to_string();
            assert!(help.lines().count() <= 40, "{call:?}:\n{help}");
            let examples = help.split_once("\nExamples:\n").map_or("", |(_, rest)| rest);
            assert_eq!(examples.lines().count(), 2, "{call:?}:\n{help}");
        }
    }
}
