//! Files that name each other, directly or through others. A file may name its direct parent, whose types it serves.

use super::{Source, product};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module as the parts of its path: `["ssh", "handler"]`, empty for the crate's root.
type Module = Vec<String>;

/// The crates in which no files form a circle. In the guest agent, the kinds of its processes start each other.
const CRATES: &[&str] =
    &["src", "devcluster/src", "http-server/src", "link/src", "recording/src", "webhooks/program/src", "webhooks/src"];

#[test]
fn no_files_name_each_other_in_a_circle() {
    let mut found = Vec::new();
    for folder in CRATES {
        let named = named_files(folder);
        found.extend(circles(&named).into_iter().map(|circle| format!("{folder}: {}", circle.join(", "))));
    }
    assert!(found.is_empty(), "each line is a circle of files:\n{}", found.join("\n"));
}

/// The modules of a crate, each with the other modules whose items its file names, without its parent.
fn named_files(folder: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let sources = product(folder);
    assert!(!sources.is_empty(), "{folder} has no sources");
    let module = |source: &Source| {
        let path = source.path.strip_prefix(&root).expect("below the root").with_extension("");
        let parts: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if parts == ["lib"] { Vec::new() } else { parts }
    };
    let modules: BTreeSet<Module> = sources.iter().map(module).collect();
    let mut named = BTreeMap::new();
    for source in &sources {
        let own = module(source);
        let targets = paths(&source.code).into_iter().filter_map(|path| resolve(&own, &path, &modules));
        let parent = own.split_last().map(|(_, parent)| parent.to_vec());
        let others = targets.filter(|target| *target != own && Some(target) != parent.as_ref());
        named.insert(own.clone(), others.collect());
    }
    named
}

/// The longest part of a path that is a module with a file.
fn resolve(own: &Module, path: &[String], modules: &BTreeSet<Module>) -> Option<Module> {
    let mut path = path.iter().peekable();
    let mut base = match path.peek().map(|first| first.as_str()) {
        Some("crate") => Vec::new(),
        Some("super" | "self") => own.clone(),
        Some(child) if modules.contains(&[&own[..], &[child.to_owned()]].concat()) => own.clone(),
        _ => return None,
    };
    while let Some(step) = path.next_if(|step| ["crate", "super", "self"].contains(&step.as_str())) {
        if step == "super" {
            base.pop();
        }
    }
    for part in path {
        base.push(part.clone());
        if !modules.contains(&base) {
            base.pop();
            break;
        }
    }
    modules.contains(&base).then_some(base)
}

/// Every path in the code with at least two parts. A group `a::{b, c::d}` is two paths.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(is_part) {
        rest = read_path(&rest[start..], &[], &mut found);
    }
    found.retain(|path| path.len() > 1);
    found
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Reads the path at the beginning of `text`, with its groups, and returns the rest.
fn read_path<'a>(text: &'a str, prefix: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = prefix.to_vec();
    let mut rest = text;
    loop {
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        path.push(rest[..length].to_owned());
        rest = &rest[length..];
        match rest.strip_prefix("::") {
            Some(after) if after.starts_with(is_part) => rest = after,
            Some(after) if after.starts_with('{') => return read_group(&after[1..], &path, found),
            _ => break,
        }
    }
    found.push(path);
    rest
}

fn read_group<'a>(text: &'a str, prefix: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let mut rest = text;
    while let Some(at) = rest.find(|c| is_part(c) || c == '}') {
        rest = &rest[at..];
        match rest.strip_prefix('}') {
            Some(after) => return after,
            None => rest = read_path(rest, prefix, found),
        }
    }
    rest
}

/// The groups of modules that reach each other.
fn circles(named: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<String>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = named.keys().map(|from| (from, reach(from, named))).collect();
    let mut found = BTreeSet::new();
    for (from, there) in &reached {
        let back = there.iter().filter(|other| reached[*other].contains(from));
        let circle: Vec<String> = back.map(|module| module.join("::")).collect();
        if !circle.is_empty() {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

fn reach<'a>(from: &'a Module, named: &'a BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        open.extend(named[module].iter().filter(|next| reached.insert(*next)));
    }
    reached
}

#[test]
fn groups_are_read_as_one_path_each() {
    let code = "use super::{a, b::{self, C}};\nfn f() -> crate::x::Y { d::e() }";
    let read: Vec<String> = paths(code).iter().map(|path| path.join("::")).collect();
    assert_eq!(read, ["super::a", "super::b::self", "super::b::C", "crate::x::Y", "d::e"]);
}
