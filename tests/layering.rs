//! The house's structural rules, read from the sources: which room may name which, where `unsafe` and system
//! calls may stand, how long a file may grow. docs/ARCHITECTURE.md explains them; this file makes them hold.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use support::source::{self, SourceFile, in_name};

/// The floor each room stands on. A room may name its own floor and those below; a new room gets a line here.
const FLOORS: [(&str, u8); 14] = [
    ("features", 0),
    ("address", 0),
    ("error", 0),
    ("sys", 1),
    ("util", 1),
    ("buffer", 2),
    ("reactor", 2),
    ("bufferevent", 3),
    ("listener", 3),
    ("resolve", 3),
    ("event_base", 4),
    ("threads", 5),
    ("http", 5),
    ("capi", 5),
];
/// Rooms that never name each other, in either direction.
const APART: [(&str, &str); 3] = [("buffer", "reactor"), ("http", "capi"), ("event_base", "capi")];
/// Where `unsafe` may stand.
const OPEN_ROOMS: [&str; 4] = ["src/sys/", "src/buffer/chunk/", "src/reactor/backend/io_uring", "src/capi/"];
/// Where functions of the C library may be called.
const SYSTEM_ROOMS: [&str; 2] = ["src/sys/", "src/capi/"];
const FILE_LINES_MAX: usize = 800;

/// A broken rule and where.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    path: String,
    line: usize,
    rule: &'static str,
    detail: String,
}

/// One room naming another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: String,
    to: String,
    path: String,
    line: usize,
}

#[test]
fn the_sources_keep_the_rules() {
    let sources = source::rust_files("src");
    assert!(sources.len() > 10, "the sources were found");
    assert_clean(&check(&sources));
}

#[test]
fn no_file_grows_past_the_ceiling() {
    let files = ["src", "tests", "examples", "benches"].iter().flat_map(|dir| source::rust_files(dir));
    assert_clean(&files.flat_map(|file| check_size(&file)).collect::<Vec<_>>());
}

fn assert_clean(breaches: &[Breach]) {
    let lines = breaches.iter().map(|b| format!("{}:{}: {}: {}\n", b.path, b.line, b.rule, b.detail));
    assert!(breaches.is_empty(), "\n{}", lines.collect::<String>());
}

// ---- the checker ---------------------------------------------------------------------------------------------

fn check(sources: &[SourceFile]) -> Vec<Breach> {
    let exports = root_exports(sources);
    let mut breaches = Vec::new();
    let mut arrows = Vec::new();
    for file in sources {
        breaches.extend(check_unsafe(file));
        breaches.extend(check_system_calls(file));
        for (name, line) in root_names(file) {
            match arrow(file, &name, line, &exports) {
                Ok(found) => arrows.extend(found),
                Err(breach) => breaches.push(breach),
            }
        }
    }
    breaches.extend(arrows.iter().filter_map(check_arrow));
    breaches.extend(check_cycles(&arrows));
    breaches.sort();
    breaches
}

fn breach(file: &SourceFile, line: usize, rule: &'static str, detail: String) -> Breach {
    Breach { path: file.path.clone(), line, rule, detail }
}

fn check_size(file: &SourceFile) -> Option<Breach> {
    let lines = file.text.lines().count();
    let detail = format!("{lines} lines, at most {FILE_LINES_MAX}");
    (lines > FILE_LINES_MAX).then(|| breach(file, lines, "file size", detail))
}

fn starts_with_any(path: &str, rooms: &[&str]) -> bool {
    rooms.iter().any(|room| path.starts_with(room))
}

fn check_unsafe(file: &SourceFile) -> Vec<Breach> {
    if starts_with_any(&file.path, &OPEN_ROOMS) {
        return Vec::new();
    }
    let report = |at| breach(file, file.line_of(at), "unsafe", "outside the open rooms".to_owned());
    let mut found: Vec<_> = file.words("unsafe").into_iter().map(report).collect();
    for at in file.words("unsafe_code") {
        found.push(breach(file, file.line_of(at), "unsafe", "this file is not an open room".to_owned()));
    }
    found
}

/// Outside `sys` only constants and types of the C library may be named. What is called does not begin with a
/// capital and is followed by an opening parenthesis: as a path, or by a name that was imported.
fn check_system_calls(file: &SourceFile) -> Vec<Breach> {
    if starts_with_any(&file.path, &SYSTEM_ROOMS) {
        return Vec::new();
    }
    let mut called = Vec::new();
    for at in file.words("libc") {
        if word_before(file, at) == "use" {
            let statement: String = file.code[at..].iter().take_while(|c| **c != ';').collect();
            let names = statement.split(|c| !in_name(c)).skip(1).filter(|name| !name.is_empty());
            called.extend(
                names.flat_map(|name| file.words(name).into_iter().filter_map(|at| call_at(file, at))),
            );
        } else if follows(file, at, "libc::") {
            called.extend(call_at(file, at + 6));
        }
    }
    let report = |(name, line)| breach(file, line, "system call", format!("{name} is called outside sys"));
    called.into_iter().map(report).collect()
}

/// The name at `at` and its line, if that is a call of a function.
fn call_at(file: &SourceFile, at: usize) -> Option<(String, usize)> {
    let name: String = file.code[at..].iter().take_while(|c| in_name(**c)).collect();
    let call = follows(file, at + name.chars().count(), "(") && name.starts_with(char::is_lowercase);
    call.then(|| (name, file.line_of(at)))
}

fn word_before(file: &SourceFile, at: usize) -> String {
    let before: String = file.code[..at].iter().collect();
    let before = before.trim_end();
    before[before.rfind(|c| !in_name(c)).map_or(0, |i| i + 1)..].to_owned()
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// The room a file belongs to: the first part of its path under `src`; the root file belongs to none.
fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    (room != "lib" && room != "main").then_some(room)
}

/// What the root re-exports: the name, and the room it comes from.
fn root_exports(sources: &[SourceFile]) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for file in sources.iter().filter(|file| file.path == "src/lib.rs") {
        for at in file.words("use") {
            let statement: String = file.code[at..].iter().take_while(|c| **c != ';').collect();
            let names: Vec<&str> = statement.split(|c| !in_name(c)).filter(|name| !name.is_empty()).collect();
            if let Some(room) = names.get(1).filter(|room| floor(room).is_some()) {
                exports.extend(names[2..].iter().map(|name| ((*name).to_owned(), (*room).to_owned())));
            }
        }
    }
    exports
}

fn arrow(
    file: &SourceFile,
    name: &str,
    line: usize,
    exports: &BTreeMap<String, String>,
) -> Result<Option<Arrow>, Breach> {
    let Some(from) = room_of(&file.path) else { return Ok(None) };
    let to = exports.get(name).map_or(name, String::as_str);
    for room in [from, to] {
        if floor(room).is_none() {
            let detail =
                format!("`{room}` has no floor in tests/layering.rs and is no re-export of the root");
            return Err(breach(file, line, "unknown room", detail));
        }
    }
    let arrow = Arrow { from: from.to_owned(), to: to.to_owned(), path: file.path.clone(), line };
    Ok((from != to).then_some(arrow))
}

fn check_arrow(arrow: &Arrow) -> Option<Breach> {
    let Arrow { from, to, path, line } = arrow;
    let pair = |a: &str, b: &str| (from == a && to == b) || (from == b && to == a);
    let (rule, detail) = if APART.iter().any(|(a, b)| pair(a, b)) {
        ("kept apart", format!("{from} and {to} never name each other"))
    } else if floor(to) > floor(from) {
        ("arrow up", format!("{from} names {to}, which stands above it"))
    } else {
        return None;
    };
    Some(Breach { path: path.clone(), line: *line, rule, detail })
}

/// Floors forbid every cycle but one between rooms of the same floor; each is reported at its first arrow.
fn check_cycles(arrows: &[Arrow]) -> Vec<Breach> {
    let mut reach: BTreeSet<(&str, &str)> = arrows.iter().map(|a| (a.from.as_str(), a.to.as_str())).collect();
    loop {
        let longer: Vec<_> = reach
            .iter()
            .flat_map(|(a, b)| reach.iter().filter(move |(c, _)| b == c).map(move |(_, d)| (*a, *d)))
            .collect();
        let before = reach.len();
        reach.extend(longer);
        if reach.len() == before {
            break;
        }
    }
    let in_cycle = arrows.iter().filter(|a| reach.contains(&(a.to.as_str(), a.from.as_str())));
    let mut seen = BTreeSet::new();
    let first = in_cycle.filter(|a| seen.insert((a.from.clone(), a.to.clone())));
    first
        .map(|a| Breach {
            path: a.path.clone(),
            line: a.line,
            rule: "cycle",
            detail: format!("{} -> {} -> ... -> {}", a.from, a.to, a.from),
        })
        .collect()
}

// ---- reading paths -------------------------------------------------------------------------------------------

/// Every name of the crate's root that the file uses: through `crate::`, or through enough `super::`.
fn root_names(file: &SourceFile) -> Vec<(String, usize)> {
    let mut names = Vec::new();
    for at in file.words("crate") {
        let visibility = word_before(file, at) == "in" || file.code.get(at.wrapping_sub(1)) == Some(&'(');
        if !visibility && follows(file, at + 5, "::") {
            collect_names(file, at + 7, &mut names);
        }
    }
    for (at, climbed) in super_chains(file) {
        if climbed == module_depth(file, at) {
            collect_names(file, at, &mut names);
        }
    }
    names
}

fn follows(file: &SourceFile, at: usize, text: &str) -> bool {
    text.chars().enumerate().all(|(i, c)| file.code.get(at + i) == Some(&c))
}

/// Where each chain of `super::` ends, and how many levels it climbs.
fn super_chains(file: &SourceFile) -> Vec<(usize, usize)> {
    let mut chains = Vec::new();
    let mut done = 0;
    for start in file.words("super") {
        if start < done {
            continue;
        }
        let (mut at, mut climbed) = (start, 0);
        while follows(file, at, "super::") {
            (at, climbed) = (at + 7, climbed + 1);
        }
        done = at;
        chains.extend((climbed > 0).then_some((at, climbed)));
    }
    chains
}

/// How many modules enclose the character at `at`: those of the file's path and the inline ones.
fn module_depth(file: &SourceFile, at: usize) -> usize {
    let inside = file.path.trim_start_matches("src/").trim_end_matches(".rs");
    let own = inside.split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main")).count();
    let mut open = Vec::new();
    let mut statement = String::new();
    for c in &file.code[..at] {
        match c {
            '{' => open.push(std::mem::take(&mut statement).split_whitespace().rev().nth(1) == Some("mod")),
            '}' => drop(open.pop()),
            _ => {}
        }
        if matches!(c, '{' | '}' | ';') { statement.clear() } else { statement.push(*c) }
    }
    own + open.iter().filter(|module| **module).count()
}

/// The names at `at`: one name, or the first name of each member of a group in braces.
fn collect_names(file: &SourceFile, at: usize, names: &mut Vec<(String, usize)>) {
    if file.code.get(at) != Some(&'{') {
        let name: String = file.code[at..].iter().take_while(|c| in_name(**c) || **c == '*').collect();
        names.push((name, file.line_of(at)));
        return;
    }
    let (mut depth, mut member_starts) = (0_usize, true);
    for (i, c) in file.code[at..].iter().enumerate() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' => member_starts |= depth == 1,
            _ if !c.is_whitespace() && depth == 1 && member_starts => {
                collect_names(file, at + i, names);
                member_starts = false;
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

// ---- the checker is checked ----------------------------------------------------------------------------------

const LIB: (&str, &str) =
    ("src/lib.rs", "mod error; pub use buffer::Evbuffer; pub use error::{Error, Result};");

/// The rules that made-up sources break, with their lines.
fn broken(files: &[(&str, &str)]) -> Vec<(&'static str, usize)> {
    let files: Vec<_> =
        files.iter().chain([&LIB]).map(|(path, text)| SourceFile::made_up(path, text)).collect();
    check(&files).into_iter().map(|breach| (breach.rule, breach.line)).collect()
}

#[test]
fn arrows_down_are_fine() {
    let below = "use crate::{Error, sys::{self, io}, util::Address};\nuse crate::Result;\nuse super::error::Error as E;";
    assert_eq!(broken(&[("src/buffer/mod.rs", below)]), []);
    assert_eq!(broken(&[("src/event_base/run.rs", "use crate::reactor::What; use crate::Evbuffer;")]), []);
    assert_eq!(
        broken(&[("src/buffer/add.rs", "use crate::buffer::chain; pub(in crate::buffer) fn f() {}")]),
        []
    );
}

#[test]
fn arrows_up_are_found() {
    assert_eq!(broken(&[("src/buffer/io/mod.rs", "\nuse crate::bufferevent::X;")]), [("arrow up", 2)]);
    assert_eq!(broken(&[("src/sys/io.rs", "\n\nfn f() { crate::Evbuffer::new(); }")]), [("arrow up", 3)]);
    assert_eq!(
        broken(&[("src/util/mod.rs", "use crate::{\n  error::Error,\n  buffer::{Eol, End},\n};")]),
        [("arrow up", 3)]
    );
    assert_eq!(broken(&[("src/listener.rs", "use super::event_base::EventBase;")]), [("arrow up", 1)]);
    assert_eq!(
        broken(&[("src/reactor/timer/heap.rs", "use super::super::super::http::X;")]),
        [("arrow up", 1)]
    );
}

#[test]
fn super_inside_a_room_is_no_arrow() {
    let inner = "use super::Listener; mod tests { use super::*; use super::http; fn f() { let x = 1; } }";
    assert_eq!(broken(&[("src/reactor/arena.rs", inner)]), []);
    let climbs = "mod tests {\n use super::super::http; }\nuse super::buffer;";
    assert_eq!(broken(&[("src/util/mod.rs", "mod tests {\n use super::super::http; }")]), [("arrow up", 2)]);
    assert_eq!(broken(&[("src/util/mod.rs", climbs)]), [("arrow up", 2), ("arrow up", 3)]);
}

#[test]
fn rooms_that_are_kept_apart_are_found() {
    assert_eq!(broken(&[("src/reactor/mod.rs", "use crate::Evbuffer;")]), [("kept apart", 1)]);
    assert_eq!(broken(&[("src/buffer/mod.rs", "use crate::reactor::Reactor;")]), [("kept apart", 1)]);
}

#[test]
fn cycles_on_one_floor_are_found() {
    let one_way = ("src/sys/socket.rs", "use crate::util::Address;");
    assert_eq!(broken(&[one_way]), []);
    assert_eq!(broken(&[one_way, ("src/util/mod.rs", "\nuse crate::sys::x;")]), [("cycle", 1), ("cycle", 2)]);
}

#[test]
fn unknown_rooms_are_found() {
    assert_eq!(broken(&[("src/attic.rs", "use crate::error::Error;")]), [("unknown room", 1)]);
    assert_eq!(broken(&[("src/http/mod.rs", "use crate::*;")]), [("unknown room", 1)]);
}

#[test]
fn unsafe_is_found_in_code_and_only_there() {
    let code = "fn f() {\n    unsafe { g() }\n}\nunsafe impl Send for X {}";
    assert_eq!(broken(&[("src/buffer/node.rs", code)]), [("unsafe", 2), ("unsafe", 4)]);
    assert_eq!(broken(&[("src/buffer/chunk/mod.rs", code), ("src/sys/io.rs", code)]), []);
    assert_eq!(broken(&[("src/util/mod.rs", "#![allow(unsafe_code, reason = \"no\")]")]), [("unsafe", 1)]);
    let prose = "//! unsafe\n/* unsafe /* unsafe */ unsafe */ const A: &str = \"unsafe\\\" unsafe\";\n\
                 const B: &str = r#\"\" unsafe\"#; const C: char = '\"'; // unsafe\nfn not_unsafe<'a>() {}";
    assert_eq!(broken(&[("src/util/mod.rs", prose)]), []);
}

#[test]
fn system_calls_are_found_outside_sys() {
    let code = "fn f(x: libc::c_int) -> libc::iovec { libc::close(x); libc::EINTR }\n\
                use libc::{EAGAIN, epoll_event, read};\n\
                fn g(e: epoll_event) -> i32 { EAGAIN }\nfn h() { read (0); read(0) }";
    assert_eq!(broken(&[("src/listener.rs", code)]), [("system call", 1), ("system call", 4)]);
    assert_eq!(broken(&[("src/sys/socket.rs", code)]), []);
}

#[test]
fn a_long_file_is_found() {
    let lines = |n| SourceFile::made_up("src/x.rs", &"\n".repeat(n));
    assert!(check_size(&lines(FILE_LINES_MAX)).is_none());
    assert!(check_size(&lines(FILE_LINES_MAX + 1)).is_some());
}
