//! `millstream` as the tests run it: the same program, with failpoints and planted mistakes compiled in, and
//! with a kind of its own, `timed_counts`.

mod timed_counts;

fn main() -> std::process::ExitCode {
    millstream_server::cli_main(millstream_connectors::Registry::builtin().with(timed_counts::TimedCounts))
}
