//! Breaking inputs that are known to be right, for the tests that whatever comes from outside is
//! read or refused, and never more.
//!
//! A second for each target in a test run, or `FUZZ_SECONDS` (`make fuzz`). What broke it is printed.

use std::time::{Duration, Instant};

/// What means something to one of the readers.
const WORDS: [&[u8]; 24] = [
    b"\0",
    b"\xff\xfe",
    b"${",
    b"${X:-${X}}",
    b"&a ",
    b"*a",
    b"<<: *a\n",
    b"---\n",
    b": ",
    b"- ",
    b"{{[[",
    b"\"",
    b"'",
    b"../",
    b"/",
    b"-1",
    b"0",
    b"4294967296",
    b"99999999999999999999",
    b"1e999",
    b"\xe2\x80\xae",
    b"\r\n",
    b"\t",
    b"null",
];

/// Numbers from a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (below.max(1) as u64)).unwrap_or(0)
    }
}

/// Says what was tried when a test panics.
struct Tried<'a>(&'a str, &'a [u8]);

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: {:?}", self.0, String::from_utf8_lossy(self.1));
        }
    }
}

/// Gives `try_one` broken forms of the seeds until the time is over. `try_one` says whether the input was
/// taken: some must be, and some must not, else it is not this reader that is tried.
pub fn broken(name: &str, seeds: &[&[u8]], mut try_one: impl FnMut(&[u8]) -> bool) {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok());
    let end = Instant::now() + seconds.map_or(Duration::from_millis(700), Duration::from_secs);
    // Every run tries others, and says which.
    let seed = Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id()) << 20 | 1;
    let seed = std::env::var("FUZZ_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(seed);
    let mut dice = Dice(seed);
    for whole in seeds {
        let _tried = Tried(name, whole);
        assert!(try_one(whole), "{name}: a seed is refused");
    }
    let (mut tried, mut taken) = (0_u64, 0_u64);
    while tried < 200 || Instant::now() < end {
        let mut input = seeds[dice.next(seeds.len())].to_vec();
        for _ in 0..=dice.next(4) {
            spoil(&mut input, seeds, &mut dice);
        }
        let _tried = Tried(name, &input);
        let begun = Instant::now();
        taken += u64::from(try_one(&input));
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{name}: it took {:?}",
            begun.elapsed()
        );
        tried += 1;
    }
    println!("{name}: {tried} inputs, {taken} of them taken, FUZZ_SEED={seed}");
    assert!(taken < tried, "{name}: nothing is refused");
}

fn spoil(input: &mut Vec<u8>, seeds: &[&[u8]], dice: &mut Dice) {
    let at = dice.next(input.len() + 1);
    let to = (at + dice.next(24)).min(input.len());
    match dice.next(7) {
        0 if at < input.len() => input[at] ^= 1 << dice.next(8),
        1 if at < input.len() => input[at] = dice.next(256) as u8,
        2 => drop(input.drain(at..to)),
        3 => {
            let part = input[at..to].to_vec();
            input.splice(at..at, part);
        }
        4 => {
            let word = WORDS[dice.next(WORDS.len())];
            input.splice(at..at, word.iter().copied());
        }
        5 => {
            let other = seeds[dice.next(seeds.len())];
            let from = dice.next(other.len() + 1);
            let end = (from + dice.next(60)).min(other.len());
            input.splice(at..to, other[from..end].iter().copied());
        }
        _ => input.truncate(at),
    }
}

mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::str::FromStr;

    use super::broken;
    use crate::model::policy::{self, Engine, Source};
    use crate::model::{Device, End, ImageName, Mac, Name, Proto, Service, Subnet, topology};

    #[test]
    fn network_policies() {
        let seeds: [&[u8]; 3] = [
            include_bytes!("../../docs/examples/policy/policies.yaml"),
            include_bytes!("../../docs/examples/policy/workloads.yaml"),
            include_bytes!("../../docs/examples/policy/reach.yaml"),
        ];
        broken("network policies", &seeds, |bytes| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let _ = policy::is_manifest(&text);
            let name = "x.yaml".into();
            match policy::read(&[Source { name, text }]) {
                Ok(read) => {
                    let engine = Engine::new(read.cluster, read.policies);
                    let _ = policy::lint(&engine);
                    true
                }
                Err(e) => {
                    assert!(!e.to_string().is_empty());
                    false
                }
            }
        });
    }

    #[test]
    fn compose_files() {
        let seeds: [&[u8]; 2] = [
            include_bytes!("../../docs/examples/shop/compose.yaml"),
            b"services:\n  a:\n    command: [x, \"${Y:-z}\"]\n    ports: [\"127.0.0.1:80-81:80-81/udp\"]\n    links: [\"b:1/tcp\"]\n    \
              environment: {K: v}\n    healthcheck: {test: [CMD, x], interval: 1m30s}\n    user: \"1\"\n  b: {command: x}\n",
        ];
        let name = Name::from_str("p").unwrap();
        broken("Compose files", &seeds, |bytes| {
            let around = topology::Around {
                dir: Path::new("/srv"),
                variables: BTreeMap::new(),
                read: &|_| Ok("K=v\n".to_owned()),
            };
            topology::read(&String::from_utf8_lossy(bytes), Some(&name), &around).is_ok()
        });
    }

    /// Whatever is read is written so that it reads as the same again.
    #[test]
    fn ends_services_and_addresses() {
        let seeds: Vec<&[u8]> = [
            "web",
            "db:5432/tcp",
            "label:app=web:8000-8100/udp",
            "host:22",
            "world",
            "10.0.0.0/8:53/udp",
            "[fd00::/8]:443",
            "icmp",
            "02:00:00:00:00:01",
            "fd00:88::/64",
            "localhost:5000/me/app:1.2",
            "5432/tcp",
            "tcp",
            "/dev/null:/dev/x:rw",
        ]
        .iter()
        .map(|s| s.as_bytes())
        .collect();
        fn again<T: FromStr + ToString + PartialEq + std::fmt::Debug>(text: &str) -> bool {
            let Ok(value) = text.parse::<T>() else {
                return false;
            };
            let written = value.to_string();
            let read = written.parse::<T>().ok();
            assert_eq!(read.as_ref(), Some(&value), "{text:?} is written {written:?}");
            true
        }
        broken("words", &seeds, |bytes| {
            let text = &*String::from_utf8_lossy(bytes);
            let mut taken = End::with_service(text).is_ok() | Device::from_str(text).is_ok();
            taken |= again::<End>(text) | again::<Name>(text) | again::<Mac>(text) | again::<Proto>(text);
            taken |= again::<Subnet>(text) | again::<ImageName>(text);
            // `any` is how no service is written, and is not read.
            taken |= text
                .parse::<Service>()
                .is_ok_and(|s| s == Service::Any || again::<Service>(text));
            taken
        });
    }
}
