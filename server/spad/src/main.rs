//! `spad`, the server's command.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    spad::cli::main()
}
