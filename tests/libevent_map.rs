//! docs/libevent-map.md, the sources and the list of what the libevent book names say the same thing. When they
//! do not, each message names the row and what it should say, so that bringing the map up to date is mechanical.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use support::source::{self, SourceFile, in_name};

const ENTRIES: usize = 307;

/// A row of the map's main tables.
#[derive(Debug)]
struct Row {
    name: String,
    kind: String,
    items: Vec<String>,
    status: String,
    c_abi: String,
}

/// A `#[doc(alias = ...)]`: the C name, and the item that carries it, `Type::item` for what lives inside a type.
#[derive(Debug, PartialEq, Eq)]
struct Alias {
    name: String,
    item: String,
    place: String,
}

#[test]
fn the_map_has_exactly_the_entries_of_the_book() {
    let listed = listed_entries(&source::read("tests/data/libevent_names.txt"));
    let rows = rows(&source::read("docs/libevent-map.md"));
    let mapped: Vec<_> = rows.iter().map(|row| (row.name.clone(), row.kind.clone())).collect();
    assert_eq!(listed.len(), ENTRIES);
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), ENTRIES, "an entry is listed twice");
    let missing: Vec<_> = listed.iter().filter(|entry| !mapped.contains(entry)).collect();
    let extra: Vec<_> = mapped.iter().filter(|entry| !listed.contains(entry)).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing rows: {missing:#?}\nrows of no entry: {extra:#?}"
    );
    assert_eq!(mapped.len(), ENTRIES, "a row appears twice");
}

#[test]
fn every_status_is_well_formed() {
    let rows = rows(&source::read("docs/libevent-map.md"));
    let wrong: Vec<_> = rows.iter().filter(|row| !well_formed(row)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_map_and_the_sources_agree() {
    let map = source::read("docs/libevent-map.md");
    let aliases: Vec<_> = source::rust_files("src").iter().flat_map(aliases).collect();
    let mismatches = mismatches(&rows(&map), &beyond_the_book(&map), &aliases);
    assert!(mismatches.is_empty(), "\n{}", mismatches.join("\n"));
}

#[test]
fn a_built_rule_names_a_test_that_exists() {
    let rows = rows(&source::read("docs/libevent-map.md"));
    for row in rows.iter().filter(|row| row.kind == "rule" && row.status == "built") {
        let tests = row.items.iter().filter(|item| item.starts_with("tests/"));
        assert!(tests.clone().count() > 0, "{} is built and names no test", row.name);
        for test in tests {
            let (file, function) = test.split_once("::").expect("tests/FILE.rs::FUNCTION");
            assert!(source::read(file).contains(&format!("fn {function}(")), "{}: no test {test}", row.name);
        }
    }
}

/// The names that C programs are linked against, as the sources have them. What the built library exports is asked in tests/capi_abi.rs.
#[test]
fn the_c_column_and_the_sources_agree() {
    let exported: BTreeSet<_> = source::rust_files("src/capi").iter().flat_map(exported_names).collect();
    assert!(exported.len() > 200, "the sources were found");
    let wrong: Vec<_> = rows(&source::read("docs/libevent-map.md"))
        .into_iter()
        .filter(|row| !c_column_holds(row, &exported))
        .map(|row| format!("{}: {}", row.name, row.c_abi))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn c_column_holds(row: &Row, exported: &BTreeSet<String>) -> bool {
    let behind = code_spans(&row.c_abi);
    let word = row.c_abi.split([' ', ',']).next().unwrap_or_default();
    match (word, row.kind.as_str()) {
        ("exported", "function") if behind.is_empty() => exported.contains(&row.name),
        ("exported" | "header", _) => !behind.iter().any(|name| !exported.contains(name)),
        ("kept", kind) => kind == "rule",
        ("read", kind) => kind == "env",
        _ => false,
    }
}

/// What a file of the C ABI exports: what has the attribute, and what the macro for functions with `...` gives it.
fn exported_names(file: &SourceFile) -> Vec<String> {
    let end = |at: usize| at + file.code[at..].iter().position(|c| *c == ']').expect("an attribute ends");
    let attributed = file.words("no_mangle").into_iter().map(|at| end(at) + 1);
    let call = "variadic!";
    let calls = file.words("variadic").into_iter().map(|at| at + call.len());
    let variadic = calls.filter(|&behind| file.code.get(behind - 1) == Some(&'!'));
    attributed.chain(variadic).map(|at| item_after(&file.code, at)).collect()
}

// ---- reading -------------------------------------------------------------------------------------------------

/// The entries of the list as (name, kind). A line is a section, a kind and a name.
fn listed_entries(list: &str) -> Vec<(String, String)> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut parts = line.splitn(3, ' ').skip(1).map(str::to_owned);
            let kind = parts.next().expect("a kind");
            (parts.next().expect("a name"), kind)
        })
        .collect()
}

/// The rows of six cells: the main tables.
fn rows(map: &str) -> Vec<Row> {
    let rows = table_cells(map).filter(|cells| cells.len() == 6);
    rows.map(|cells| Row {
        name: code_spans(cells[0]).concat(),
        kind: cells[1].to_owned(),
        items: code_spans(cells[2]),
        status: cells[3].to_owned(),
        c_abi: cells[4].to_owned(),
    })
    .collect()
}

/// The rows of three cells: the second table, as name -> items.
fn beyond_the_book(map: &str) -> BTreeMap<String, Vec<String>> {
    let rows = table_cells(map).filter(|cells| cells.len() == 3);
    rows.map(|cells| (code_spans(cells[0]).concat(), code_spans(cells[1]))).collect()
}

fn table_cells(map: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = map.lines().filter(|line| line.starts_with("| `"));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

fn code_spans(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn well_formed(row: &Row) -> bool {
    match row.status.split_once(": ") {
        None => ["built", "C ABI alone"].contains(&row.status.as_str()) && !row.items.is_empty(),
        Some(("not on Linux", why)) => why.len() > 10,
        Some(_) => false,
    }
}

/// Every alias of a file. Comments are blank in the code, so that one in prose is not taken for one.
fn aliases(file: &SourceFile) -> Vec<Alias> {
    let text: Vec<char> = file.text.chars().collect();
    let mut found = Vec::new();
    for at in file.words("alias") {
        let before: String = file.code[at.saturating_sub(40)..at].iter().collect();
        let Some(attribute) = before.trim_end().strip_suffix('(').and_then(|b| b.strip_suffix("doc")) else {
            continue;
        };
        let end = at + file.code[at..].iter().position(|c| *c == ']').expect("an attribute ends");
        let value: String = text[at..end].iter().collect();
        let inner = attribute.trim_end().ends_with("#![");
        let name = if inner { module_name(&file.path) } else { item_after(&file.code, end + 1) };
        let item = container(&file.code[..at]).map_or(name.clone(), |owner| format!("{owner}::{name}"));
        let place = format!("{}:{}", file.path, file.line_of(at));
        let names = value.split('"').skip(1).step_by(2);
        found.extend(names.map(|name| Alias { name: name.into(), item: item.clone(), place: place.clone() }));
    }
    found
}

fn module_name(path: &str) -> String {
    let path = Path::new(path);
    let named = if path.ends_with("mod.rs") { path.parent().unwrap_or(path) } else { path };
    named.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The name of the item that begins at `at`, behind further attributes.
fn item_after(code: &[char], mut at: usize) -> String {
    const BEFORE_A_NAME: [&str; 19] = [
        "pub",
        "crate",
        "capi",
        "super",
        "in",
        "const",
        "unsafe",
        "async",
        "extern",
        "fn",
        "struct",
        "enum",
        "union",
        "type",
        "trait",
        "mod",
        "static",
        "mut",
        "macro_rules",
    ];
    loop {
        at += code[at..].iter().take_while(|c| !in_name(**c) && **c != '#').count();
        if code.get(at) == Some(&'#') {
            at = attribute_end(code, at + 1);
            continue;
        }
        let word: String = code[at..].iter().take_while(|c| in_name(**c)).collect();
        if !BEFORE_A_NAME.contains(&word.as_str()) {
            return word;
        }
        at += word.chars().count();
    }
}

/// The type in whose braces the code ends: a struct, an enum, a trait, or the subject of an `impl`.
fn container(code: &[char]) -> Option<String> {
    let mut open: Vec<String> = Vec::new();
    let mut header = String::new();
    for c in code {
        match c {
            '{' => open.push(std::mem::take(&mut header)),
            '}' => drop(open.pop()),
            _ => {}
        }
        if matches!(c, '{' | '}' | ';') { header.clear() } else { header.push(*c) }
    }
    let header = without_generics(open.last()?);
    let words: Vec<&str> = header.split(|c| !in_name(c)).filter(|word| !word.is_empty()).collect();
    let behind = |word| words.iter().rposition(|w| *w == word).map(|at| words[at + 1].to_owned());
    ["for", "impl", "struct", "enum", "trait"].into_iter().find_map(behind)
}

fn without_generics(header: &str) -> String {
    let mut depth = 0_i32;
    let mut kept = String::new();
    for c in header.replace("->", "").chars() {
        depth += i32::from(c == '<') - i32::from(c == '>');
        if depth == 0 && c != '>' {
            kept.push(c);
        }
    }
    kept
}

fn attribute_end(code: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    for (i, c) in code[start..].iter().enumerate() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return start + i + 1;
        }
    }
    code.len()
}

// ---- comparing -----------------------------------------------------------------------------------------------

/// The name an alias uses for an entry: the list gives a few as `NAME (explanation)` or `ONE/OTHER`.
fn alias_name(entry: &str) -> &str {
    entry.split([' ', '/']).next().unwrap_or(entry)
}

fn is_std(item: &str) -> bool {
    item.starts_with("std::")
}

fn mismatches(rows: &[Row], beyond: &BTreeMap<String, Vec<String>>, aliases: &[Alias]) -> Vec<String> {
    let mut found: Vec<String> =
        rows.iter().filter(|row| row.kind != "rule").filter_map(|row| row_mismatch(row, aliases)).collect();
    let in_book = |name: &str| rows.iter().any(|row| alias_name(&row.name) == name);
    for Alias { name, item, place } in aliases.iter().filter(|alias| !in_book(&alias.name)) {
        let listed = beyond.get(name).is_some_and(|items| items.iter().any(|listed| names(listed, item)));
        if !listed {
            found.push(format!("{place}: add to 'Beyond the book': | `{name}` | `{item}` | ... |"));
        }
    }
    for name in beyond.keys().filter(|name| !aliases.iter().any(|alias| alias.name == **name)) {
        found.push(format!("map: `{name}` is listed beyond the book, but nothing in src/ carries it"));
    }
    found
}

fn row_mismatch(row: &Row, aliases: &[Alias]) -> Option<String> {
    let carriers: Vec<_> = aliases.iter().filter(|alias| alias.name == alias_name(&row.name)).collect();
    let built = row.status == "built";
    let name = &row.name;
    if carriers.is_empty() {
        let std_item = row.items.iter().all(|item| is_std(item));
        return (built && !std_item)
            .then(|| format!("map: `{name}` is built, but nothing in src/ carries it"));
    }
    let named = |alias: &&&Alias| row.items.iter().any(|item| names(item, &alias.item));
    let strangers: Vec<_> = carriers.iter().filter(|alias| !named(alias)).collect();
    let unbuilt =
        (!built).then(|| format!("map: `{name}` is {} and should be built: {carriers:?}", row.status));
    unbuilt
        .or_else(|| (!strangers.is_empty()).then(|| format!("map: `{name}` has another item: {strangers:?}")))
}

/// Whether a path of the map names the item: it may have modules in front.
fn names(path: &str, item: &str) -> bool {
    !is_std(path)
        && path.strip_suffix(item).is_some_and(|modules| modules.is_empty() || modules.ends_with("::"))
}

// ---- the checker is checked ----------------------------------------------------------------------------------

fn row(name: &str, item: &str, status: &str) -> Row {
    let (kind, items, c_abi) = ("function".into(), vec![item.into()], "exported".into());
    Row { name: name.into(), kind, items, status: status.into(), c_abi }
}

fn alias(name: &str, item: &str) -> Alias {
    Alias { name: name.into(), item: item.into(), place: "src/x.rs:1".into() }
}

#[test]
fn each_kind_of_mismatch_is_found() {
    let count = |rows: &[Row], aliases: &[Alias]| mismatches(rows, &BTreeMap::new(), aliases).len();
    let (built, planned) = ("built", "C ABI alone");
    assert_eq!(
        count(&[row("evbuffer_add", "Evbuffer::add", built)], &[alias("evbuffer_add", "Evbuffer::add")]),
        0
    );
    assert_eq!(count(&[row("evbuffer_add", "Evbuffer::add", built)], &[]), 1);
    assert_eq!(count(&[row("evbuffer_add", "Evbuffer::add", planned)], &[]), 0);
    assert_eq!(
        count(&[row("evbuffer_add", "Evbuffer::add", planned)], &[alias("evbuffer_add", "Evbuffer::add")]),
        1
    );
    assert_eq!(
        count(&[row("evbuffer_add", "Evbuffer::add", built)], &[alias("evbuffer_add", "Bufferevent::add")]),
        1
    );
    assert_eq!(count(&[row("evutil_timeradd", "std::time::Duration", built)], &[]), 0);
    assert_eq!(count(&[], &[alias("evwatch_free", "Watcher")]), 1);
    let listed = BTreeMap::from([("evwatch_free".to_owned(), vec!["Watcher".to_owned()])]);
    assert_eq!(mismatches(&[], &listed, &[alias("evwatch_free", "Watcher")]).len(), 0);
    assert_eq!(mismatches(&[], &listed, &[]).len(), 1);
}

#[test]
fn aliases_are_read_with_their_items() {
    let text = "#![doc(alias = \"evutil\")]\n/// Adds. #[doc(alias = \"no\")]\n#[doc(alias = \"a\")]\n#[must_use]\n\
                #[doc(alias(\"b\", \"c\"))]\n/// More.\npub(crate) const unsafe fn add() {}\n\
                enum E {\n    #[doc(alias = \"V\")]\n    Variant,\n}\n\
                bitflags! {\n #[doc(alias = \"S\")]\n struct S: u8 { #[doc(alias = \"F\")] const F = 1; } }\n\
                impl<C: Fn(u8) -> u8> io::Read for Base<C> {\n #[doc(alias = \"m\")]\n fn m(&self) {} }";
    let found = aliases(&SourceFile::made_up("src/util/mod.rs", text));
    let pairs: Vec<_> = found.iter().map(|alias| (alias.name.as_str(), alias.item.as_str())).collect();
    assert_eq!(
        pairs,
        [
            ("evutil", "util"),
            ("a", "add"),
            ("b", "add"),
            ("c", "add"),
            ("V", "E::Variant"),
            ("S", "S"),
            ("F", "S::F"),
            ("m", "Base::m")
        ]
    );
}

#[test]
fn statuses_are_judged() {
    for good in ["built", "C ABI alone", "not on Linux: starts something of Windows"] {
        assert!(well_formed(&row("x", "y", good)), "{good}");
    }
    for bad in ["", "done", "planned: part 6", "C ABI", "not on Linux: ", "built: part 1"] {
        assert!(!well_formed(&row("x", "y", bad)), "{bad}");
    }
}
