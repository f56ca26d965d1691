//! A seccomp program as a binary search over ranges of call numbers.
//!
//! Pure. 28 or so ranges become some 150 instructions; one comparison a call would be 1,550 and ten times
//! slower to install. Conditional jumps reach 255 instructions ahead, so longer ones go through `ja`.

/// One instruction, the kernel's `struct sock_filter`.
pub use libc::sock_filter as Insn;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Allow,
    /// Fails with this errno.
    Fail(u16),
    Kill,
    /// Looks at the low half of one argument.
    Check(&'static Check),
}

/// A condition on the low 32 bits of an argument. The kernel itself looks at 32 bits of every argument
/// checked here, so the upper half cannot be used to slip past.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    pub argument: u32,
    pub when: When,
    /// The errno of a refused call.
    pub errno: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub enum When {
    /// Refused if any of these bits is set.
    NoneOf(u32),
    /// Refused if equal to one of these.
    NotIn(&'static [u32]),
    /// Refused unless equal to one of these.
    In(&'static [u32]),
}

impl Check {
    /// The meaning, for tests.
    #[cfg(test)]
    pub fn passes(&self, value: u32) -> bool {
        match self.when {
            When::NoneOf(bits) => value & bits == 0,
            When::NotIn(list) => !list.contains(&value),
            When::In(list) => list.contains(&value),
        }
    }
}

pub const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
pub const ABOVE: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
pub const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const GO: u16 = 0x05; // BPF_JMP | BPF_JA
pub const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
/// Of the low half of argument 0; both architectures are little endian.
pub const OFFSET_ARGS: u32 = 16;

pub fn insn(code: u16, k: u32) -> Insn {
    Insn {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

pub fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Insn {
    Insn { code, jt, jf, k }
}

fn verdict(action: Action) -> u32 {
    match action {
        Action::Allow | Action::Check(_) => libc::SECCOMP_RET_ALLOW,
        Action::Fail(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        Action::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    }
}

/// The whole program. `ranges` are (first number, action), ascending, the first at 0; each reaches up to the
/// next.
pub fn program(arch: u32, ranges: &[(u32, Action)]) -> Vec<Insn> {
    program_of(arch, ranges, &|action| leaf(*action))
}

/// As [`program`], for answers that `code` turns into instructions ending in a return.
pub fn program_of<A>(arch: u32, ranges: &[(u32, A)], code: &impl Fn(&A) -> Vec<Insn>) -> Vec<Insn> {
    let answer = code;
    let mut code = vec![
        insn(LOAD, OFFSET_ARCH),
        jump(EQUAL, arch, 1, 0),
        insn(RETURN, verdict(Action::Kill)),
        insn(LOAD, OFFSET_NUMBER),
    ];
    code.extend(search(ranges, answer));
    code
}

fn search<A>(ranges: &[(u32, A)], answer: &impl Fn(&A) -> Vec<Insn>) -> Vec<Insn> {
    match ranges {
        [] => leaf(Action::Kill),
        [(_, action)] => answer(action),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let pivot = high.first().map_or(0, |(first, _)| *first);
            let (low, high) = (search(low, answer), search(high, answer));
            let mut code = match u8::try_from(low.len()) {
                Ok(distance) => vec![jump(AT_LEAST, pivot, distance, 0)],
                Err(_) => vec![
                    jump(AT_LEAST, pivot, 0, 1),
                    insn(GO, u32::try_from(low.len()).unwrap_or(u32::MAX)),
                ],
            };
            code.extend(low);
            code.extend(high);
            code
        }
    }
}

fn leaf(action: Action) -> Vec<Insn> {
    let Action::Check(check) = action else {
        return vec![insn(RETURN, verdict(action))];
    };
    let allow = insn(RETURN, verdict(Action::Allow));
    let refuse = insn(RETURN, verdict(Action::Fail(check.errno)));
    let mut code = vec![insn(LOAD, OFFSET_ARGS + 8 * check.argument)];
    // Every test jumps to the last instruction on a match; the one before it is for no match.
    let (tests, matched, otherwise): (Vec<(u16, u32)>, _, _) = match check.when {
        When::NoneOf(bits) => (vec![(ANY_BIT, bits)], refuse, allow),
        When::NotIn(list) => (list.iter().map(|value| (EQUAL, *value)).collect(), refuse, allow),
        When::In(list) => (list.iter().map(|value| (EQUAL, *value)).collect(), allow, refuse),
    };
    let count = tests.len();
    for (at, (test, value)) in tests.into_iter().enumerate() {
        code.push(jump(test, value, u8::try_from(count - at).unwrap_or(u8::MAX), 0));
    }
    code.extend([otherwise, matched]);
    code
}

#[cfg(test)]
pub mod interpreter {
    //! As much of BPF as the programs above use.

    use super::{ABOVE, AND, ANY_BIT, AT_LEAST, EQUAL, GO, Insn, LOAD, RETURN};

    /// What the program says of a call.
    pub fn run(code: &[Insn], arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let (mut at, mut value) = (0_usize, 0_u32);
        loop {
            let insn = code[at];
            at += 1;
            let taken = match insn.code {
                LOAD => {
                    value = load(insn.k, arch, number, args);
                    continue;
                }
                GO => {
                    at += insn.k as usize;
                    continue;
                }
                RETURN => return insn.k,
                AND => {
                    value &= insn.k;
                    continue;
                }
                ABOVE => value > insn.k,
                EQUAL => value == insn.k,
                AT_LEAST => value >= insn.k,
                ANY_BIT => value & insn.k != 0,
                other => panic!("unknown instruction {other:#x}"),
            };
            at += usize::from(if taken { insn.jt } else { insn.jf });
        }
    }

    fn load(offset: u32, arch: u32, number: u32, args: [u64; 6]) -> u32 {
        match offset {
            0 => number,
            4 => arch,
            _ => {
                let arg = args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) {
                    arg as u32
                } else {
                    (arg >> 32) as u32
                }
            }
        }
    }
}
