//! The table of figures, beside the rival's and the bar.

use std::fmt;

/// The limit for a figure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    /// Nothing was promised.
    None,
    /// At most this.
    AtMost(f64),
    /// At least this part of the rival's.
    AtLeastOfRival(f64),
    /// At most this part of the rival's.
    AtMostOfRival(f64),
    /// At most so much more than the rival's.
    AtMostOverRival(f64),
}

struct Row {
    what: String,
    unit: &'static str,
    figure: f64,
    /// The rival's name and figure.
    rival: Option<(&'static str, f64)>,
    bar: Bar,
}

/// The figures in the order they came.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds the gateway's figure and, where there is one, the rival's.
    pub(crate) fn row(
        &mut self,
        what: &str,
        unit: &'static str,
        figures: (f64, Option<(&'static str, f64)>),
        bar: Bar,
    ) {
        let (figure, rival) = figures;
        self.0.push(Row { what: what.to_owned(), unit, figure, rival, bar });
    }

    /// Returns whether every bar is met.
    pub(crate) fn holds(&self) -> bool {
        self.0.iter().all(|row| row.holds() != Some(false))
    }
}

impl Row {
    fn holds(&self) -> Option<bool> {
        match (self.bar, self.rival) {
            (Bar::AtMost(most), _) => Some(self.figure <= most),
            (Bar::AtLeastOfRival(part), Some((_, rival))) => Some(self.figure >= rival * part),
            (Bar::AtMostOfRival(part), Some((_, rival))) => Some(self.figure <= rival * part),
            (Bar::AtMostOverRival(more), Some((_, rival))) => Some(self.figure <= rival + more),
            _ => None,
        }
    }

    fn bar(&self) -> String {
        match self.bar {
            Bar::None => String::new(),
            Bar::AtMost(most) => format!("<= {most}"),
            Bar::AtLeastOfRival(part) => format!(">= {part:.2} x"),
            Bar::AtMostOfRival(part) => format!("<= {part:.2} x"),
            Bar::AtMostOverRival(more) => format!("<= + {more}"),
        }
    }

    fn verdict(&self) -> &'static str {
        match self.holds() {
            Some(true) => "yes",
            Some(false) => "MISSED",
            None => "",
        }
    }
}

/// As Markdown, so that it can be kept as it is.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = [46, 11, 9, 20, 9, 7, 9, 7];
        let line = |f: &mut fmt::Formatter<'_>, cells: [&str; 8]| {
            for (cell, width) in cells.iter().zip(widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")
        };
        line(f, ["", "unit", "podgate", "beside", "its", "ratio", "bar", "held"])?;
        line(f, widths.map(|width| &RULE[..width]))?;
        for row in &self.0 {
            let number = |figure: f64| format!("{figure:.*}", if figure < 100.0 { 2 } else { 0 });
            let (name, rival, ratio) = match row.rival {
                Some((name, rival)) => (name, number(rival), format!("{:.2}", row.figure / rival)),
                None => ("", String::new(), String::new()),
            };
            line(f, [&row.what, row.unit, &number(row.figure), name, &rival, &ratio, &row.bar(), row.verdict()])?;
        }
        Ok(())
    }
}

const RULE: &str = "--------------------------------------------------";
