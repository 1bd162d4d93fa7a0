//! `audit`: the recordings of connections, where they are switched on.

use crate::schema::{Files, Section, pem};
use crate::settings::on_failure;
use crate::types::{Intercept, RecordingFormat, RecordingPlan, Secret};
use std::path::Path;

const OFF: &str = "is not true: nothing is recorded";
const NO_FORMAT: &str = "is none: nothing is recorded";
const NO_STORAGE: &str = "is none: nothing is recorded";
const NO_KEY: &str =
    "is not set: whoever can write to the directory can change recordings without a trace (ssh-keygen -t ed25519)";
const NO_PLACE: &str = "has no effect: an asciicast has only programs, without what is told before them";
const NO_OUTPUT: &str = "is not true: the asciicasts show nothing";

/// Reads the section. The outer `None` was reported; the inner one is off.
pub(super) fn read(section: &Section<'_>, files: &dyn Files) -> Option<Option<RecordingPlan>> {
    let on = section.flag("enable");
    let formats =
        [("none", None), ("binary", Some(RecordingFormat::Binary)), ("asciinema", Some(RecordingFormat::Asciicast))];
    let format = section.choice("format", &formats);
    let storage = section.choice("storage", &[("none", false), ("file", true), ("s3", true)]);
    let (directory, key) = (section.section("file").text("directory"), section.text("sealKey"));
    let intercepted = section.section("intercept");
    let intercept = intercept(&intercepted);
    let on_failure = on_failure(section);
    let s3 = section.section("s3");
    super::unbuilt::check(&s3);
    if !on {
        let says_more = format.flatten().is_some() || storage == Some(true) || key.is_some() || s3.is_set();
        if says_more || intercept != Intercept::default() {
            section.notice("enable", OFF);
        }
        return Some(None);
    }
    if section.value("storage").and_then(|value| value.as_str()) == Some("s3") {
        section.error("storage", "s3 is not built yet");
        return None;
    }
    let Some(format) = format? else {
        section.warning("format", NO_FORMAT);
        return Some(None);
    };
    if !storage? {
        section.warning("storage", NO_STORAGE);
        return Some(None);
    }
    if format == RecordingFormat::Asciicast {
        check_for_casts(&intercepted, intercept);
    }
    let directory = directory?.into();
    let key = match key {
        Some(key) => Some(seal_key(section, key, files)?),
        None => {
            section.warning("sealKey", NO_KEY);
            None
        }
    };
    Some(Some(RecordingPlan { format, directory, key, intercept, on_failure: on_failure? }))
}

/// Tells what asciicasts cannot have.
fn check_for_casts(intercepted: &Section<'_>, intercept: Intercept) {
    for (key, is_set) in [("passwords", intercept.passwords), ("forwarding", intercept.forwarding)] {
        if is_set {
            intercepted.warning(key, NO_PLACE);
        }
    }
    if !intercept.stdout && !intercept.stderr {
        intercepted.warning("stdout", NO_OUTPUT);
    }
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
