//! The house's habits, as far as a program can judge them: how a file opens, what is never left behind, and that
//! the documents name what is really there.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use support::source::{self, SourceFile};

const RUST_DIRS: [&str; 4] = ["src", "tests", "examples", "benches"];
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "CHANGELOG.md",
    "docs/ARCHITECTURE.md",
    "docs/libevent-map.md",
    "docs/benchmarks.md",
    "docs/c-abi.md",
];
/// Macros that mark work as unfinished or belong to an afternoon of debugging.
const LEFT_BEHIND: [&str; 4] = ["todo", "unimplemented", "dbg", "unreachable_unchecked"];

fn rust_files() -> Vec<SourceFile> {
    RUST_DIRS.iter().flat_map(|dir| source::rust_files(dir)).collect()
}

fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    let silent = rust_files().into_iter().filter(|file| !file.text.starts_with("//! "));
    assert_none(&silent.map(|file| format!("{} does not open with `//! `", file.path)).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_behind() {
    let mut findings = Vec::new();
    for file in rust_files() {
        for word in LEFT_BEHIND {
            let calls =
                file.words(word).into_iter().filter(|at| file.code.get(at + word.len()) == Some(&'!'));
            findings.extend(calls.map(|at| format!("{}:{}: {word}!", file.path, file.line_of(at))));
        }
    }
    assert_none(&findings);
}

/// A path that only exists where the author sat is of no use to anybody else.
#[test]
fn nothing_names_a_place_outside_the_repository() {
    let homes = [["/ro", "ot/."].concat(), ["/wo", "rk/"].concat(), ["/ho", "me/"].concat()];
    let documents = DOCUMENTS.iter().chain(&["Cargo.toml", ".ci/run"]).map(|path| (*path).to_owned());
    let texts = documents.map(|path| (source::read(&path), path));
    let sources = rust_files().into_iter().map(|file| (file.text, file.path));
    let mut findings = Vec::new();
    for (text, path) in texts.chain(sources) {
        let named = homes.iter().filter(|home| text.contains(home.as_str()));
        findings.extend(named.map(|home| format!("{path} names {home}")));
    }
    assert_none(&findings);
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut findings = Vec::new();
    for document in DOCUMENTS {
        let here = Path::new(document).parent().unwrap_or(Path::new(""));
        for target in links(&source::read(document)) {
            if !source::root().join(here).join(&target).exists() {
                findings.push(format!("{document} links to {target}, which is not there"));
            }
        }
    }
    assert_none(&findings);
}

/// The targets of `[text](target)` that are files.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).map(str::to_owned).collect()
}

/// docs/ARCHITECTURE.md draws the tree of src/, a line a file or directory; both must say the same.
#[test]
fn the_architecture_lists_every_source_file() {
    let drawn = drawn_files(&source::read("docs/ARCHITECTURE.md"));
    let real: BTreeSet<String> = source::rust_files("src").into_iter().map(|file| file.path).collect();
    let missing = real.difference(&drawn).map(|path| format!("docs/ARCHITECTURE.md does not list {path}"));
    let gone =
        drawn.difference(&real).map(|path| format!("docs/ARCHITECTURE.md lists {path}, which is not there"));
    assert_none(&missing.chain(gone).collect::<Vec<_>>());
}

/// The files of the block that begins with a line `src/`: two spaces of indentation a level, a directory ends in
/// a slash, and whatever follows the names is prose.
fn drawn_files(text: &str) -> BTreeSet<String> {
    let tree = text.lines().skip_while(|line| *line != "src/").skip(1).take_while(|line| *line != "```");
    let mut directories = vec!["src/".to_owned()];
    let mut files = BTreeSet::new();
    for line in tree.filter(|line| !line.trim().is_empty()) {
        let depth = (line.len() - line.trim_start().len()) / 2;
        let name = line.split_whitespace().next().unwrap_or_default();
        if name.ends_with('/') && depth <= directories.len() {
            directories.truncate(depth);
            directories.push(name.to_owned());
        } else if name.ends_with(".rs") {
            files.insert(directories[..depth].concat() + name);
        }
    }
    files
}

#[test]
fn every_dependency_has_its_reason() {
    let architecture = source::read("docs/ARCHITECTURE.md");
    let names = dependencies(&source::read("Cargo.toml"));
    assert!(names.len() > 10, "{names:?}");
    let silent = names.iter().filter(|name| !architecture.contains(&format!("| `{name}` |")));
    assert_none(
        &silent.map(|name| format!("docs/ARCHITECTURE.md gives no reason for {name}")).collect::<Vec<_>>(),
    );
}

fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if inside && let Some((name, _)) = line.split_once(" = ") {
            names.push(name.to_owned());
        }
    }
    names
}

/// The gate compares features by reading the manifest and benches by listing a directory; both must stay readable
/// to it, so a bench needs its file and its `[[bench]]` entry.
#[test]
fn every_bench_is_declared() {
    let manifest = source::read("Cargo.toml");
    for file in fs::read_dir(source::root().join("benches")).expect("there are benches").flatten() {
        let name = file.file_name().into_string().expect("names here are UTF-8");
        if let Some(name) = name.strip_suffix(".rs") {
            assert!(
                manifest.contains(&format!("name = \"{name}\"\nharness = false")),
                "{name} is not declared"
            );
        }
    }
}

#[test]
fn the_readers_of_documents_read_them_right() {
    let tree = "x\nsrc/\n  lib.rs   the root\n  a/\n    mod.rs  b.rs in prose\n    io/\n      deep.rs\n  z.rs\n```\n  no.rs\n";
    let expected = ["src/lib.rs", "src/a/mod.rs", "src/a/io/deep.rs", "src/z.rs"].map(str::to_owned);
    assert_eq!(drawn_files(tree), BTreeSet::from(expected));
    assert_eq!(links("[a](b.md) [c](https://x/y) [d](e.md#f) [g](#h)"), ["b.md", "e.md"]);
    let manifest =
        "[features]\nx = []\n[dependencies]\na = \"1\"\n[dev-dependencies]\nb = \"2\"\n[lints]\nc = 1\n";
    assert_eq!(dependencies(manifest), ["a", "b"]);
}
