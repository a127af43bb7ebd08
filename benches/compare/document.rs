//! The document with places for what is measured: text between two marks is put there by machines, all other text by people.
//!
//! ```text
//! <!-- measured: echo -->
//! ...
//! <!-- end -->
//! ```

use std::fs;
use std::path::PathBuf;

const END: &str = "<!-- end -->";

pub(crate) struct Document {
    source: PathBuf,
    target: PathBuf,
    /// What has been measured and is not written yet, by the names of its places.
    blocks: Vec<(String, String)>,
}

impl Document {
    /// The document `source`, which is written to `target`.
    pub(crate) fn new(source: PathBuf, target: PathBuf) -> Document {
        Document { source, target, blocks: Vec::new() }
    }

    /// Puts `block` in the place called `name`, instead of what is there, with the next [`save`](Self::save).
    pub(crate) fn put(&mut self, name: &str, block: &str) {
        self.blocks.push((name.to_owned(), block.to_owned()));
    }

    /// Reads the document, which people may have changed meanwhile, and writes it with what was measured.
    ///
    /// # Panics
    /// When there is no place for something.
    pub(crate) fn save(&mut self) {
        let text = fs::read_to_string(&self.source).expect("the document is there");
        let text = self.blocks.iter().fold(text, |text, (name, block)| with_block(&text, name, block));
        fs::write(&self.target, text).expect("the document can be written");
        self.blocks.clear();
    }
}

fn with_block(text: &str, name: &str, block: &str) -> String {
    let mark = format!("<!-- measured: {name} -->\n");
    let (before, rest) = text.split_once(&mark).unwrap_or_else(|| panic!("a place for {name:?}"));
    let (_, after) = rest.split_once(END).expect("each place has an end");
    format!("{before}{mark}\n{}\n\n{END}{after}", block.trim())
}
