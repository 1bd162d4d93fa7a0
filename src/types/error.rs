//! Chains of errors: an error together with its causes.

use super::printable;
use std::error::Error;
use std::io;

/// Limit of the text of [`causes`], in characters.
const TEXT_LIMIT: usize = 400;

/// Iterates over an error and its causes, outermost first, including the error inside an `io::Error`, which `source()`
/// does not return.
pub(crate) fn error_chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    })
}

/// Returns the texts of an error and its causes on one line, each text once, without hyper's layers (which only
/// name variants).
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in error_chain(error) {
        let next = cause.to_string();
        let is_layer = next.starts_with("client error (") || next == "tcp connect error";
        if !is_layer && !text.contains(&next) {
            text = if text.is_empty() { next } else { format!("{text}: {next}") };
        }
    }
    if text.is_empty() { "unknown cause".to_owned() } else { printable(&text, TEXT_LIMIT) }
}

/// Returns the text of the innermost cause, which may be the error itself.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    error_chain(error).last().unwrap_or(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Box<dyn Error + Send + Sync>);

    fn nested(texts: &[&'static str]) -> Box<dyn Error + Send + Sync> {
        let innermost: Box<dyn Error + Send + Sync> = Box::new(io::Error::other(Layer("reset", "os error 104".into())));
        texts.iter().rev().fold(innermost, |inner, text| Box::new(Layer(text, inner)))
    }

    #[test]
    fn chain_is_one_line_without_layers_and_repetitions() {
        let error = nested(&["request: failed", "client error (Connect)", "tcp connect error", "failed"]);
        assert_eq!(causes(error.as_ref()), "request: failed: reset: os error 104");
        assert_eq!(root_cause(error.as_ref()), "os error 104");
        assert_eq!(causes(&Layer("client error (Connect)", "tcp connect error".into())), "unknown cause");
    }

    #[test]
    fn error_inside_an_io_error_is_found() {
        let error = nested(&["outer"]);
        assert!(
            error_chain(error.as_ref())
                .any(|error| error.downcast_ref::<Layer>().is_some_and(|layer| layer.0 == "reset"))
        );
    }
}
