//! The settings of users, judged by the gateway's own parser.

use podgate::check_answer;
use podgate_webhooks::directory::{Findings, Problem};
use serde_json::{Map, Value};

/// Judges what one user gets.
pub(crate) fn check(settings: &Map<String, Value>) -> Findings {
    let judged = check_answer(settings);
    let mistakes = judged.mistakes.into_iter().map(|error| Problem { path: error.path, text: error.text });
    let warnings = judged.notices.into_iter().map(|notice| Problem { path: notice.path, text: notice.text });
    Findings { mistakes: mistakes.collect(), warnings: warnings.collect() }
}
