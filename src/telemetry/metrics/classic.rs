//! Converts the OpenMetrics page to Prometheus' classic text form, version 0.0.4: the same samples with the same names and
//! labels, so that a series is the same for every scraper.
//!
//! The forms differ in the comments around the samples. A classic parser expects a sample's own name in its family's HELP
//! and TYPE, knows only counters, gauges, histograms and summaries, and drops the whole page at anything else.

/// Rewrites a page of prometheus-client's: in each family HELP precedes TYPE, and TYPE the samples.
pub(super) fn of(page: &str) -> String {
    let mut classic = String::with_capacity(page.len());
    let mut help = None;
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            help = text.split_once(' ');
        } else if let Some(text) = line.strip_prefix("# TYPE ") {
            let (family, kind) = text.split_once(' ').unwrap_or((text, ""));
            let (suffix, kind) = classic_type(kind);
            if let Some((_, text)) = help.take().filter(|(named, _)| *named == family) {
                // The only escape that the classic form does not have.
                classic.push_str(&format!("# HELP {family}{suffix} {}\n", text.replace("\\\"", "\"")));
            }
            classic.push_str(&format!("# TYPE {family}{suffix} {kind}\n"));
        } else if !line.starts_with('#') && !line.is_empty() {
            classic.push_str(without_exemplar(line));
            classic.push('\n');
        }
    }
    classic
}

/// The suffix of a type's samples, and the nearest classic type.
fn classic_type(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "gauge" | "stateset" => ("", "gauge"),
        "histogram" => ("", "histogram"),
        "summary" => ("", "summary"),
        _ => ("", "untyped"),
    }
}

/// Cuts a sample before the exemplar's ` # `, which is text inside a label's value.
fn without_exemplar(sample: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, letter) in sample.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '#' if !quoted => return sample.get(..at).unwrap_or(sample).trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_types_become_the_nearest_classic_type() {
        for (open, classic) in [
            (
                "# HELP a Text.\n# TYPE a counter\na_total 1\n",
                "# HELP a_total Text.\n# TYPE a_total counter\na_total 1\n",
            ),
            (
                "# HELP a T.\n# TYPE a info\na_info{v=\"1\"} 1\n",
                "# HELP a_info T.\n# TYPE a_info gauge\na_info{v=\"1\"} 1\n",
            ),
            ("# HELP a T.\n# TYPE a gauge\na -1\n", "# HELP a T.\n# TYPE a gauge\na -1\n"),
            ("# TYPE a unknown\na 1\n", "# TYPE a untyped\na 1\n"),
            ("# TYPE a gaugehistogram\n", "# TYPE a untyped\n"),
            ("# TYPE a stateset\na{a=\"on\"} 1\n", "# TYPE a gauge\na{a=\"on\"} 1\n"),
            (
                "# HELP s_seconds T.\n# TYPE s_seconds histogram\n# UNIT s_seconds seconds\ns_seconds_sum 0.0\n",
                "# HELP s_seconds T.\n# TYPE s_seconds histogram\ns_seconds_sum 0.0\n",
            ),
            ("# HELP a \\\"x\\\" \\\\ \\n.\n# TYPE a gauge\n", "# HELP a \"x\" \\\\ \\n.\n# TYPE a gauge\n"),
            ("# HELP b T.\n# TYPE a gauge\n", "# TYPE a gauge\n"),
            ("# EOF\n", ""),
            ("", ""),
        ] {
            assert_eq!(of(open), classic, "{open}");
        }
    }

    #[test]
    fn exemplars_are_left_out_and_label_values_are_not() {
        for (open, classic) in [
            ("a_total 1 # {trace=\"x\"} 1.0 2.5", "a_total 1"),
            ("a_bucket{le=\"1.0\"} 8 # {} 0.5", "a_bucket{le=\"1.0\"} 8"),
            (r#"a{b="x # y"} 1"#, r#"a{b="x # y"} 1"#),
            (r#"a{b="\" # {"} 1 # {} 1"#, r#"a{b="\" # {"} 1"#),
            (r#"a{b="\\"} 1 # {} 1"#, r#"a{b="\\"} 1"#),
            ("a 1", "a 1"),
        ] {
            assert_eq!(without_exemplar(open), classic);
        }
    }
}
