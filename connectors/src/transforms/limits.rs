//! Regular expressions from pipeline files: linear time, bounded size.
//!
//! The `regex` crate never backtracks, so no input can make a match slow beyond pattern times text.
//! What is left to bound is the pattern: its length, its nesting and the size of its compiled form.

use super::at_key;
use millstream::Result;
use regex::{Regex, RegexBuilder};

/// Longest pattern that a person may write, in bytes.
pub const PATTERN_BYTES_MAX: usize = 4 << 10;
/// Longest pattern that a grok expression may expand to, in bytes.
pub const EXPANDED_BYTES_MAX: usize = 64 << 10;
/// Largest compiled form, in bytes: building one megabyte takes some ten milliseconds.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Largest cache of the lazy DFA, in bytes per worker.
const DFA_BYTES_MAX: usize = 2 << 20;
/// Deepest nesting.
const NEST_MAX: u32 = 32;

/// Compiles a pattern that stands under the config key `field`.
///
/// # Errors
/// `REGEX-TOO-LARGE` when it is longer than [`PATTERN_BYTES_MAX`] or its compiled form is too large,
/// `REGEX-INVALID` when it is no regular expression of the supported kind.
pub fn compile(field: &str, pattern: &str) -> Result<Regex> {
    check_length(field, pattern, PATTERN_BYTES_MAX)?;
    build(field, pattern)
}

/// Compiles what a grok expression expanded to.
///
/// # Errors
/// As [`compile`], with [`EXPANDED_BYTES_MAX`].
pub fn compile_expanded(field: &str, pattern: &str) -> Result<Regex> {
    check_length(field, pattern, EXPANDED_BYTES_MAX)?;
    build(field, pattern)
}

/// Refuses a pattern of more than `max` bytes.
///
/// # Errors
/// `REGEX-TOO-LARGE`.
pub fn check_length(field: &str, pattern: &str, max: usize) -> Result<()> {
    if pattern.len() <= max {
        return Ok(());
    }
    Err(at_key("REGEX-TOO-LARGE", field, "the pattern is too long")
        .found(format!("{} bytes", pattern.len()))
        .expected(format!("at most {max} bytes")))
}

fn build(field: &str, pattern: &str) -> Result<Regex> {
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(COMPILED_BYTES_MAX).dfa_size_limit(DFA_BYTES_MAX).nest_limit(NEST_MAX);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(max) => at_key("REGEX-TOO-LARGE", field, "the compiled pattern is too large")
            .expected(format!("at most {max} bytes"))
            .help("make the counted repetitions smaller, or use (?-u) where ASCII will do"),
        other => at_key("REGEX-INVALID", field, "this is not a regular expression")
            .found(other.to_string())
            .help("look-around and back-references are not supported, since their time is not bounded"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// What this thread has cost so far, where the system says so; the time otherwise.
    fn cpu() -> Duration {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        match text.split(' ').next().and_then(|nanos| nanos.parse().ok()) {
            Some(nanos) => Duration::from_nanos(nanos),
            None => START.elapsed(),
        }
    }

    /// Patterns made to hurt: each compiles or is refused at once, and what compiles matches in linear time.
    #[test]
    fn hostile_patterns_cost_nothing() {
        let nested = format!("{}a{}", "(".repeat(200), ")*".repeat(200));
        let corpus = [
            "(a*)*",
            "(a*)*$",
            "(a|a)*b",
            "(?:a{1000}){1000}",
            "(?:(?:a{1000}){1000}){1000}",
            "((((a{1,100}){1,100}){1,100}){1,100})",
            "(?:){4294967295}",
            "(?:(?:){1000}){1000}",
            r"\w{1000}",
            r"(\pL{500}){500}",
            r"(?i)\pL{500}x{500}",
            "[a-z]{5000}[0-9]{5000}",
            "(",
            "a{2,1}",
            r"(?=a)",
            r"(a)\1",
            nested.as_str(),
        ];
        let text = "a".repeat(10_000);
        for pattern in corpus {
            // The processor is shared with other tests: the best of some says what the pattern costs.
            let mut best = Duration::MAX;
            let mut compiled = None;
            for _ in 0..5 {
                let start = cpu();
                compiled = compile("regex", pattern).ok();
                best = best.min(cpu().saturating_sub(start));
            }
            assert!(best < Duration::from_millis(50), "{pattern}: {best:?}");
            if let Some(regex) = compiled {
                let start = cpu();
                let _ = regex.is_match(&text);
                assert!(cpu().saturating_sub(start) < Duration::from_secs(4), "{pattern} on 10,000 letters");
            }
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(compile("regex", "(").unwrap_err().code, "REGEX-INVALID");
        assert_eq!(compile("regex", &"a".repeat(5_000)).unwrap_err().code, "REGEX-TOO-LARGE");
        assert_eq!(compile("regex", "(?:a{1000}){1000}").unwrap_err().code, "REGEX-TOO-LARGE");
        assert!(compile_expanded("grok", &"a".repeat(5_000)).is_ok());
    }
}
