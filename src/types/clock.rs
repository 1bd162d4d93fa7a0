//! The clock of another machine, by the header `Date` of its HTTP answers.

use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// Seconds by which the clock behind a header `Date` is ahead of `now`, negative where it is behind; `None` for what is no
/// date (RFC 9110 section 6.6.1).
pub(crate) fn clock_offset(date: &str, now: Timestamp) -> Option<i64> {
    let theirs = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(theirs.as_second() - now.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_clock_is_ahead_or_behind() {
        let now = Timestamp::from_second(784_111_777).unwrap();
        for (date, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 07:49:37 GMT", Some(-3600)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(clock_offset(date, now), expected, "{date}");
        }
    }
}
