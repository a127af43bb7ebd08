//! The document with places for what is measured: text between two marks is put there by machines, all other text by people.
//!
//! ```text
//! <!-- measured: echo -->
//! ...
//! <!-- end -->
//! ```

use std::fs;
use std::path::{Path, PathBuf};

const END: &str = "<!-- end -->";

pub(crate) struct Document {
    text: String,
    target: PathBuf,
}

impl Document {
    /// Reads `source`, to be written to `target`.
    pub(crate) fn open(source: &Path, target: PathBuf) -> Document {
        let text = fs::read_to_string(source).expect("the document is there");
        Document { text, target }
    }

    /// Puts `block` in the place called `name`, instead of what is there.
    ///
    /// # Panics
    /// When there is no such place.
    pub(crate) fn put(&mut self, name: &str, block: &str) {
        let mark = format!("<!-- measured: {name} -->\n");
        let (before, rest) = self.text.split_once(&mark).unwrap_or_else(|| panic!("a place for {name:?}"));
        let (_, after) = rest.split_once(END).expect("each place has an end");
        self.text = format!("{before}{mark}\n{}\n\n{END}{after}", block.trim());
    }

    pub(crate) fn save(&self) {
        fs::write(&self.target, &self.text).expect("the document can be written");
    }
}
