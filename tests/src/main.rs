//! `millstream` as the tests run it: the same program, with failpoints and planted mistakes compiled in.

fn main() -> std::process::ExitCode {
    millstream_server::cli_main(millstream_connectors::Registry::builtin())
}
