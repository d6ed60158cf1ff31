//! Decimal text to scaled integers, exactly.

/// What [`decimal`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scaled {
    /// The number times ten to the power of the scale, cut towards zero.
    pub value: i128,
    /// Nothing was cut off.
    pub exact: bool,
}

/// Reads `-12.34e5` at a scale: the value times `10^scale`. `None` where the text is no number or
/// does not fit 128 bits.
pub(crate) fn decimal(text: &[u8], scale: i32) -> Option<Scaled> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let split = text.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(text.len());
    let exponent = match text.get(split + 1..) {
        Some(digits) => exponent(digits)?,
        None => 0,
    };
    let (mut value, mut exact, mut point, mut digits, mut shift) = (0i128, true, false, 0, 0i32);
    for &byte in &text[..split] {
        match byte {
            b'.' if !point => point = true,
            b'0'..=b'9' => {
                digits += 1;
                match value.checked_mul(10).and_then(|v| v.checked_add(i128::from(byte - b'0'))) {
                    Some(v) if exact => {
                        value = v;
                        shift -= i32::from(point);
                    }
                    // No room for more digits of a fraction: zeros do not matter, others are cut off.
                    _ if point => exact &= byte == b'0',
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
    if digits == 0 {
        return None;
    }
    let mut scaled = rescale(value, shift.saturating_add(exponent).saturating_add(scale))?;
    scaled.exact &= exact;
    if negative {
        scaled.value = -scaled.value;
    }
    Some(scaled)
}

fn exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0i32, |v, d| v.saturating_mul(10).saturating_add(i32::from(d - b'0')));
    Some(if negative { -value } else { value })
}

fn rescale(value: i128, shift: i32) -> Option<Scaled> {
    if value == 0 {
        return Some(Scaled { value: 0, exact: true });
    }
    if shift >= 0 {
        let value = value.checked_mul(10i128.checked_pow(shift.unsigned_abs())?)?;
        return Some(Scaled { value, exact: true });
    }
    match 10i128.checked_pow(shift.unsigned_abs()) {
        Some(power) => Some(Scaled { value: value / power, exact: value % power == 0 }),
        None => Some(Scaled { value: 0, exact: false }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, scale: i32, want: Option<(i128, bool)>) {
        assert_eq!(decimal(text.as_bytes(), scale).map(|s| (s.value, s.exact)), want, "{text} at {scale}");
    }

    #[test]
    fn decimals() {
        check("12.34", 2, Some((1234, true)));
        check("-12.345", 2, Some((-1234, false)));
        check("1e3", 0, Some((1000, true)));
        check("1.50", 0, Some((1, false)));
        check("1.5e1", 0, Some((15, true)));
        check("15e-1", 1, Some((15, true)));
        check("0e999999999999", 0, Some((0, true)));
        check("1e999999999999", 0, None);
        check("1e-999999999999", 0, Some((0, false)));
        check("170141183460469231731687303715884105727", 0, Some((i128::MAX, true)));
        check("170141183460469231731687303715884105728", 0, None);
        check(&format!("1.{}", "0".repeat(60)), 0, Some((1, true)));
        check(&format!("1.{}1", "0".repeat(60)), 0, Some((1, false)));
        for bad in ["", "-", ".", "1.2.3", "1e", "1e+", "x", "1x", "1e1x"] {
            check(bad, 0, None);
        }
    }
}
