//! Lines for the terminals of a connection. Whoever shows them learns of every line, and of two that come at once of both.

use std::collections::VecDeque;

/// Lines that are kept. Who shows them falls behind only if the client takes no data.
const KEPT: usize = 16;

/// The last lines, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notices {
    /// The number of lines that there have been.
    count: usize,
    lines: VecDeque<String>,
}

impl Notices {
    pub(crate) fn add(&mut self, line: String) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        self.count += 1;
    }

    /// The number of lines up to now.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The lines after the first `seen`, as far as they are kept.
    pub(crate) fn after(&self, seen: usize) -> impl Iterator<Item = &str> {
        let unseen = self.count.saturating_sub(seen);
        self.lines.iter().skip(self.lines.len().saturating_sub(unseen)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_that_was_not_seen_is_told_as_far_as_it_is_kept() {
        let mut notices = Notices::default();
        assert_eq!((notices.count(), notices.after(0).count()), (0, 0));
        for number in 1..=20 {
            notices.add(number.to_string());
        }
        assert_eq!(notices.after(18).collect::<Vec<_>>(), ["19", "20"]);
        assert_eq!((notices.count(), notices.after(20).count(), notices.after(99).count()), (20, 0, 0));
        assert_eq!((notices.after(0).count(), notices.after(0).next()), (KEPT, Some("5")));
    }
}
