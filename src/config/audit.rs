//! `audit`: the recordings of connections, where they are switched on.

use crate::schema::{Files, Section, pem};
use crate::settings::on_failure;
use crate::types::{Intercept, RecordingPlan, Secret};
use std::path::Path;

const OFF: &str = "is not true: nothing is recorded";
const NO_FORMAT: &str = "is none: nothing is recorded";
const NO_STORAGE: &str = "is none: nothing is recorded";

/// Reads the section. The outer `None` was reported; the inner one is off.
pub(super) fn read(section: &Section<'_>, files: &dyn Files) -> Option<Option<RecordingPlan>> {
    let on = section.flag("enable");
    let format = section.choice("format", &[("none", false), ("binary", true), ("asciinema", true)]);
    let storage = section.choice("storage", &[("none", false), ("file", true), ("s3", true)]);
    let (directory, key) = (section.section("file").text("directory"), section.text("sealKey"));
    let intercept = intercept(&section.section("intercept"));
    let on_failure = on_failure(section);
    let s3 = section.section("s3");
    super::unbuilt::check(&s3);
    if !on {
        let says_more = format == Some(true) || storage == Some(true) || key.is_some() || s3.is_set();
        if says_more || intercept != Intercept::default() {
            section.notice("enable", OFF);
        }
        return Some(None);
    }
    let is_unbuilt = |key: &'static str, word: &str| {
        let is_asked_for = section.value(key).and_then(|value| value.as_str()) == Some(word);
        if is_asked_for {
            section.error(key, format!("{word} is not built yet"));
        }
        is_asked_for
    };
    if is_unbuilt("format", "asciinema") | is_unbuilt("storage", "s3") {
        return None;
    }
    for (key, chosen, text) in [("format", format?, NO_FORMAT), ("storage", storage?, NO_STORAGE)] {
        if !chosen {
            section.warning(key, text);
            return Some(None);
        }
    }
    let directory = directory?.into();
    let key = match key {
        Some(key) => Some(seal_key(section, key, files)?),
        None => None,
    };
    Some(Some(RecordingPlan { directory, key, intercept, on_failure: on_failure? }))
}

/// Standard error is that of `stdout` where nothing is said about it: ContainerSSH has no switch for it alone.
fn intercept(section: &Section<'_>) -> Intercept {
    let stdout = section.flag("stdout");
    Intercept {
        stdin: section.flag("stdin"),
        stdout,
        stderr: if section.value("stderr").is_some() { section.flag("stderr") } else { stdout },
        passwords: section.flag("passwords"),
        forwarding: section.flag("forwarding"),
    }
}

fn seal_key(section: &Section<'_>, value: &str, files: &dyn Files) -> Option<Secret> {
    if pem::is_inline(value) {
        return private(section, value);
    }
    match files.read(Path::new(value)) {
        Ok(text) => {
            if let Some(warning) = pem::exposed(value, files) {
                section.warning("sealKey", &warning);
            }
            private(section, &text)
        }
        Err(error) => {
            section.error("sealKey", pem::unreadable(value, &error));
            None
        }
    }
}

/// Its kind and its state are judged where recordings are made.
fn private(section: &Section<'_>, text: &str) -> Option<Secret> {
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        return Some(Secret::new(text));
    }
    section.error("sealKey", "holds no private key in PEM (-----BEGIN PRIVATE KEY-----) or OpenSSH's form");
    None
}
