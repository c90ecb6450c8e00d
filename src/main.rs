//! argv to mode, error to exit status; nothing more.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
