//! The count of events that clients cause before their login, for the log: in each window the first of some addresses have
//! lines of their own, and the others one line together when the window is over. So an attack, from however many addresses,
//! does not fill the log, and its line names those that did the most. Pure; bounded in time and memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The time that one line counts.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Limit of the addresses that are counted each.
const ADDRESSES: usize = 1024;
/// The addresses that a line names.
const NAMED: usize = 5;

/// The events of one kind.
#[derive(Debug)]
pub(super) struct SourceTally {
    /// Limit of the lines of their own in a window.
    lines: usize,
    /// The beginning of the window; none until the first event after the last one.
    begun: Option<Instant>,
    /// Addresses, and their events without a line.
    addresses: HashMap<IpAddr, u64>,
    /// Events of addresses that are one too many to be counted each.
    others: u64,
}

/// The events of a window that had no lines of their own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TallySummary {
    pub(super) count: u64,
    /// The addresses with the most events, with their numbers.
    pub(super) addresses: String,
}

impl SourceTally {
    pub(super) fn new(lines: usize) -> Self {
        Self { lines, begun: None, addresses: HashMap::new(), others: 0 }
    }

    /// Counts an event. True if it is to have a line of its own, and is not in the summary.
    pub(super) fn note(&mut self, client: IpAddr, now: Instant) -> bool {
        let client = client.to_canonical();
        self.begun.get_or_insert(now);
        let known = self.addresses.len();
        if let Some(count) = self.addresses.get_mut(&client) {
            *count += 1;
            return false;
        }
        if known < ADDRESSES {
            let own = known < self.lines;
            self.addresses.insert(client, u64::from(!own));
            return own;
        }
        self.others += 1;
        false
    }

    /// Ends the window if it is over, or at once if `now` is none. Returns what has had no line.
    pub(super) fn close(&mut self, now: Option<Instant>) -> Option<TallySummary> {
        let is_over = |begun: Instant| now.is_none_or(|now| now - begun >= WINDOW);
        self.begun.take_if(|begun| is_over(*begun))?;
        let (addresses, others) = (std::mem::take(&mut self.addresses), std::mem::take(&mut self.others));
        let mut addresses: Vec<(u64, IpAddr)> =
            addresses.into_iter().map(|(client, count)| (count, client)).filter(|(count, _)| *count > 0).collect();
        addresses.sort_unstable_by(|one, other| other.cmp(one));
        let count = addresses.iter().map(|(count, _)| count).sum::<u64>() + others;
        let named: Vec<String> =
            addresses.iter().take(NAMED).map(|(count, client)| format!("{client} ({count})")).collect();
        let more = match (addresses.len().saturating_sub(NAMED), others) {
            (0, 0) => String::new(),
            (more, 0) => format!(" and {more} more"),
            (more, _) => format!(" and more than {more} more"),
        };
        (count > 0).then(|| TallySummary { count, addresses: named.join(", ") + &more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0xc000_0200 + number).into()
    }

    #[test]
    fn first_addresses_have_lines_and_all_the_others_one_together() {
        let (mut tally, start) = (SourceTally::new(2), Instant::now());
        let after = |seconds| Some(start + Duration::from_secs(seconds));
        assert_eq!(tally.close(after(0)), None, "nothing has happened");
        let lines: Vec<bool> = [1, 1, 2, 3, 3, 1].iter().map(|number| tally.note(client(*number), start)).collect();
        assert_eq!(lines, [true, false, true, false, false, false]);
        assert_eq!(tally.close(after(59)), None, "the window is not over");
        let summary = tally.close(after(60)).expect("a summary");
        assert_eq!((summary.count, summary.addresses.as_str()), (4, "192.0.2.3 (2), 192.0.2.1 (2)"));
        assert_eq!(tally.close(after(600)), None, "it was told");
        assert!(tally.note(client(1), start + Duration::from_secs(600)), "a new window");
        assert_eq!(tally.close(after(660)), None, "that one had its line");
        assert!(tally.note("::ffff:192.0.2.1".parse().unwrap(), start) && !tally.note(client(1), start));
        assert_eq!(tally.close(None).map(|summary| summary.count), Some(1), "the end of the process ends the window");
    }

    #[test]
    fn events_of_any_number_of_addresses_are_counted_in_bounded_memory_and_one_line() {
        let (mut tally, start) = (SourceTally::new(1), Instant::now());
        let lines = (0..100_000).filter(|number| tally.note(client(*number), start)).count();
        assert_eq!((lines, tally.addresses.len()), (1, ADDRESSES));
        let summary = tally.close(Some(start + WINDOW)).expect("a summary");
        assert_eq!(summary.count, 99_999);
        assert!(summary.addresses.ends_with(" and more than 1018 more"), "{summary:?}");
        assert!(summary.addresses.len() < 200, "{summary:?}");
    }
}
