//! The ways through the code that CONTRIBUTING.md describes, as lists of files.

use std::fs;
use std::path::Path;

const CONTRIBUTING: &str = include_str!("../../CONTRIBUTING.md");

/// The headings, each with the greatest number of files.
const WAYS: [(&str, usize); 3] = [
    (EXEC, 10),
    ("### The way of the config webhook's answer", 20),
    ("### The way of a byte from the client to the program", 11),
];
const EXEC: &str = "### The way of an exec request";

/// The files of a way, from its numbered list.
fn files(heading: &str) -> Vec<&'static str> {
    let section = CONTRIBUTING.split(&format!("{heading}\n")).nth(1).expect("the heading");
    let section = section.split("\n#").next().unwrap_or_default();
    let numbered = section.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    let files: Vec<&str> = numbered.map(|line| line.split('`').nth(1).expect("a file in back quotes")).collect();
    assert!(files.len() > 5, "{heading} has no list");
    files
}

#[test]
fn ways_in_contributing_are_short_and_their_files_exist() {
    for (heading, most) in WAYS {
        let files = files(heading);
        assert!(files.len() <= most, "{heading} has {} files", files.len());
        for file in files {
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(file).is_file(), "{heading}: there is no {file}");
        }
    }
}

#[test]
fn every_file_on_the_way_of_an_exec_request_says_exec() {
    let silent = files(EXEC).into_iter().filter(|file| {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("a source");
        !text.to_lowercase().contains("exec")
    });
    let silent: Vec<&str> = silent.collect();
    assert!(silent.is_empty(), "grep -i exec does not find {silent:?}");
}
