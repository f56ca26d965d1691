//! Runs attacks in a laboratory: each must work on a plain bridge, and none behind the walls.
//!
//! That nothing came is known, not waited for: the attacker sends a mark to whom it may reach, and
//! what it sent before has been dealt with by then.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::lab::Lab;
use crate::harness::ARRIVED;
use crate::net::until;

/// How often an attack is tried on the plain bridge; the first may find its tables spoilt by another.
const TRIES: usize = 4;

/// One attack in one family, as `attacker.py` describes it.
struct Attack<'a> {
    about: &'a Value,
    family: u8,
}

impl Attack<'_> {
    fn text(&self, key: &str) -> &str {
        self.about[key].as_str().unwrap_or_default()
    }

    fn places(&self) -> Vec<&str> {
        self.about["shows"]["arrives"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// Where to look, and with which line.
    fn looks(&self) -> Option<(&str, &str)> {
        let at = &self.about["shows"]["changes"];
        Some((at[0].as_str()?, at[1].as_str()?))
    }

    fn also(&self) -> Vec<&str> {
        self.about["also"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }
}

impl std::fmt::Display for Attack<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} (IPv{})",
            self.text("number"),
            self.text("name"),
            self.family
        )
    }
}

fn token() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("mOaT{:06x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The attacks of these numbers, in each family they are for.
fn chosen<'a>(all: &'a [Value], numbers: &[&str]) -> Vec<Attack<'a>> {
    for number in numbers {
        assert!(all.iter().any(|a| a["number"] == *number), "no attack {number}");
    }
    let of = |about: &'a Value| {
        let families = about["families"].as_array().into_iter().flatten();
        families.filter_map(Value::as_u64).map(move |f| Attack {
            about,
            family: if f == 4 { 4 } else { 6 },
        })
    };
    all.iter()
        .filter(|a| numbers.iter().any(|n| a["number"] == *n))
        .flat_map(of)
        .collect()
}

/// Each of these works where there are no walls.
#[track_caller]
pub fn works(plain: &mut Lab, numbers: &[&str]) {
    let all = plain.attacks.clone();
    let idle: Vec<String> = chosen(&all, numbers)
        .iter()
        .filter(|a| !shows(plain, a))
        .map(ToString::to_string)
        .collect();
    assert!(
        idle.is_empty(),
        "did nothing on a plain bridge, so prove nothing: {idle:#?}"
    );
}

/// None of these works behind the walls.
#[track_caller]
pub fn fails(walled: &mut Lab, numbers: &[&str]) {
    let all = walled.attacks.clone();
    let attacks = chosen(&all, numbers);
    let broken = held(walled, &attacks);
    assert!(broken.is_empty(), "behind the walls: {ARRIVED}{broken:#?}");
    println!("{} attacks of {numbers:?} failed", attacks.len());
}

/// Whether it works where there are no walls.
fn shows(lab: &mut Lab, attack: &Attack) -> bool {
    (0..TRIES).any(|n| {
        if n > 0 || attack.looks().is_some() {
            mend(lab);
        }
        shown(lab, attack)
    })
}

/// The plain bridge's people forget what they were told and meet again.
fn mend(lab: &Lab) {
    lab.look(
        "router",
        "ip neigh flush all; ip -6 neigh flush all; ip route flush cache; ip -6 route flush cache",
    );
    let line = "ip neigh flush all; ip -6 neigh flush all; ip route flush cache; ip -6 route flush cache; \
                ip -6 route flush proto ra; ip -6 addr flush dynamic dev eth0; \
                for to in {gate4} {gate6} {hop6}%eth0 {friend4} {friend6} {me4} {me6}; do ping -n -c 1 -W 1 $to & done; wait";
    lab.look("victim", &lab.fill(line, 4));
    lab.look(
        "friend",
        &lab.fill(
            "for to in {gate4} {gate6} {victim4} {victim6}; do ping -n -c 1 -W 1 $to & done; wait",
            4,
        ),
    );
}

fn shown(lab: &mut Lab, attack: &Attack) -> bool {
    let token = token();
    if let Some((place, line)) = attack.looks() {
        let line = lab.fill(line, attack.family);
        let before = lab.look(place, &line);
        meanwhile(lab, attack);
        lab.act(attack.text("name"), attack.family, &token);
        lab.settle(&self::token());
        return until(Duration::from_millis(if lab.walled { 0 } else { 700 }), || {
            lab.look(place, &line) != before
        });
    }
    let answer = lab.act(attack.text("name"), attack.family, &token);
    if attack.about["shows"]["learns"] == true {
        return answer["got"].as_array().is_some_and(|got| !got.is_empty());
    }
    lab.settle(&self::token());
    let seen = lab.seen();
    attack
        .places()
        .iter()
        .any(|place| seen[&token].get(*place).is_some())
}

fn meanwhile(lab: &Lab, attack: &Attack) {
    if let Some(line) = attack.about["during"].as_str() {
        lab.look("victim", &lab.fill(line, attack.family));
    }
}

/// What came through the walls.
fn held(lab: &mut Lab, attacks: &[Attack]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut sent: Vec<(String, &Attack)> = Vec::new();
    for attack in attacks {
        let token = token();
        sent.push((token.clone(), attack));
        let looks = attack
            .looks()
            .map(|(place, line)| (place, lab.fill(line, attack.family)));
        let before = looks.as_ref().map(|(place, line)| lab.look(place, line));
        meanwhile(lab, attack);
        let answer = lab.act(attack.text("name"), attack.family, &token);
        if let Some(got) = answer["got"].as_array().filter(|got| !got.is_empty()) {
            broken.push(format!("{attack}: it learned {got:?}"));
        }
        if let (Some((place, line)), Some(before)) = (looks, before) {
            lab.settle(&self::token());
            let after = lab.look(place, &line);
            if after != before {
                broken.push(format!(
                    "{attack}: `{line}` in {place} was `{before}`, is `{after}`"
                ));
            }
        }
    }
    lab.settle(&token());
    let seen = lab.seen();
    for (token, attack) in sent {
        for (place, frame) in seen[&token].as_object().into_iter().flatten() {
            if !attack.also().contains(&place.as_str()) {
                broken.push(format!("{attack}: at {place}: {frame}"));
            }
        }
    }
    broken
}
