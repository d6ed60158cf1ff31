//! Text to dates, times of day and time points.

/// Reads RFC 3339, such as `2026-01-31T23:59:59.5Z` or `2026-01-31 23:59:59+01:00`, as seconds since
/// the Unix epoch (UTC) and nanoseconds. The zone offset is required; a leap second counts as the
/// second after it; digits beyond nanoseconds are cut off.
pub(crate) fn timestamp(text: &[u8]) -> Option<(i64, u32)> {
    let days = date(text.get(..10)?)?;
    if !matches!(text[10..].first()?, b'T' | b't' | b' ') {
        return None;
    }
    let (seconds, nanos, rest) = clock(&text[11..])?;
    let offset = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (pair(*h0, *h1)?, pair(*m0, *m1)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3_600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    Some((i64::from(days) * 86_400 + seconds - offset, nanos))
}

/// True if the text is a timestamp.
pub(crate) fn is_instant(text: &str) -> bool {
    timestamp(text.as_bytes()).is_some()
}

/// Reads a date, `2026-01-31`, as days since the Unix epoch.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = text else { return None };
    let year = pair(*y0, *y1)? * 100 + pair(*y2, *y3)?;
    let (month, day) = (pair(*m0, *m1)?, pair(*d0, *d1)?);
    if !(1..=12).contains(&month) || day < 1 || day > month_length(year, month) {
        return None;
    }
    // Years that begin in March, in eras of 400 years.
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).ok()
}

/// Reads a time of day, `23:59:59.5`, as seconds and nanoseconds since midnight.
pub(crate) fn time(text: &[u8]) -> Option<(i64, u32)> {
    match clock(text)? {
        (seconds, nanos, []) if seconds < 86_400 => Some((seconds, nanos)),
        _ => None,
    }
}

/// `hh:mm:ss` with an optional fraction, and what follows it.
fn clock(text: &[u8]) -> Option<(i64, u32, &[u8])> {
    let [h0, h1, b':', m0, m1, b':', s0, s1, rest @ ..] = text else { return None };
    let (hours, minutes, seconds) = (pair(*h0, *h1)?, pair(*m0, *m1)?, pair(*s0, *s1)?);
    if hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60 + seconds;
    let Some(fraction) = rest.strip_prefix(b".") else { return Some((seconds, 0, rest)) };
    let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let nanos = (0..9).fold(0, |n, i| n * 10 + if i < digits { u32::from(fraction[i] - b'0') } else { 0 });
    Some((seconds, nanos, &fraction[digits..]))
}

fn pair(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_chrono() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2000-02-29T23:59:59.999999999Z",
            "2023-11-14 22:13:20.12+05:30",
            "0000-01-01t00:00:00z",
            "9999-12-31T23:59:59.5-23:59",
            "1969-12-31T23:59:59.999999-00:00",
        ] {
            let want = chrono::DateTime::parse_from_rfc3339(text).unwrap();
            let got = timestamp(text.as_bytes());
            assert_eq!(got, Some((want.timestamp(), want.timestamp_subsec_nanos())), "{text}");
        }
        assert_eq!(timestamp(b"2016-12-31T23:59:60Z"), Some((1_483_228_800, 0)));
    }

    #[test]
    fn refuses_what_is_not_rfc_3339() {
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T00:00:00",
            "2026-1-31T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00Zx",
            "2026-01-01x00:00:00Z",
            "+026-01-01T00:00:00Z",
            "1900-02-29T00:00:00Z",
        ] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
        assert_eq!(time(b"23:59:59.25"), Some((86_399, 250_000_000)));
        assert_eq!(time(b"23:59:60"), None);
        assert_eq!(time(b"12:00:00Z"), None);
        assert_eq!(date(b"2024-02-29"), Some(19_782));
    }
}
