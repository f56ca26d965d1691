use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::model::yaml::Fault;

fn around() -> Around<'static> {
    let variables = [("HOME", "/home/u"), ("N", "3"), ("EMPTY", "")];
    Around {
        dir: Path::new("/srv/My Shop"),
        variables: variables.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        read: &|path| match path.to_str() {
            Some("/srv/My Shop/calls.json") => Ok("{}".into()),
            Some("/srv/My Shop/db.env") => Ok("# db\nA=1\nexport B=\"x $N\"\nC='$N'\nHOME\n".into()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        },
    }
}

fn project(text: &str) -> Project {
    read(text, None, &around()).unwrap_or_else(|f| panic!("{}: {}", f.pos, f.what))
}

fn fault(text: &str) -> Fault {
    read(text, None, &around()).unwrap_err()
}

fn wrong(text: &str) -> String {
    let fault = fault(text);
    format!("{} {}", fault.pos, fault.what)
}

/// A file with one service that has these lines beside its command.
fn with(lines: &str) -> String {
    format!("services:\n  a:\n    command: sleep 9\n    {lines}\n")
}

const SHOP: &str = "
services:
  web:
    command: nginx -g 'daemon off;'
    deploy: {replicas: 2}
    links: ['db:5432/tcp', 'world:443']
    depends_on: [db]
  db:
    command: [postgres]
    links: [cache]
  cache:
    command: redis-server
";

#[test]
fn a_whole_file_is_read() {
    let p = project(SHOP);
    assert_eq!(p.name.as_str(), "myshop");
    let web = p.role("web").unwrap();
    assert_eq!(web.words(), ["nginx", "-g", "daemon off;"]);
    assert_eq!(web.replicas, 2);
    let links: Vec<String> = p.links().iter().map(Link::words).collect();
    assert_eq!(
        links,
        [
            "link label:moat.member=myshop/db -> label:moat.member=myshop/cache",
            "link label:moat.member=myshop/web -> label:moat.member=myshop/db 5432/tcp",
            "link label:moat.member=myshop/web -> world 443/tcp",
        ]
    );
    assert_eq!(p.listens_on(p.role("db").unwrap()), [(Proto::Tcp, 5432)]);
    let order: Vec<&str> = order(&p).unwrap().iter().map(|r| r.name.as_str()).collect();
    assert_eq!(order, ["cache", "db", "web"]);
}

#[test]
fn every_supported_key_is_read() {
    let text = "
version: '3'
name: all
x-anything: [1]
services:
  a:
    x-own: 1
    image: 'busybox:${TAG:-1.36}'
    entrypoint: sh -c
    command: ['echo $$HOME']
    environment: {A: 1, B: true, HOME: , D: '${N}'}
    env_file: [db.env, {path: db.env}]
    volumes: ['./x:/x:ro', 'data:/data', '~/y:/y', {type: bind, source: ../z, target: /z}, {type: tmpfs, target: /t, tmpfs: {size: 1m}}]
    ports: ['127.0.0.1:8080:80', '53:53/udp', {target: 90, published: '9090', protocol: tcp, host_ip: '::1'}]
    healthcheck: {test: 'true', interval: 1m30s, timeout: 500ms, retries: 2, start_period: 3s}
    scale: 1
    deploy: {replicas: 1, resources: {limits: {cpus: '0.5', memory: 1g}}}
    networks: {back: {aliases: [one], ipv4_address: 10.9.9.9}}
    labels: ['app=web', plain]
    restart: on-failure:3
    user: '1000:1000'
    working_dir: /x
    cap_add: [NET_RAW]
    cap_drop: [ALL]
    devices: [/dev/fuse, '/dev/a:/dev/b:r', {source: /dev/c, target: /dev/d, permissions: rw}]
    security_opt: ['no-new-privileges:true', 'seccomp:calls.json']
    userns_mode: own
    ulimits: {nproc: 64, nofile: {soft: 1024, hard: 4096}, core: -1}
    stop_signal: SIGINT
    mac_address: 02:00:00:00:00:07
    mem_limit: 1gb
    cpus: '0.5'
    pids_limit: 20
    tmpfs: ['/tmp:size=64m', /cache]
    read_only: true
    hostname: h
    stop_grace_period: 2s
    init: false
    links: [host:22, '10.0.0.0/8:443/tcp', b, 'b:80-90/udp']
    depends_on: {b: {condition: service_completed_successfully}}
  b:
    command: sh
    x-moat: {rootfs: ./root, share: /root, userns: host}
networks: {back: {internal: true, ipam: {config: [{subnet: 10.9.9.0/24}]}}, out: {external: true, name: moat}}
volumes: {data: , kept: {external: true}}
";
    let p = project(text);
    let a = &p.role("a").unwrap().settings;
    assert_eq!(a.image.as_deref(), Some("busybox:1.36"));
    assert_eq!(p.role("a").unwrap().words(), ["sh", "-c", "echo $HOME"]);
    let env: Vec<String> = a.environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(env, ["A=1", "B=true", "C=$N", "D=3", "HOME=/home/u"]);
    let mounts: Vec<String> = a
        .mounts
        .iter()
        .map(|m| format!("{:?} {}", m.source, m.read_only))
        .collect();
    assert_eq!(
        mounts,
        [
            "Path(\"/srv/My Shop/x\") true",
            "Volume(\"data\") false",
            "Path(\"/home/u/y\") false",
            "Path(\"/srv/z\") false",
        ]
    );
    assert_eq!(a.tmpfs.len(), 3);
    assert_eq!(a.ports.len(), 3);
    assert_eq!(a.health.as_ref().unwrap().interval, Duration::from_secs(90));
    assert_eq!(a.health.as_ref().unwrap().test, ["/bin/sh", "-c", "true"]);
    assert_eq!(a.network.as_ref().unwrap().as_str(), "all-back");
    assert_eq!((a.memory, a.cpus, a.pids), (Some(1 << 30), Some(0.5), Some(20)));
    let devices: Vec<String> = a
        .devices
        .iter()
        .map(|d| format!("{} {} {}", d.dst.display(), d.read, d.write))
        .collect();
    assert_eq!(
        devices,
        ["/dev/fuse true true", "/dev/b true false", "/dev/d true true"]
    );
    assert_eq!(a.seccomp, Some(SystemCalls::Profile("{}".into())));
    assert_eq!(a.userns.as_deref(), Some("own"));
    let ulimits = [
        ("nproc", 64, 64),
        ("nofile", 1024, 4096),
        ("core", u64::MAX, u64::MAX),
    ];
    assert_eq!(a.ulimits, ulimits.map(|(n, s, h)| (n.to_owned(), s, h)));
    assert_eq!(a.stop_signal.as_deref(), Some("SIGINT"));
    assert_eq!(a.mac.map(|m| m.to_string()).as_deref(), Some("02:00:00:00:00:07"));
    assert_eq!(a.restart, Restart::OnFailure(Some(3)));
    assert_eq!(p.networks.keys().collect::<Vec<_>>(), ["back"]);
    let b = &p.role("b").unwrap().settings;
    assert_eq!(b.rootfs.as_deref(), Some(Path::new("/srv/My Shop/root")));
    assert!(p.is_job(&"b".parse().unwrap()));
}

#[test]
fn what_is_not_supported_is_named_with_its_place() {
    for (text, want) in [
        (
            with("imag: x"),
            "4:5 unknown or unsupported key `imag` of service `a`",
        ),
        (with("build: ."), "4:5 the key `build` is not supported"),
        (
            with("deploy: {mode: global}"),
            "4:14 unknown or unsupported key `mode` of `deploy`",
        ),
        (
            with("x-moat: {root: /}"),
            "4:14 unknown or unsupported key `root` of `x-moat`",
        ),
        (with("links: ['db:5432']"), "4:13 the file has no service `db`"),
        (
            with("links: [a]"),
            "4:13 service `a` reaches itself without a link",
        ),
        (
            with("restart: sometimes"),
            "4:14 `restart` is no, always, unless-stopped or on-failure[:N], not: `sometimes`",
        ),
        (
            with("ports: ['80']"),
            "4:13 a published port needs the host's port too, not: `80`",
        ),
        (
            with("mem_limit: much"),
            "4:16 `mem_limit` is a size like `512m` or `1g`, not: `much`",
        ),
        (
            with("volumes: ['data:/x']"),
            "4:15 no volume `data` is under `volumes` of the file",
        ),
        (
            with("volumes: ['/x']"),
            "4:15 a volume is `SOURCE:TARGET[:ro]`, not: `/x`",
        ),
        (
            with("labels: {moat.member: shop/db}"),
            "4:13 labels that begin with `moat.` are moat's own: `moat.member`",
        ),
        (
            with("networks: [x]"),
            "4:16 no network `x` is under `networks` of the file",
        ),
        (with("environment: ['${X']"), "4:19 `${` is not closed: `${X`"),
        (
            with("environment: {A: '${X:?tell me}'}"),
            "4:22 the variable `X` is needed: tell me",
        ),
        (
            with("env_file: none.env"),
            "4:15 cannot read the file `none.env`: entity not found",
        ),
        (
            with("scale: 2\n    ports: ['8:8']"),
            "5:13 service `a` has 2 replicas, and only one container can have the host's port 8",
        ),
        (
            with("depends_on: {a: {condition: later}}"),
            "4:33 a condition is service_started, service_healthy or service_completed_successfully, not: `later`",
        ),
        (
            with("security_opt: ['apparmor:x']"),
            "4:20 the security option is not supported: `apparmor:x`",
        ),
        (
            with("security_opt: ['no-new-privileges:false']"),
            "4:20 no container may gain rights by running a program: `no-new-privileges:false`",
        ),
        (
            with("userns_mode: private"),
            "4:18 `userns_mode` is auto, own or host, not: `private`",
        ),
        (
            with("x-moat: {userns: own}\n    userns_mode: own"),
            "5:18 `userns_mode` and `userns` of `x-moat` are the same: one of them is enough",
        ),
        (
            with("devices: [fuse]"),
            "4:15 a device is SRC[:DST][:rw], both absolute paths: `fuse`",
        ),
        (
            with("ulimits: {nofile: {soft: 9, hard: 8}}"),
            "4:23 `soft` is above `hard`: 9 and 8",
        ),
        (
            with("cpus: 1\n    deploy: {resources: {limits: {cpus: 2}}}"),
            "5:41 `cpus` and `deploy.resources.limits` say different things",
        ),
        (
            with("mac_address: 02:00:00:00:00:07\n    scale: 2"),
            "2:3 service `a` has 2 replicas, and one address: `02:00:00:00:00:07`",
        ),
        (with("pid: host"), "4:5 the key `pid` is not supported"),
        ("services: {a: {}}".into(), "1:12 service `a` has no command"),
        ("services: {}".into(), "1:11 the file has no service"),
        ("a: 1".into(), "1:1 the file needs the key `services`"),
        (String::new(), "1:1 the file is empty"),
    ] {
        assert_eq!(wrong(&text), want, "{text}");
    }
}

#[test]
fn a_link_of_old_is_explained() {
    let fault = fault("services:\n  a: {command: x, links: ['b:database']}\n  b: {command: x}\n");
    assert_eq!(fault.pos.to_string(), "2:27");
    assert!(
        fault.what.contains("aliases are not supported: `b:database`"),
        "{}",
        fault.what
    );
    assert!(fault.hint.unwrap().contains("`b` is known inside"));
}

#[test]
fn circles() {
    let text = "services:\n  a: {command: x, depends_on: [b]}\n  b: {command: x, depends_on: [c]}\n  c: {command: x, depends_on: [b]}\n";
    assert_eq!(
        wrong(text),
        "3:32 services depend on each other in a circle: b -> c -> b"
    );
    // Links alone are no circle.
    let text = "services:\n  a: {command: x, links: [b]}\n  b: {command: x, links: [a], depends_on: [c]}\n  c: {command: x}\n";
    let p = project(text);
    let order: Vec<&str> = order(&p).unwrap().iter().map(|r| r.name.as_str()).collect();
    assert_eq!(order, ["c", "a", "b"]);
}

#[test]
fn variables() {
    let set = |name: &str| {
        [("A", "x"), ("E", "")]
            .iter()
            .find(|(k, _)| *k == name)
            .map(|(_, v)| (*v).to_owned())
    };
    for (text, want) in [
        ("$A-${A}", "x-x"),
        ("$$A $${A}", "$A ${A}"),
        ("${B:-d} ${E:-d} ${E-d} ${B-}", "d d  "),
        ("${B:-${A:-y}}${B:-${C:-}}", "x"),
        ("${A:+yes}${E:+no}${E+set}${B+no}", "yesset"),
        ("$B|", "|"),
    ] {
        let got = interpolate::interpolate(text, &set, &mut vec![]);
        assert_eq!(got.as_deref(), Ok(want), "{text}");
    }
    for bad in ["$", "$1", "${", "${}", "${A", "${A*b}", "${B?}", "${E:?no}"] {
        assert!(interpolate::interpolate(bad, &set, &mut vec![]).is_err(), "{bad}");
    }
    let deep = "${B:-".repeat(40) + &"}".repeat(40);
    assert!(interpolate::interpolate(&deep, &set, &mut vec![]).is_err());
    assert_eq!(project(&with("user: '$NOBODY_SET'")).warnings.len(), 1);
}

fn there(role: &Role, project: &str, replica: u32) -> Existing {
    Existing {
        name: format!("{project}-{}-{replica}", role.name).parse().unwrap(),
        role: role.name.to_string(),
        replica,
        config: role.config(),
        runs: true,
        exit_code: None,
    }
}

#[test]
fn plans() {
    let p = project(SHOP);
    let none = Options::default();
    let started = |plan: &Plan| plan.started.iter().map(|s| s.0.to_string()).collect::<Vec<_>>();
    let first = plan(&p, &[], none).unwrap();
    let all = ["myshop-cache-1", "myshop-db-1", "myshop-web-1", "myshop-web-2"];
    assert_eq!(started(&first), all);

    let mut now: Vec<Existing> = Vec::new();
    for role in &p.roles {
        now.extend((1..=role.replicas).map(|n| there(role, "myshop", n)));
    }
    let again = plan(&p, &now, none).unwrap();
    assert_eq!((again.kept.len(), again.started.len()), (4, 0));

    // Links and replicas are no matter of a single container.
    let text = SHOP
        .replace("replicas: 2", "replicas: 1")
        .replace("[cache]", "['cache:1']");
    let fewer = plan(&project(&text), &now, none).unwrap();
    assert!(fewer.started.is_empty());
    assert_eq!(fewer.removed, [("myshop-web-2".parse().unwrap(), Why::Fewer)]);

    let changed = plan(
        &project(&SHOP.replace("[postgres]", "[postgres, -v]")),
        &now,
        none,
    )
    .unwrap();
    assert_eq!(started(&changed), ["myshop-db-1"]);
    assert_eq!(changed.started[0].3, Why::Changed);

    now[2].runs = false;
    now[2].exit_code = Some(0);
    assert_eq!(plan(&p, &now, none).unwrap().started[0].3, Why::Ended);

    now.push(Existing {
        role: "gone".into(),
        name: "myshop-gone-1".parse().unwrap(),
        ..now[0].clone()
    });
    assert_eq!(plan(&p, &now, none).unwrap().orphans.len(), 1);
    let strict = Options {
        remove_orphans: true,
        ..none
    };
    assert_eq!(plan(&p, &now, strict).unwrap().removed[0].1, Why::Orphan);
}

#[test]
fn links_are_found_for_a_file_without() {
    let text = "\
services:
  web:
    build: .
    image: nginx
    depends_on: [api]
  api:
    image: api
    environment:
      DATABASE_URL: postgres://u:p@db:5433/app
      CACHE_HOST: cache
      CACHE_PORT: 7000
    depends_on: [db, queue]
  db:
    image: postgres:16
  cache:
    image: redis
  queue:
    image: rabbitmq:3
    links: []
";
    let (p, refused) = without_unknown(text, None, &around()).unwrap();
    assert_eq!(refused.len(), 1);
    let hints = explain(&p);
    let found: Vec<String> = hints.iter().map(|h| format!("{} {}", h.from, h.link)).collect();
    assert_eq!(
        found,
        [
            "web api",
            "api cache:7000/tcp",
            "api db:5433/tcp",
            "api queue:5672/tcp"
        ]
    );
    let new = written(text, &p, &hints).unwrap();
    let (again, _) = without_unknown(&new, None, &around()).unwrap();
    assert_eq!(again.links().len(), 4);
    assert!(explain(&again).is_empty(), "{:?}", explain(&again));
    assert!(snippet(&hints).contains("  api:\n    links:\n      - \"cache:7000/tcp\" # "));
}

#[test]
fn files_of_variables() {
    let known: BTreeMap<String, String> = [("A".to_owned(), "1".to_owned())].into();
    let read = |text| dotenv(text, &known);
    let got = read("B = \"$A\\n\" # c\nC=$B$A # d\nD='$A'\nE=x#y\nA\nF\n").unwrap();
    let want = [
        ("B", Some("1\n")),
        ("C", Some("1\n1")),
        ("D", Some("$A")),
        ("E", Some("x#y")),
        ("A", Some("1")),
        ("F", None),
    ];
    assert_eq!(got, want.map(|(k, v)| (k.to_owned(), v.map(str::to_owned))));
    for bad in ["=x", "A B=1", "A=\"x", "A='x", "A=${"] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "(services:\n  [a-c]: \\{|command: x|links: \\[|depends_on: \\[|[a-c]|: |, |\\]|\\}|\\$|\n|  |\\$\\{|'){0,24}") {
        let _ = read(&text, None, &around());
        let _ = without_unknown(&text, None, &around());
    }
}
