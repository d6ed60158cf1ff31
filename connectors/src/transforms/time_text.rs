//! Points in time written as text.

use super::at_key;
use chrono::format::{Item, Parsed, StrftimeItems, parse};
use chrono::{DateTime, NaiveDate, Utc};
use millstream::Result;

/// How text says a point in time: RFC 3339, or a pattern in the way of `strftime`.
///
/// Text without an offset is UTC; a date without a time of day is its midnight. A pattern that cannot
/// name a full date is refused when it is read, not record by record.
#[derive(Clone, Debug, Default)]
pub struct TimeFormat {
    items: Option<Vec<Item<'static>>>,
}

impl TimeFormat {
    /// Reads the pattern that stands under the config key `time_format`; without one, RFC 3339.
    ///
    /// # Errors
    /// `TIME-FORMAT` for an unknown specifier or a pattern that leaves the date open.
    pub fn read(pattern: Option<&str>) -> Result<TimeFormat> {
        let Some(pattern) = pattern else { return Ok(TimeFormat::default()) };
        let bad = |what: &str| at_key("TIME-FORMAT", "time_format", what.to_owned()).found(format!("`{pattern}`"));
        let items = StrftimeItems::new(pattern).parse_to_owned().map_err(|_| {
            bad("unknown specifier in the time format")
                .expected("strftime specifiers, such as `%Y-%m-%d %H:%M:%S%.3f %z`")
        })?;
        let format = TimeFormat { items: Some(items) };
        let sample = DateTime::from_timestamp(1_431_857_103, 0).expect("a date of our own");
        let written = sample.format_with_items(format.items.iter().flatten()).to_string();
        if format.micros(&written).is_none() {
            return Err(
                bad("the time format does not name a full date").help("a year, a month and a day are needed, or `%s`")
            );
        }
        Ok(format)
    }

    /// Microseconds since the Unix epoch.
    pub fn micros(&self, text: &str) -> Option<i64> {
        match &self.items {
            None => Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros()),
            Some(items) => {
                let mut parsed = Parsed::new();
                parse(&mut parsed, text, items.iter()).ok()?;
                resolve(&parsed).map(|t| t.timestamp_micros())
            }
        }
    }

    /// Days since the Unix epoch, from `2026-01-31`. The pattern is for timestamps and not used here.
    pub fn date(&self, text: &str) -> Option<i64> {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(day.signed_duration_since(NaiveDate::default()).num_days())
    }
}

fn resolve(parsed: &Parsed) -> Option<DateTime<Utc>> {
    if parsed.offset().is_some() {
        return parsed.to_datetime().ok().map(|t| t.to_utc());
    }
    if let Ok(naive) = parsed.to_naive_datetime_with_offset(0) {
        return Some(naive.and_utc());
    }
    // A pattern with an hour but a text that leaves it contradictory must not fall back to midnight.
    if parsed.hour_div_12().is_some() || parsed.hour_mod_12().is_some() || parsed.minute().is_some() {
        return None;
    }
    Some(parsed.to_naive_date().ok()?.and_hms_opt(0, 0, 0)?.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_usual_patterns() {
        let micros = |pattern, text| TimeFormat::read(Some(pattern)).unwrap().micros(text);
        let second = 1_431_857_103_000_000;
        assert_eq!(micros("%d/%b/%Y:%H:%M:%S %z", "17/May/2015:10:05:03 +0000"), Some(second));
        assert_eq!(micros("%Y-%m-%d %H:%M:%S,%3f", "2015-05-17 10:05:03,747"), Some(second + 747_000));
        assert_eq!(micros("%Y-%m-%d %H:%M:%S %z", "2015-05-17 12:05:03 +0200"), Some(second));
        assert_eq!(micros("%s", "1431857103"), Some(second));
        assert_eq!(micros("%Y%m%d", "19700102"), Some(86_400_000_000));
        assert_eq!(micros("%Y-%m-%d %H:%M:%S", "2015-02-29 10:05:03"), None);
        assert_eq!(micros("%Y-%m-%d %H:%M:%S", "2015-05-17 10:05:03 and more"), None);
    }

    #[test]
    fn refuses_patterns_that_cannot_work() {
        for pattern in ["%Q", "%H:%M:%S", "%b %d %H:%M:%S", "plain", ""] {
            assert_eq!(TimeFormat::read(Some(pattern)).unwrap_err().code, "TIME-FORMAT", "{pattern}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "yesterday",
            "2015-05-17",
            "2015-05-17T10:05:03",
            "2015-13-17T10:05:03Z",
            "\0",
            "9999999999-01-01T00:00:00Z",
        ] {
            assert_eq!(TimeFormat::default().micros(text), None, "{text}");
        }
    }
}
