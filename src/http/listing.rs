//! A directory as a page: readable without script and without anything from elsewhere, in the light or the
//! dark that the reader's system is set to, sorted by links.
//!
//! Names come from whoever may write to the directory, so they are text in the page and nothing else: escaped
//! where they are shown, percent-encoded where they are linked.

use std::cmp::Ordering;
use std::fmt::{self, Write};

use super::date;

/// What a listing shows of a directory.
#[derive(Debug)]
pub(crate) struct Items {
    pub(crate) list: Vec<Item>,
    /// Whether nothing was left out because there are too many.
    pub(crate) are_all: bool,
}

impl Default for Items {
    fn default() -> Self {
        Items { list: Vec::new(), are_all: true }
    }
}

/// A line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) length: u64,
    /// Seconds since 1970.
    pub(crate) modified: u64,
}

/// Directories come first, whatever the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// Whether `name` may be shown: not hidden, and one that a request can name.
pub(crate) fn is_public(name: &[u8]) -> bool {
    !name.starts_with(b".") && !name.contains(&b'\\')
}

/// How a listing is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sorting {
    column: Column,
    descending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    Size,
    Date,
}

impl Column {
    const ALL: [(Column, &'static str, &'static str); 3] =
        [(Column::Name, "name", "Name"), (Column::Size, "size", "Size"), (Column::Date, "date", "Modified")];
}

impl Sorting {
    /// What a query asks for; by name, ascending, where it says nothing that is understood.
    pub(crate) fn of_query(query: &[u8]) -> Sorting {
        let mut sorting = Sorting { column: Column::Name, descending: false };
        let query = query.strip_prefix(b"?").unwrap_or(query);
        for pair in query.split(|&byte| byte == b'&') {
            match pair {
                b"order=desc" => sorting.descending = true,
                b"order=asc" => sorting.descending = false,
                _ => {
                    let of = |&(_, key, _): &(Column, &str, &str)| {
                        pair.strip_prefix(b"sort=") == Some(key.as_bytes())
                    };
                    sorting.column = Column::ALL.into_iter().find(of).map_or(sorting.column, |found| found.0);
                }
            }
        }
        sorting
    }

    fn compare(self, a: &Item, b: &Item) -> Ordering {
        let by_column = match self.column {
            Column::Name => Ordering::Equal,
            Column::Size => a.length.cmp(&b.length),
            Column::Date => a.modified.cmp(&b.modified),
        };
        let ordering = by_column.then_with(|| a.name.cmp(&b.name));
        a.kind.cmp(&b.kind).then(if self.descending { ordering.reverse() } else { ordering })
    }
}

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c2024;--paper:#fff;--faint:#6b7280;--line:#e5e7eb;--link:#0b57d0}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--paper:#16181c;--faint:#9aa0aa;--line:#2d3138;--link:#8ab4f8}}
body{margin:2rem auto;max-width:60rem;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
h1{font-size:1.25rem;font-weight:600;overflow-wrap:anywhere}
table{width:100%;border-collapse:collapse}
th,td{padding:.35rem .5rem;text-align:left;border-bottom:1px solid var(--line)}
td:first-child{overflow-wrap:anywhere}
th:nth-child(2),td:nth-child(2){text-align:right}
th+th,td+td{width:1%;white-space:nowrap}
td+td{color:var(--faint);font-variant-numeric:tabular-nums}
@media(max-width:30rem){th:nth-child(3),td:nth-child(3){display:none}}
a{color:var(--link);text-decoration:none}a:hover,a:focus{text-decoration:underline}
p{color:var(--faint)}
";

/// The page for the directory at `path`, as [`target::decode`](super::target::decode) made it.
pub(crate) fn page(path: &[u8], mut items: Items, sorting: Sorting) -> Vec<u8> {
    items.list.sort_unstable_by(|a, b| sorting.compare(a, b));
    let mut page = String::with_capacity(2048 + 160 * items.list.len());
    // Writing to a string cannot fail.
    let _ = write_page(&mut page, path, &items, sorting);
    page.into_bytes()
}

fn write_page(page: &mut String, path: &[u8], items: &Items, sorting: Sorting) -> fmt::Result {
    let is_root = path == b".";
    let title = if is_root { b"" } else { path };
    write!(page, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n")?;
    writeln!(page, "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">")?;
    write!(page, "<title>/{}</title>\n<style>{STYLE}</style>\n", Escaped(title))?;
    write!(page, "<h1>/{}</h1>\n<table>\n<thead><tr>", Escaped(title))?;
    Column::ALL.iter().try_for_each(|column| write_heading(page, column, sorting))?;
    writeln!(page, "</tr></thead>\n<tbody>")?;
    if !is_root {
        writeln!(page, "<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>")?;
    }
    items.list.iter().try_for_each(|item| write_item(page, item))?;
    writeln!(page, "</tbody>\n</table>")?;
    match (items.are_all, items.list.len()) {
        (false, count) => writeln!(page, "<p>There are more than these {count}.</p>"),
        (true, 0) => writeln!(page, "<p>There is nothing here.</p>"),
        (true, _) => Ok(()),
    }
}

/// A column's heading: a link that sorts by it, or the other way round if that is how it is sorted.
fn write_heading(page: &mut String, column: &(Column, &str, &str), sorting: Sorting) -> fmt::Result {
    let (column, key, label) = *column;
    let (aria, mark, order) = match (sorting.column == column, sorting.descending) {
        (false, _) => ("", "", "asc"),
        (true, false) => (" aria-sort=\"ascending\"", " \u{2191}", "desc"),
        (true, true) => (" aria-sort=\"descending\"", " \u{2193}", "asc"),
    };
    write!(page, "<th scope=\"col\"{aria}><a href=\"?sort={key}&amp;order={order}\">{label}</a>{mark}</th>")
}

fn write_item(page: &mut String, item: &Item) -> fmt::Result {
    let slash = if item.kind == Kind::Directory { "/" } else { "" };
    let (link, name) = (Linked(&item.name), Escaped(&item.name));
    write!(page, "<tr><td><a href=\"{link}{slash}\">{name}{slash}</a></td><td>")?;
    match item.kind {
        Kind::Directory => page.write_str("\u{2013}")?,
        Kind::File => write!(page, "{}", Size(item.length))?,
    }
    let date = date::format(item.modified);
    // "06 Nov 1994 08:49" out of "Sun, 06 Nov 1994 08:49:37 GMT".
    writeln!(page, "</td><td>{}</td></tr>", Escaped(&date[5..22]))
}

/// Text in a page or in an attribute. What is not UTF-8, or would be obeyed rather than shown, is replaced.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in String::from_utf8_lossy(self.0).chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Controls, and those that turn the direction of what follows.
                _ if character.is_control() => f.write_char('\u{fffd}')?,
                '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    f.write_char('\u{fffd}')?;
                }
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// A name as a relative link. Everything that could mean something is encoded, the colon too: `a:b` would be
/// of the scheme `a`.
struct Linked<'a>(&'a [u8]);

impl fmt::Display for Linked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| match byte {
            _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => f.write_char(byte as char),
            _ => write!(f, "%{byte:02X}"),
        })
    }
}

/// A count of bytes as people read it.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let (mut value, mut unit) = (self.0 as f64 / 1024.0, 0);
        // 1023.95 would be shown as 1024.0.
        while value >= 1023.95 && unit + 1 < units.len() {
            (value, unit) = (value / 1024.0, unit + 1);
        }
        write!(f, "{value:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, kind: Kind, length: u64, modified: u64) -> Item {
        Item { name: name.into(), kind, length, modified }
    }

    #[test]
    fn sizes() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn names_are_text_and_nothing_else() {
        assert_eq!(
            Escaped(b"<a href='x'>\"&\n\xff").to_string(),
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\u{fffd}\u{fffd}"
        );
        assert_eq!(Escaped("\u{202e}gpj.exe".as_bytes()).to_string(), "\u{fffd}gpj.exe");
        assert_eq!(Linked(b"a b:c?#%\"<\xff/~").to_string(), "a%20b%3Ac%3F%23%25%22%3C%FF%2F~");
    }

    #[test]
    fn every_order_has_directories_first() {
        let items = vec![
            item("b", Kind::File, 1, 30),
            item("a", Kind::File, 2, 10),
            item("c", Kind::File, 1, 20),
            item("z", Kind::Directory, 0, 5),
            item("y", Kind::Directory, 0, 6),
        ];
        let table: [(&[u8], &str); 8] = [
            (b"", "yzabc"),
            (b"?sort=name&order=desc", "zycba"),
            (b"?sort=size", "yzbca"),
            (b"?sort=size&order=desc", "zyacb"),
            (b"?sort=date", "zyacb"),
            (b"?order=desc&sort=date", "yzbca"),
            (b"?sort=colour&order=up", "yzabc"),
            (b"?sort=<script>", "yzabc"),
        ];
        for (query, expected) in table {
            let sorting = Sorting::of_query(query);
            let mut sorted = items.clone();
            sorted.sort_by(|a, b| sorting.compare(a, b));
            let names: Vec<u8> = sorted.iter().flat_map(|item| item.name.clone()).collect();
            assert_eq!(names, expected.as_bytes(), "{}", query.escape_ascii());
        }
    }

    #[test]
    fn a_page() {
        let list = vec![item("a&b.txt", Kind::File, 2048, 784_111_777)];
        let sorting = Sorting::of_query(b"?sort=size");
        let page = page(b"sub/", Items { list, are_all: false }, sorting);
        let page = String::from_utf8(page).expect("UTF-8");
        for part in [
            "<title>/sub/</title>",
            "<a href=\"../\">",
            "<td><a href=\"a%26b.txt\">a&amp;b.txt</a></td><td>2.0 KiB</td><td>06 Nov 1994 08:49</td>",
            "<th scope=\"col\" aria-sort=\"ascending\"><a href=\"?sort=size&amp;order=desc\">",
            "more than these 1",
            "prefers-color-scheme:dark",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains("<script") && !page.contains("http"), "nothing from elsewhere");
    }
}
