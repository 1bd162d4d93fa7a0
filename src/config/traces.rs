//! `traces`: spans for a collector of OpenTelemetry.

use super::http_client::ClientKeys;
use crate::collector::TracesConfig;
use crate::schema::{Files, Section};

/// Reads the section. The outer `None` was reported; the inner one is off.
pub(super) fn read(section: &Section<'_>, files: &dyn Files) -> Option<Option<TracesConfig>> {
    let on = section.flag("enable");
    let sample_percent = section.integer("samplePercent");
    let block = section.section("otlp");
    let client = ClientKeys::read(&block);
    if !on {
        if client.has_url() {
            section.notice("enable", "is not true: no traces are made");
        }
        return Some(None);
    }
    if !client.has_url() {
        block.error("url", "is missing: it names the collector, for example https://collector.example.org:4318");
    }
    let (client, sample_percent) = (client.build(&block, files), sample_percent?);
    Some(Some(TracesConfig { client: client?, sample_percent: u8::try_from(sample_percent).ok()? }))
}
