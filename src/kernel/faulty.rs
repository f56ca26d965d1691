//! A kernel that fails, or lets something happen, at a chosen step.
//!
//! Steps are counted over all calls of `apply`, so a test can go through every point of a
//! command: count the steps of a good run, then fail (or kill the process) at each.

use std::io;

use super::{Error, Kernel, Scope, words};
use crate::plan::{Object, State, Step};

/// What happens at the chosen step.
enum Fault {
    /// The step fails with this errno, and is not done.
    Fail(i32),
    /// The test's code runs, then the step is done.
    Call(Box<dyn FnMut()>),
}

/// A kernel with one fault.
pub struct Faulty<K> {
    inner: K,
    /// Steps begun so far.
    begun: usize,
    fault: Option<(usize, Fault)>,
}

impl<K> Faulty<K> {
    /// No fault: only counts.
    #[must_use]
    pub fn sound(inner: K) -> Self {
        Self {
            inner,
            begun: 0,
            fault: None,
        }
    }

    /// Step number `at` (from 0) fails once, with `errno`.
    #[must_use]
    pub fn failing(inner: K, at: usize, errno: i32) -> Self {
        Self {
            fault: Some((at, Fault::Fail(errno))),
            ..Self::sound(inner)
        }
    }

    /// `hook` runs before step number `at` (from 0): to break something, or to end the process.
    #[must_use]
    pub fn calling(inner: K, at: usize, hook: impl FnMut() + 'static) -> Self {
        Self {
            fault: Some((at, Fault::Call(Box::new(hook)))),
            ..Self::sound(inner)
        }
    }

    /// How many steps were begun.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.begun
    }

    /// The kernel underneath.
    #[must_use]
    pub fn into_inner(self) -> K {
        self.inner
    }
}

impl<K: Kernel> Faulty<K> {
    fn run(&mut self, steps: &[Step], first: usize, done: &mut dyn FnMut(usize)) -> Result<(), Error> {
        self.begun += steps.len();
        if steps.is_empty() {
            return Ok(());
        }
        self.inner.apply(steps, &mut |i| done(first + i))
    }
}

impl<K: Kernel> Kernel for Faulty<K> {
    fn observe(&mut self, scope: &Scope) -> Result<State, Error> {
        self.inner.observe(scope)
    }

    fn apply(&mut self, steps: &[Step], done: &mut dyn FnMut(usize)) -> Result<(), Error> {
        let here = |(at, _): &(usize, Fault)| (self.begun..self.begun + steps.len()).contains(at);
        if !self.fault.as_ref().is_some_and(here) {
            return self.run(steps, 0, done);
        }
        let Some((at, fault)) = self.fault.take() else {
            return self.run(steps, 0, done);
        };
        let split = at - self.begun;
        self.run(&steps[..split], 0, done)?;
        match fault {
            Fault::Fail(errno) => {
                self.begun += 1;
                Err(Error::Step {
                    what: words::step(&steps[split]),
                    source: io::Error::from_raw_os_error(errno),
                })
            }
            Fault::Call(mut hook) => {
                hook();
                self.run(&steps[split..], split, done)
            }
        }
    }

    fn has(&mut self, object: &Object) -> Result<bool, Error> {
        self.inner.has(object)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::kernel::fake::Fake;
    use crate::plan::{MAIN, Place, Plan, Verdict};

    fn plan() -> Plan {
        let rule = |priority| Object::Rule {
            at: Place::Host,
            family: crate::model::Family::Ip4,
            priority,
            mark: None,
            iif: None,
            then: Verdict::Lookup(MAIN),
        };
        Plan::add(&(0..4).map(rule).collect())
    }

    #[test]
    fn the_chosen_step_fails_once() {
        for at in 0..4 {
            let mut kernel = Faulty::failing(Fake::new(), at, libc::EIO);
            let mut finished = Vec::new();
            assert!(kernel.apply(&plan().0, &mut |i| finished.push(i)).is_err());
            assert_eq!(finished, (0..at).collect::<Vec<_>>());
            assert!(kernel.apply(&plan().0, &mut |_| {}).is_ok());
            assert_eq!(kernel.into_inner().state().len(), 4);
        }
    }

    #[test]
    fn the_hook_runs_before_its_step() {
        let called = Rc::new(Cell::new(0));
        let seen = Rc::clone(&called);
        let mut kernel = Faulty::calling(Fake::new(), 2, move || seen.set(seen.get() + 1));
        let mut finished = Vec::new();
        kernel.apply(&plan().0, &mut |i| finished.push(i)).unwrap();
        assert_eq!((called.get(), finished, kernel.begun()), (1, vec![0, 1, 2, 3], 4));
    }
}
