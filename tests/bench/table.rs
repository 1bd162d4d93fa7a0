//! The table of figures, beside the rival's and the bar.

use std::fmt;

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    /// Nothing was promised.
    None,
    /// At most this.
    AtMost(f64),
    /// At least this part of the rival's.
    AtLeastOfRival(f64),
}

struct Row {
    what: String,
    unit: &'static str,
    figure: f64,
    rival: Option<f64>,
    bar: Bar,
}

/// The figures in the order they came.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds the gateway's figure and, where there is one, the rival's.
    pub(crate) fn row(&mut self, what: &str, unit: &'static str, figures: (f64, Option<f64>), bar: Bar) {
        let (figure, rival) = figures;
        self.0.push(Row { what: what.to_owned(), unit, figure, rival, bar });
    }

    /// Whether no bar is missed.
    pub(crate) fn holds(&self) -> bool {
        self.0.iter().all(|row| row.holds() != Some(false))
    }
}

impl Row {
    fn holds(&self) -> Option<bool> {
        match (self.bar, self.rival) {
            (Bar::AtMost(most), _) => Some(self.figure <= most),
            (Bar::AtLeastOfRival(part), Some(rival)) => Some(self.figure >= rival * part),
            (Bar::None, _) | (Bar::AtLeastOfRival(_), None) => None,
        }
    }

    fn bar(&self) -> String {
        match self.bar {
            Bar::None => String::new(),
            Bar::AtMost(most) => format!("<= {most}"),
            Bar::AtLeastOfRival(part) => format!(">= {part:.2} x"),
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
        let widths = [46, 11, 9, 9, 7, 9, 7];
        let line = |f: &mut fmt::Formatter<'_>, cells: [&str; 7]| {
            for (cell, width) in cells.iter().zip(widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")
        };
        line(f, ["", "unit", "podgate", "sshd", "ratio", "bar", "held"])?;
        line(f, widths.map(|width| &RULE[..width]))?;
        for row in &self.0 {
            let figure = format!("{:.*}", if row.figure < 100.0 { 2 } else { 0 }, row.figure);
            let rival = row.rival.map(|rival| format!("{rival:.*}", if rival < 100.0 { 2 } else { 0 }));
            let ratio = row.rival.map(|rival| format!("{:.2}", row.figure / rival));
            let (rival, ratio) = (rival.unwrap_or_default(), ratio.unwrap_or_default());
            line(f, [&row.what, row.unit, &figure, &rival, &ratio, &row.bar(), row.verdict()])?;
        }
        Ok(())
    }
}

const RULE: &str = "--------------------------------------------------";
