//! The `moat` command, and the CNI plugin when it is called as one.

use std::env;

fn main() {
    let called = env::args_os().next().unwrap_or_default();
    let status = moat::cni::main(&called, &env::vars_os().collect());
    std::process::exit(status.unwrap_or_else(|| moat::cli::main(env::args_os())));
}
