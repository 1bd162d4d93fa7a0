//! `events`: what was done, as data, in a file of its own.

use crate::schema::Section;
use crate::telemetry::{EventFormat, EventsConfig};
use std::path::PathBuf;

/// Reads the section. The outer `None` was reported; the inner one is off.
pub(super) fn read(section: &Section<'_>) -> Option<Option<EventsConfig>> {
    let on = section.flag("enable");
    let format = section.choice("format", &[("json", EventFormat::Json), ("ocsf", EventFormat::Ocsf)]);
    let file = section.text("file");
    let (commands, sftp_hash) = (section.flag("commands"), section.flag("sftpHash"));
    if !on {
        let is_default = section.value("file") == section.default("file") && format != Some(EventFormat::Ocsf);
        if !is_default || sftp_hash || !commands {
            section.notice("enable", "is not true: no events are written");
        }
        return Some(None);
    }
    Some(Some(EventsConfig { file: PathBuf::from(file?), format: format?, commands, sftp_hash }))
}
