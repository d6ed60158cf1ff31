//! The `millstream` program: the command line over the built-in kinds of node.

fn main() -> std::process::ExitCode {
    millstream_server::cli_main(millstream_connectors::Registry::builtin())
}
