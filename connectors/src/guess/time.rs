//! Which column says when something happened.

use super::lines::Lines;
use crate::format::{Format, csv_fields};
use millstream_pipelines::types::{FieldType, TimeUnit, Type};
use serde_json::Value;
use std::ops::RangeInclusive;

/// Names that a time has, the likeliest first.
const NAMES: [&str; 13] = [
    "event_time",
    "ts",
    "time",
    "timestamp",
    "at",
    "datetime",
    "date_time",
    "occurred_at",
    "created_at",
    "created",
    "when",
    "date",
    "updated_at",
];
/// Seconds of 2000 and of 2100: numbers outside are no times, whatever they are called.
const SECONDS: RangeInclusive<i64> = 946_684_800..=4_102_444_800;

/// The event time: the timestamp with the likeliest name, or else the first timestamp.
pub(super) fn column(columns: &[(String, FieldType)]) -> Option<String> {
    let times: Vec<&String> =
        columns.iter().filter(|(_, t)| matches!(t.ty, Type::Timestamp(_))).map(|(name, _)| name).collect();
    let named = NAMES.iter().find_map(|n| times.iter().find(|t| t.eq_ignore_ascii_case(n)));
    named.or(times.first()).map(|name| name.to_string())
}

/// Makes timestamps of integer columns that are called like a time and hold numbers that can be one.
pub(super) fn number_columns(columns: &mut [(String, FieldType)], format: &Format, lines: &Lines<'_>) {
    for (at, (name, ty)) in columns.iter_mut().enumerate() {
        if !matches!(ty.ty, Type::Int64) || !is_called_time(name) {
            continue;
        }
        let values: Option<Vec<i64>> = values(name, at, format, lines).collect();
        ty.ty = match values.as_deref().map(unit) {
            Some(Some(unit)) => Type::Timestamp(Some(unit)),
            _ => continue,
        };
    }
}

fn is_called_time(name: &str) -> bool {
    let name = name.to_lowercase();
    NAMES.contains(&name.as_str()) || ["_at", "_time", "_ts", "_ms", "time"].iter().any(|end| name.ends_with(end))
}

/// The numbers of a column; `None` where one is no integer.
fn values<'a>(
    name: &'a str,
    at: usize,
    format: &'a Format,
    lines: &'a Lines<'_>,
) -> impl Iterator<Item = Option<i64>> + 'a {
    let csv = match format {
        Format::Csv(csv) => Some(csv),
        _ => None,
    };
    let header = usize::from(csv.is_some_and(|c| c.header));
    lines.iter().skip(header).filter_map(move |line| match csv {
        Some(csv) => csv_fields(line, csv.delimiter)?.get(at).filter(|t| !t.is_empty()).map(|t| t.parse().ok()),
        None => match serde_json::from_slice::<Value>(line).ok()?.get(name)? {
            Value::Null => None,
            number => Some(number.as_i64()),
        },
    })
}

/// What all these numbers count since 1970, if it can be times.
fn unit(values: &[i64]) -> Option<TimeUnit> {
    let units = [
        (1, TimeUnit::Seconds),
        (1_000, TimeUnit::Millis),
        (1_000_000, TimeUnit::Micros),
        (1_000_000_000, TimeUnit::Nanos),
    ];
    let fits = |per: i64| !values.is_empty() && values.iter().all(|v| SECONDS.contains(&(v / per)));
    units.into_iter().find(|(per, _)| fits(*per)).map(|(_, unit)| unit)
}
