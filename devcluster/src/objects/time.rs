//! Timestamps as Kubernetes writes them: RFC 3339 in UTC, most of them in whole seconds.

use jiff::Timestamp;
use std::time::Duration;

/// The present time in UTC, to the second (RFC 3339).
pub(crate) fn now() -> String {
    format(Timestamp::now())
}

/// The present microsecond, for the fields that have them.
pub(crate) fn now_precisely() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A time this long from now.
pub(crate) fn after(delay: Duration) -> String {
    format(Timestamp::now().checked_add(delay).unwrap_or(Timestamp::MAX))
}

fn format(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Age of a timestamp as `kubectl get` shows it (`5s`, `3m12s`, `4h`); `<unknown>` where there is none.
pub(crate) fn age(timestamp: Option<&str>) -> String {
    let Some(then) = timestamp.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "<unknown>".to_owned();
    };
    let seconds = Timestamp::now().as_second().saturating_sub(then.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format!("{}m{}s", seconds / 60, seconds % 60),
        600..10_800 => format!("{}m", seconds / 60),
        10_800..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let ago =
            |seconds: i64| format(Timestamp::now().checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap());
        assert_eq!(age(None), "<unknown>");
        assert_eq!(age(Some(&ago(30))), "30s");
        assert_eq!(age(Some(&ago(7200))), "120m");
        assert_eq!(age(Some(&ago(3 * 86_400))), "3d");
    }
}
