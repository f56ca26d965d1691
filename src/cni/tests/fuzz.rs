//! No call brings a panic or anything but one document, however broken it is.
//!
//! Two thousand calls in every run; with `FUZZ_SECONDS`, as many as fit (`make fuzz`).

use std::cell::Cell;
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::calls::{Case, cases, wrong};
use super::*;

const CASES: u32 = 2000;

fn judge(case: &Case) -> Result<Answer, TestCaseError> {
    let plugin = Mute {
        args: Some(&["IP", "MAC", "GATEWAY"]),
        ..Mute::new()
    };
    let env = case.env.iter().map(|(k, v)| ((*k).into(), v.into())).collect();
    let answer = run(&plugin, &env, &case.stdin);
    match wrong(case, answer.stdout.as_bytes(), answer.code) {
        Some(what) => Err(TestCaseError::fail(what)),
        None => Ok(answer),
    }
}

#[test]
fn broken_calls_get_one_document() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
    let (calls, successes) = (Cell::new(0_u64), Cell::new(0_u64));
    loop {
        let mut runner = TestRunner::new(Config {
            failure_persistence: None,
            ..Config::with_cases(CASES)
        });
        let outcome = runner.run(&cases("/nowhere/netns", "/nowhere/state"), |case| {
            let answer = judge(&case)?;
            calls.set(calls.get() + 1);
            successes.set(successes.get() + u64::from(answer.code == 0));
            Ok(())
        });
        assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
        if Instant::now() >= end {
            break;
        }
    }
    let (calls, successes) = (calls.get(), successes.get());
    println!("{calls} calls, {successes} of them right");
    // Neither all refused nor all taken: else it is not these calls that are tried.
    assert!(
        successes > calls / 10 && successes < calls * 9 / 10,
        "{successes} of {calls}"
    );
}
