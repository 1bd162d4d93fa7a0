//! The measurement of a step: its time for the metrics and, where the connection has a trace, its span.

use super::metrics::{MeasuredStep, Metrics, StepOutcome};
use super::traces::StepSpan;
use std::time::Instant;

/// Measures a step until it is dropped, as abandoned without [`StepTimer::end`].
#[derive(Debug)]
#[must_use = "dropping it ends the step as abandoned"]
pub(crate) struct StepTimer {
    metrics: Metrics,
    step: MeasuredStep,
    begun: Instant,
    outcome: StepOutcome,
    span: Option<StepSpan>,
}

impl StepTimer {
    /// Starts the measurement of a step.
    pub(super) fn start(metrics: Metrics, step: MeasuredStep, span: Option<StepSpan>) -> Self {
        Self { metrics, step, begun: Instant::now(), outcome: StepOutcome::Abandoned, span }
    }

    /// The header `traceparent` of requests that belong to the step, where its connection has a trace.
    pub(crate) fn traceparent(&self) -> Option<String> {
        self.span.as_ref().map(StepSpan::traceparent)
    }

    pub(crate) fn end(mut self, outcome: StepOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for StepTimer {
    fn drop(&mut self) {
        self.metrics.observe_step(self.step, self.outcome, self.begun.elapsed());
        if let Some(span) = &mut self.span {
            span.outcome(self.outcome.name(), matches!(self.outcome, StepOutcome::Failed));
        }
    }
}
