//! The `moat` command, and the CNI plugin when it is called as one.

use std::env;

fn main() {
    let words: Vec<_> = env::args_os().collect();
    let status = match &words[..] {
        // Runtimes say everything in the environment.
        [called] => moat::cni::main(called, &env::vars_os().collect()),
        _ => None,
    };
    std::process::exit(status.unwrap_or_else(|| moat::cli::main(words.into_iter())));
}
