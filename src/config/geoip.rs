//! `geoip`: the database of countries, with ContainerSSH's keys.

use crate::schema::Section;
use std::path::PathBuf;

/// Reads the section. The outer `None` was reported; the inner one is off.
pub(super) fn read(section: &Section<'_>) -> Option<Option<PathBuf>> {
    let provider = section.choice("provider", &[("dummy", false), ("maxmind", true)]);
    let file = section.text("maxmind-geoip2-file");
    if !provider? {
        if section.value("maxmind-geoip2-file") != section.default("maxmind-geoip2-file") {
            section.notice("provider", "is not maxmind: no database of countries is read");
        }
        return Some(None);
    }
    Some(Some(PathBuf::from(file?)))
}
