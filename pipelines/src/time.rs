//! RFC 3339 to microseconds since the Unix epoch.

/// Needs a date, a time and a zone; up to nine digits of a second's fraction, of which six count.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let stamp: toml::value::Datetime = text.parse().ok()?;
    let (date, time, offset) = (stamp.date?, stamp.time?, stamp.offset?);
    let minutes = match offset {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let clock = i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second);
    let seconds =
        days(i64::from(date.year), i64::from(date.month), i64::from(date.day)) * 86_400 + clock - minutes * 60;
    Some(seconds * 1_000_000 + i64::from(time.nanosecond / 1000))
}

/// Days since 1970-01-01 in the Gregorian calendar, by counting years from March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_rfc3339("2026-01-01T12:00:01Z"), Some(1_767_268_801_000_000));
        assert_eq!(parse_rfc3339("2026-01-01T12:00:01.25+01:00"), Some(1_767_265_201_250_000));
        assert_eq!(parse_rfc3339("2000-02-29T00:00:00Z"), Some(951_782_400_000_000));
        assert_eq!(parse_rfc3339("1969-12-31T23:59:59.999999Z"), Some(-1));
        for bad in ["", "now", "2026-01-01", "2026-01-01T12:00:01", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z"] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }
}
