//! Scalars without quotes as Kubernetes' YAML reader reads them (`sigs.k8s.io/yaml`, YAML 1.1 as `go-yaml` 2 has it),
//! which is also what ContainerSSH 0.6 read a pod with. Podgate's own files are YAML 1.2 with octal numbers: the two
//! differ in `yes`, `1_000` and the like.

/// Meaning of a scalar without quotes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PlainScalar {
    /// Null, also written as `~` or as nothing.
    Null,
    /// A truth value, also written as `yes` or `off`.
    Flag(bool),
    /// A whole number, of 64 bits with or without a sign.
    Integer(i128),
    /// A number that is not an integer of 64 bits.
    Float(f64),
    /// A text that is nothing else.
    Text,
}

impl PlainScalar {
    /// Reads a scalar by the rules of YAML 1.1.
    pub(super) fn read(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                return Self::Flag(true);
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
                return Self::Flag(false);
            }
            ".nan" | ".NaN" | ".NAN" => return Self::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Self::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => return Self::Float(f64::NEG_INFINITY),
            _ => {}
        }
        match text.as_bytes().first() {
            Some(b'.') => float(text),
            Some(b'0'..=b'9' | b'+' | b'-') => {
                let digits = text.replace('_', "");
                integer(&digits).map_or_else(|| float(&digits), Self::Integer)
            }
            _ => Self::Text,
        }
    }

    /// The whole number that it is, if it is one.
    pub(super) fn whole(self) -> Option<i128> {
        match self {
            Self::Integer(number) => Some(number),
            Self::Float(number) => whole(number),
            _ => None,
        }
    }

    /// The text that Kubernetes' reader makes of it where a text is wanted.
    pub(super) fn text(self, written: &str) -> String {
        match self {
            Self::Null => String::new(),
            Self::Flag(flag) => flag.to_string(),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => shortest(number),
            Self::Text => written.to_owned(),
        }
    }
}

/// The whole number that a float is, where it can be told exactly.
pub(super) fn whole(number: f64) -> Option<i128> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i128)
}

/// Go's `ParseInt` with base 0, for the numbers that fit into 64 bits.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let prefix = digits.get(..2).unwrap_or_default().to_ascii_lowercase();
    let (radix, digits) = match prefix.as_str() {
        "0x" => (16, &digits[2..]),
        "0o" => (8, &digits[2..]),
        "0b" => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    let number = if negative { -number } else { number };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number).then_some(number)
}

fn float(text: &str) -> PlainScalar {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_number = digits(before)
        && digits(after)
        && !(before.is_empty() && after.is_empty())
        && !exponent.is_empty()
        && digits(exponent);
    match text.parse() {
        Ok(number) if is_number && f64::is_finite(number) => PlainScalar::Float(number),
        _ => PlainScalar::Text,
    }
}

/// Go's `FormatFloat(number, 'g', -1, 32)`.
fn shortest(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "Kubernetes' reader rounds to 32 bits too")]
    let number = number as f32;
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent @ -4..=5) if exponent < 6 => number.to_string(),
        Ok(exponent) => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs()),
        Err(_) => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of a label, and the texts that `sigs.k8s.io/yaml` 1.6.0 makes of them.
    const LABELS: &[(&str, &str)] = &[
        ("8080", "8080"),
        ("-1", "-1"),
        ("+1", "1"),
        ("-0", "0"),
        ("1.0", "1"),
        ("1.10", "1.1"),
        ("1.5", "1.5"),
        ("0.1", "0.1"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1e21", "1e+21"),
        ("123456789", "123456789"),
        ("16777217.5", "1.6777218e+07"),
        ("3.14159265358979", "3.1415927"),
        ("0755", "493"),
        ("010", "8"),
        ("-010", "-8"),
        ("08", "8"),
        ("00", "0"),
        ("0o17", "15"),
        ("0x10", "16"),
        ("0b11", "3"),
        ("1_000", "1000"),
        ("1_000.5", "1000.5"),
        ("18446744073709551615", "18446744073709551615"),
        ("99999999999999999999", "1e+20"),
        ("true", "true"),
        ("True", "true"),
        ("TRUE", "true"),
        ("tRuE", "tRuE"),
        ("false", "false"),
        ("yes", "true"),
        ("Yes", "true"),
        ("YES", "true"),
        ("on", "true"),
        ("y", "true"),
        ("Y", "true"),
        ("no", "false"),
        ("off", "false"),
        ("Off", "false"),
        ("n", "false"),
        ("~", ""),
        ("null", ""),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("12:30", "12:30"),
        ("12:30:45", "12:30:45"),
        (".5", "0.5"),
        ("+.5", "0.5"),
        ("1.", "1"),
        (".inf", "+Inf"),
        ("-.inf", "-Inf"),
        (".nan", "NaN"),
        ("1e", "1e"),
        ("0x", "0x"),
        ("0xg", "0xg"),
        ("1.2.3", "1.2.3"),
        ("12e3", "12000"),
        ("=", "="),
        ("0.0", "0"),
        ("1.5e3", "1500"),
        ("100000.0", "100000"),
        ("1000000.0", "1e+06"),
        ("1e6", "1e+06"),
        ("1234567.0", "1.234567e+06"),
        ("1.23456789", "1.2345679"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("-0.0", "-0"),
        ("0_8", "8"),
        ("--1", "--1"),
        ("+-1", "+-1"),
        ("-", "-"),
        (".", "."),
        ("1-2", "1-2"),
        ("1e400", "1e400"),
        ("0X1F", "31"),
        ("-0x1F", "-31"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("-9223372036854775809", "-9.223372e+18"),
    ];

    #[test]
    fn scalars_become_the_texts_that_kubernetes_reader_makes_of_them() {
        for (written, expected) in LABELS {
            assert_eq!(PlainScalar::read(written).text(written), *expected, "{written}");
        }
    }

    #[test]
    fn whole_numbers_are_whole_however_they_are_written() {
        for (written, expected) in [
            ("100", Some(100)),
            ("1_000", Some(1000)),
            ("0644", Some(420)),
            ("0o644", Some(420)),
            ("1e2", Some(100)),
            ("1000.0", Some(1000)),
            ("1.5", None),
            ("1e300", None),
            ("true", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(PlainScalar::read(written).whole(), expected, "{written}");
        }
    }
}
