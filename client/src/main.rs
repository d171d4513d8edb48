//! `spa`, the client's command.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    spa::cli::main()
}
