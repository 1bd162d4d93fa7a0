//! The settings of a file's users, judged by whoever knows them: a gateway's parser. This crate has none, as the gateway
//! depends on it.

use super::{Directory, Problem};
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;

/// Judge of one connection's settings: the `config` of an answer, in which every value means itself. The paths of its
/// findings begin with the settings' own keys.
pub type SettingsCheck = dyn Fn(&Map<String, Json>) -> Findings + Send + Sync;

/// The findings of a check of settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Mistakes that a gateway would refuse.
    pub mistakes: Vec<Problem>,
    /// Warnings about settings that a gateway accepts.
    pub warnings: Vec<Problem>,
}

/// Findings in what the users of a directory get. What comes from the defaults is told once, and only if somebody gets it.
pub(super) fn settings_of(directory: &Directory, check: &SettingsCheck) -> Findings {
    let defaults = &directory.defaults.settings;
    let (shared, mut told) = (check(defaults.sections()), ReportedProblems::default());
    let mut all = Findings::default();
    if directory.users.is_empty() {
        told.take(&mut all, "defaults", &shared);
    }
    for (name, user) in &directory.users {
        let own = &user.profile.settings;
        if own.sections().is_empty() {
            told.take(&mut all, "defaults", &shared);
            continue;
        }
        let (alone, whole) = (check(own.sections()), check(&defaults.overlaid(own)));
        let split = |whole: &[Problem], shared: &[Problem], alone: &[Problem]| {
            whole.iter().cloned().partition(|problem| shared.contains(problem) && !alone.contains(problem))
        };
        let (from_defaults, mistakes) = split(&whole.mistakes, &shared.mistakes, &alone.mistakes);
        let (warned_by_defaults, warnings) = split(&whole.warnings, &shared.warnings, &alone.warnings);
        told.take(&mut all, "defaults", &Findings { mistakes: from_defaults, warnings: warned_by_defaults });
        told.take(&mut all, &format!("users.{name}"), &Findings { mistakes, warnings });
    }
    all
}

/// Findings that were told already, by place and text.
#[derive(Default)]
struct ReportedProblems(BTreeSet<(String, String)>);

impl ReportedProblems {
    fn take(&mut self, all: &mut Findings, whose: &str, found: &Findings) {
        for (from, into) in [(&found.mistakes, &mut all.mistakes), (&found.warnings, &mut all.warnings)] {
            for problem in from {
                let dot = if problem.path.is_empty() { "" } else { "." };
                let path = format!("{whose}.settings{dot}{}", problem.path);
                if self.0.insert((path.clone(), problem.text.clone())) {
                    into.push(Problem { path, text: problem.text.clone() });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Problems;
    use super::*;

    /// Refuses every section `log`, every `security` without `a`, and warns of every `backend`.
    fn strict(settings: &Map<String, Json>) -> Findings {
        let problem = |path: &str, text: &str| Problem { path: path.into(), text: text.into() };
        let mut found = Findings::default();
        if settings.contains_key("log") {
            found.mistakes.push(problem("log", "is refused"));
        }
        if settings.get("security").is_some_and(|security| security.get("a").is_none()) {
            found.mistakes.push(problem("security", "has no a"));
        }
        if settings.contains_key("backend") {
            found.warnings.push(problem("backend", "is doubtful"));
        }
        found
    }

    fn read(text: &str) -> Result<Vec<String>, Problems> {
        let directory = Directory::from_yaml_checked(text, &strict)?;
        Ok(directory.warnings().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn mistake_is_told_once_where_it_stands() {
        for (text, expected) in [
            ("{users: {a: {settings: {log: {}}}, b: {}}}", "users.a.settings.log: is refused"),
            ("{defaults: {settings: {log: {}}}, users: {}}", "defaults.settings.log: is refused"),
            ("{defaults: {settings: {log: {}}}, users: {a: {}, b: {}}}", "defaults.settings.log: is refused"),
            (
                "{defaults: {settings: {log: {}}}, users: {a: {settings: {backend: x}}, b: {}}}",
                "defaults.settings.log: is refused",
            ),
            (
                "{defaults: {settings: {log: {}}}, users: {a: {settings: {log: {}}}, b: {}}}",
                "users.a.settings.log: is refused\ndefaults.settings.log: is refused",
            ),
        ] {
            assert_eq!(read(text).map_err(|problems| problems.to_string()), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn defaults_that_every_user_completes_are_whole() {
        let text = "{defaults: {settings: {security: {}}}, users: {a: {settings: {security: {a: 1}}}}}";
        assert_eq!(read(text), Ok(vec![]));
        let text = "{defaults: {settings: {security: {}}}, users: {a: {settings: {security: {a: 1}}}, b: {}}}";
        let problems = read(text).expect_err("b gets the defaults");
        assert_eq!(problems.to_string(), "defaults.settings.security: has no a");
    }

    #[test]
    fn user_that_the_defaults_complete_is_whole() {
        let text = "{defaults: {settings: {security: {a: 1}}}, users: {a: {settings: {security: {b: 1}}}}}";
        assert_eq!(read(text), Ok(vec![]));
    }

    #[test]
    fn warning_stops_nothing() {
        let text = "{defaults: {settings: {backend: x}}, users: {a: {}, b: {settings: {security: {a: 1}}}}}";
        assert_eq!(read(text), Ok(vec!["defaults.settings.backend: is doubtful".to_owned()]));
    }
}
