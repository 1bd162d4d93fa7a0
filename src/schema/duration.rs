//! Durations as Go writes them: `1h`, `1m0s`, `1.5h`, `500ms`, or an integer of nanoseconds. Never negative, never more
//! than Go's own largest (292 years).

use crate::types::quoted;
use serde_json::Value;
use std::time::Duration;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a text or an integer; the error reads as the end of a sentence about the value.
pub(crate) fn read(value: &Value) -> Result<Duration, String> {
    match value {
        Value::String(text) => parse(text),
        Value::Number(number) => match number.as_u64().filter(|n| i64::try_from(*n).is_ok()) {
            Some(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
            None if number.as_i64().is_some() => Err("is negative".into()),
            None => Err("is not an integer of nanoseconds".into()),
        },
        _ => Err("is not a duration, for example \"60s\"".into()),
    }
}

/// Go's `time.ParseDuration`, without negative values.
fn parse(text: &str) -> Result<Duration, String> {
    if text.starts_with('-') {
        return Err(format!("{} is negative", quoted(text)));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let wrong = || format!("{} is not a duration, for example \"60s\", \"1m30s\" or \"500ms\"", quoted(text));
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (term, after) = term(rest).ok_or_else(wrong)?;
        total = total.saturating_add(term);
        rest = after;
    }
    if i64::try_from(total).is_err() {
        return Err(format!("{} is too long", quoted(text)));
    }
    Ok(Duration::from_nanos(total))
}

/// One number with its unit, in nanoseconds (what does not fit is the most that does), and what follows it.
fn term(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(end);
    let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, after) = rest.split_at(unit_end);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().unwrap_or(u64::MAX) };
    let nanoseconds = whole.saturating_mul(*factor).saturating_add(fraction_of(fraction, *factor)?);
    Some((nanoseconds, after))
}

/// `0.fraction` of a unit, cut to whole nanoseconds.
fn fraction_of(digits: &str, factor: u64) -> Option<u64> {
    let digits = digits.get(..digits.len().min(18))?;
    if digits.is_empty() {
        return Some(0);
    }
    let part = u128::from(digits.parse::<u64>().ok()?) * u128::from(factor);
    u64::try_from(part / 10u128.pow(u32::try_from(digits.len()).ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_duration_is_refused_with_a_reason() {
        for (value, reason) in [
            (json!("-1s"), "negative"),
            (json!(-1), "negative"),
            (json!("60"), "not a duration"),
            (json!(""), "not a duration"),
            (json!("+"), "not a duration"),
            (json!("s"), "not a duration"),
            (json!(".s"), "not a duration"),
            (json!("1.2.3s"), "not a duration"),
            (json!("1d"), "not a duration"),
            (json!("1s "), "not a duration"),
            (json!("1 s"), "not a duration"),
            (json!("9999999h"), "too long"),
            (json!("99999999999999999999s"), "too long"),
            (json!("5000000h5000000h"), "too long"),
            (json!(1.5), "not an integer"),
            (json!(u64::MAX), "not an integer"),
            (json!(true), "not a duration"),
            (json!(["1s"]), "not a duration"),
        ] {
            let error = read(&value).expect_err(&value.to_string());
            assert!(error.contains(reason), "{value}: {error}");
        }
    }

    #[test]
    fn go_syntax_and_nanoseconds_are_read() {
        for (value, nanoseconds) in [
            (json!("0"), 0),
            (json!("0s"), 0),
            (json!("60s"), 60_000_000_000),
            (json!("1m0s"), 60_000_000_000),
            (json!("1h"), 3_600_000_000_000),
            (json!("1.5h"), 5_400_000_000_000),
            (json!(".5s"), 500_000_000),
            (json!("1.s"), 1_000_000_000),
            (json!("+1s"), 1_000_000_000),
            (json!("500ms"), 500_000_000),
            (json!("2us"), 2_000),
            (json!("2µs"), 2_000),
            (json!("2μs"), 2_000),
            (json!("7ns"), 7),
            (json!("1h2m3.000000004s"), 3_723_000_000_004),
            (json!("1.0000000000000000000000009s"), 1_000_000_000),
            (json!(0), 0),
            (json!(15_000_000_000_u64), 15_000_000_000),
        ] {
            assert_eq!(read(&value), Ok(Duration::from_nanos(nanoseconds)), "{value}");
        }
    }
}
