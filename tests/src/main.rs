//! `millstream` as the tests run it: the same program, with failpoints and planted mistakes compiled in, and kinds
//! of node that panic.

mod planted;

fn main() -> std::process::ExitCode {
    let builtin = millstream_connectors::Registry::builtin();
    millstream_server::cli_main(builtin.with(planted::PlantedFilter).with(planted::PlantedDedupe))
}
