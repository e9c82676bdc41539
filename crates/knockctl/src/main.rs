//! The binary `knockctl`.

fn main() -> std::process::ExitCode {
    knockctl::run()
}
