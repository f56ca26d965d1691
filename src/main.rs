//! The `moat` command.

fn main() {
    std::process::exit(moat::cli::main(std::env::args_os()));
}
