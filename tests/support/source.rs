//! The crate's own sources as data, for the tests that check the house's rules: the files of a directory, and
//! their code with comments and literals blanked out, so that a word in prose is never taken for code.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file: its path from the repository's root, its text, and the same text with comments and literals
/// replaced by spaces. Both texts have the same lines and the same columns.
#[derive(Debug, Clone)]
pub struct SourceFile {
    pub path: String,
    pub text: String,
    pub code: Vec<char>,
}

impl SourceFile {
    /// A file that is not on the disk, for tests of the checkers themselves.
    pub fn made_up(path: &str, text: &str) -> Self {
        SourceFile { path: path.to_owned(), text: text.to_owned(), code: blank(text) }
    }

    /// The line, from 1, that holds the character at `at`.
    pub fn line_of(&self, at: usize) -> usize {
        1 + self.code[..at].iter().filter(|c| **c == '\n').count()
    }

    /// Where `word` stands alone in the code, not as a part of a longer name.
    pub fn words(&self, word: &str) -> Vec<usize> {
        let word: Vec<char> = word.chars().collect();
        let starts = 0..self.code.len().saturating_sub(word.len() - 1);
        starts
            .filter(|at| self.code[*at..].starts_with(&word) && self.stands_alone(*at, word.len()))
            .collect()
    }

    fn stands_alone(&self, at: usize, len: usize) -> bool {
        let before = at.checked_sub(1).map(|i| self.code[i]);
        let after = self.code.get(at + len);
        !before.is_some_and(in_name) && !after.is_some_and(|c| in_name(*c))
    }
}

/// Whether `c` can be part of a name.
pub fn in_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the repository.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file under the directory `dir`, sorted by path; none if there is no such directory.
pub fn rust_files(dir: &str) -> Vec<SourceFile> {
    let mut paths = Vec::new();
    collect(&root().join(dir), &mut paths);
    paths.sort();
    paths.iter().map(|path| load(path)).collect()
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("a directory of the repository can be read").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn load(path: &Path) -> SourceFile {
    let relative = path.strip_prefix(root()).expect("a file of the repository");
    let relative = relative.to_str().expect("paths here are UTF-8");
    SourceFile::made_up(relative, &read(relative))
}

/// The text with every comment, string and character literal replaced by spaces; line ends stay.
pub fn blank(text: &str) -> Vec<char> {
    let mut out: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < out.len() {
        let end = literal_end(&out, at);
        for c in &mut out[at..end] {
            *c = if *c == '\n' { '\n' } else { ' ' };
        }
        at = end.max(at + 1);
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn literal_end(text: &[char], at: usize) -> usize {
    let after_name = at > 0 && in_name(text[at - 1]);
    match (text[at], text.get(at + 1)) {
        ('/', Some('/')) => at + text[at..].iter().position(|c| *c == '\n').unwrap_or(text.len() - at),
        ('/', Some('*')) => block_comment_end(text, at),
        ('"', _) => string_end(text, at + 1),
        ('r', Some('"' | '#')) if !after_name || is_string_prefix(text, at - 1) => raw_string_end(text, at),
        ('\'', Some('\\')) => char_end(text, at + 3),
        ('\'', Some(_)) if text.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

/// Whether the character at `at` is the `b` or `c` of `br"..."` or `cr"..."`.
fn is_string_prefix(text: &[char], at: usize) -> bool {
    matches!(text[at], 'b' | 'c') && (at == 0 || !in_name(text[at - 1]))
}

fn block_comment_end(text: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at + 1 < text.len() {
        match (text[at], text[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn string_end(text: &[char], start: usize) -> usize {
    let mut at = start;
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// A raw string ends at the quote that is followed by as many hashes as it began with; `r#name` is no string.
fn raw_string_end(text: &[char], start: usize) -> usize {
    let hashes = text[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return start;
    }
    let closes = |at: usize| {
        text[at] == '"' && text[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (open + 1..text.len()).find(|at| closes(*at)).map_or(text.len(), |at| at + 1 + hashes)
}

fn char_end(text: &[char], start: usize) -> usize {
    text[start.min(text.len())..].iter().position(|c| *c == '\'').map_or(text.len(), |n| start + n + 1)
}
