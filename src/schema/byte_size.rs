//! Sizes in bytes as Kubernetes writes quantities, with or without a `B`: `64MiB`, `64Mi`, `10M`, `512k`, or an integer.
//! `k`, `M` and `G` are powers of 1000, `Ki`, `Mi` and `Gi` of 1024. Never negative, never above `i64::MAX`.

use crate::types::{printable, quoted};
use serde_json::Value;

const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("k", 1000),
    ("K", 1000),
    ("Ki", 1 << 10),
    ("M", 1_000_000),
    ("Mi", 1 << 20),
    ("G", 1_000_000_000),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];

/// Reads a text or an integer; the error reads as the end of a sentence about the value.
pub(crate) fn read(value: &Value) -> Result<u64, String> {
    let most = |bytes: &u64| i64::try_from(*bytes).is_ok();
    match value {
        Value::String(text) => parse(text).filter(most).ok_or_else(|| wrong(&quoted(&printable(text, 64)))),
        Value::Number(number) => number.as_u64().filter(most).ok_or_else(|| wrong(&number.to_string())),
        _ => Err("is not a size in bytes, for example \"64MiB\"".to_owned()),
    }
}

fn wrong(shown: &str) -> String {
    format!("{shown} is not a size in bytes, for example \"64MiB\", \"10M\" or 65536")
}

fn parse(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_suffix('B').unwrap_or(unit);
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

/// Writes a size with the largest unit of 1024 that divides it.
pub(crate) fn text(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let fitting = units.into_iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    fitting.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_are_read_as_kubernetes_reads_quantities() {
        for (value, bytes) in [
            (json!(0), 0),
            (json!(65_536), 65_536),
            (json!("0"), 0),
            (json!("7"), 7),
            (json!("7B"), 7),
            (json!("512k"), 512_000),
            (json!("512KB"), 512_000),
            (json!("512Ki"), 524_288),
            (json!("10M"), 10_000_000),
            (json!("10MB"), 10_000_000),
            (json!("10Mi"), 10_485_760),
            (json!("10MiB"), 10_485_760),
            (json!("2G"), 2_000_000_000),
            (json!("2GiB"), 2_147_483_648),
            (json!("1Ti"), 1_099_511_627_776),
            (json!(i64::MAX), i64::MAX as u64),
        ] {
            assert_eq!(read(&value), Ok(bytes), "{value}");
        }
    }

    #[test]
    fn anything_else_is_no_size() {
        for value in [
            json!(-1),
            json!(1.5),
            json!(true),
            json!(u64::MAX),
            json!(""),
            json!("MiB"),
            json!("-1"),
            json!("1.5Mi"),
            json!("1 MiB"),
            json!("1m"),
            json!("1MiBB"),
            json!("1mib"),
            json!("9223372036854775808"),
            json!("99999999999999999999Gi"),
            json!("9999999999Ti"),
        ] {
            assert!(read(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn size_is_written_so_that_it_reads_the_same() {
        for (bytes, written) in [(0, "0"), (1023, "1023"), (65_536, "64KiB"), (67_108_864, "64MiB"), (3 << 30, "3GiB")]
        {
            assert_eq!(text(bytes), written);
            assert_eq!(read(&json!(written)), Ok(bytes));
        }
    }
}
