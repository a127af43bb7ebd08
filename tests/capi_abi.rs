//! The C ABI as a linker and a compiler see it: names, and layouts.
#![cfg(feature = "capi")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use support::capi::{cdylib, compile};
use support::process::have;

/// What marks a declaration once libevent's headers have been preprocessed as if for building it.
const MARK: &str = "__attribute__ ((visibility(\"default\")))";

#[test]
fn every_public_function_is_exported() {
    let (Some(library), true) = (cdylib(), have("gcc")) else { return };
    let declared = declared();
    assert!(declared.len() > 230, "the headers were read: {}", declared.len());
    let exported = exported(&library);
    let missing: Vec<_> = declared.difference(&exported).collect();
    assert!(missing.is_empty(), "declared, and not exported: {missing:?}");
}

/// Debian's libraries export some names that no header declares, and programs were linked to those too.
#[test]
fn whatever_debians_libraries_export_is_exported() {
    /// Tables and debugging aids of libevent's insides, which no program can use.
    const INSIDES: [&str; 10] = [
        "bufferevent_ops_filter",
        "bufferevent_ops_openssl",
        "bufferevent_ops_pair",
        "bufferevent_ops_socket",
        "epollops",
        "event_debug_map_HT_CLEAR",
        "event_debug_map_HT_GROW",
        "nil_eventop",
        "pollops",
        "selectops",
    ];
    /// Read by libevent_pthreads and by nobody else.
    const OF_THREADS: [&str; 3] =
        ["event_disable_debug_mode", "evthread_get_condition_callbacks", "evthread_get_lock_callbacks"];
    let Some(library) = cdylib() else { return };
    let ours = exported(&library);
    for name in ["core", "extra", "pthreads", "openssl"] {
        let file = format!("/usr/lib/x86_64-linux-gnu/libevent_{name}-2.1.so.7");
        if !Path::new(&file).is_file() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{file} is missing");
            println!("skipped: {file} is not installed");
            continue;
        }
        let theirs = exported(Path::new(&file));
        let is_public = |name: &&String| !name.ends_with('_') && !INSIDES.contains(&name.as_str());
        let missing: Vec<_> = theirs
            .difference(&ours)
            .filter(is_public)
            .filter(|name| !OF_THREADS.contains(&name.as_str()))
            .collect();
        assert!(missing.is_empty(), "libevent_{name} exports {missing:?}");
    }
}

/// Names that end in an underscore are libevent's private ones: exporting some would tempt its other libraries to use them.
#[test]
fn no_private_name_is_exported() {
    let Some(library) = cdylib() else { return };
    let names = exported(&library);
    let is_private = |name: &&String| {
        let ours = ["ev", "buffer"].iter().any(|prefix| name.starts_with(prefix));
        ours && name.ends_with('_')
    };
    assert_eq!(names.iter().filter(is_private).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn our_layouts_are_those_of_the_headers() {
    let Some(program) = compile("layout") else { return };
    let printed = Command::new(program).output().expect("it runs").stdout;
    let theirs: BTreeMap<String, usize> = String::from_utf8(printed)
        .expect("names are text")
        .lines()
        .map(|line| line.split_once(' ').expect("a name and a number"))
        .map(|(name, number)| (name.to_owned(), number.parse().expect("a number")))
        .collect();
    assert_eq!(asserted(), theirs);
}

/// What `src/capi/layout.rs` asserts when it is compiled, in the same words.
fn asserted() -> BTreeMap<String, usize> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capi/layout.rs");
    let text = std::fs::read_to_string(source).expect("it is there");
    text.lines().filter_map(|line| line.trim().strip_prefix("assert!(")).map(assertion).collect()
}

/// `offset_of!(event, fd) == 56);` or `size_of::<event>() == 128);`
fn assertion(text: &str) -> (String, usize) {
    let (what, number) = text.trim_end_matches(");").split_once(" == ").expect("an equation");
    let name = match what.strip_prefix("offset_of!(") {
        Some(place) => place.trim_end_matches(')').replace(", ", "."),
        None => what.trim_start_matches("size_of::<").trim_end_matches(">()").to_owned(),
    };
    (name, number.parse().expect("a number"))
}

/// The functions that the headers declare for everybody.
fn declared() -> BTreeSet<String> {
    let headers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/capi/headers.c");
    let output = Command::new("gcc").args(["-E", "-P", "-Devent_shared_EXPORTS"]).arg(headers).output();
    let output = output.expect("gcc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("headers are text");
    text.split(MARK).skip(1).map(name_of).collect()
}

/// The name in a declaration: the last word before the first parenthesis.
fn name_of(declaration: &str) -> String {
    let before = declaration.split('(').next().expect("a part");
    let is_in_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    before.rsplit(|letter| !is_in_name(letter)).find(|word| !word.is_empty()).expect("a name").to_owned()
}

fn exported(library: &Path) -> BTreeSet<String> {
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(library).output().expect("nm runs");
    let text = String::from_utf8(output.stdout).expect("names are text");
    text.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}
