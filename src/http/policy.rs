//! What the owner of a directory wants, beyond its files being served: listings, compressed siblings, how
//! long files may be kept by whom, and what is shown when there is nothing to show.

use super::{Status, target};
use crate::{Error, Result};

/// The wishes, each with its default.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) listing: bool,
    pub(crate) listing_max: usize,
    pub(crate) precompressed: bool,
    pub(crate) sendfile: bool,
    cache_rules: Vec<CacheRule>,
    error_pages: Vec<(Status, Vec<u8>)>,
}

#[derive(Debug)]
struct CacheRule {
    pattern: String,
    value: String,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            listing: false,
            listing_max: 5000,
            precompressed: false,
            sendfile: true,
            cache_rules: Vec::new(),
            error_pages: Vec::new(),
        }
    }
}

impl Policy {
    pub(crate) fn add_cache_rule(&mut self, pattern: &str, value: &str) -> Result<()> {
        if value.is_empty() || !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(Error::Invalid("a Cache-Control has to be printable ASCII"));
        }
        let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
        self.cache_rules.push(CacheRule { pattern: pattern.to_owned(), value: value.to_owned() });
        Ok(())
    }

    pub(crate) fn add_error_page(&mut self, status: Status, page: &str) -> Result<()> {
        let mut path = Vec::new();
        let decoded = target::decode(page.as_bytes(), &mut path);
        decoded.map_err(|_| {
            Error::Invalid("an error page is named by its path beneath the root, as /404.html")
        })?;
        self.error_pages.retain(|(other, _)| *other != status);
        self.error_pages.push((status, path));
        Ok(())
    }

    /// The `Cache-Control` of the file at `path`.
    pub(crate) fn cache_control(&self, path: &[u8]) -> Option<&str> {
        let rule = self.cache_rules.iter().find(|rule| rule.matches(path))?;
        Some(&rule.value)
    }

    /// The path of the page for `status`.
    pub(crate) fn error_page(&self, status: Status) -> Option<&[u8]> {
        let (_, path) = self.error_pages.iter().find(|(of, _)| *of == status)?;
        Some(path)
    }
}

impl CacheRule {
    fn matches(&self, path: &[u8]) -> bool {
        let name_at = memchr::memrchr(b'/', path).map_or(0, |slash| slash + 1);
        let text = if self.pattern.contains('/') { path } else { &path[name_at..] };
        fast_glob::glob_match(self.pattern.as_bytes(), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let table = [
            ("*.css", "a.css", true),
            ("*.css", "deep/down/a.css", true),
            ("*.css", "a.css/b", false),
            ("*.{css,js}", "x/a.js", true),
            ("/*.css", "a.css", true),
            ("assets/*", "assets/a", true),
            ("assets/*", "assets/a/b", false),
            ("assets/**", "assets/a/b", true),
            ("/assets/**", "assets/a/b", true),
            ("assets/**", "other/assets/a", false),
            ("**/img/*.png", "a/b/img/c.png", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "any/thing", true),
            ("[", "[", false),
        ];
        for (pattern, path, expected) in table {
            let mut policy = Policy::default();
            policy.add_cache_rule(pattern, "no-cache").expect("a value that can be sent");
            assert_eq!(policy.cache_control(path.as_bytes()).is_some(), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let mut policy = Policy::default();
        policy.add_cache_rule("*.html", "no-cache").expect("a rule");
        policy.add_cache_rule("*", "max-age=60").expect("a rule");
        assert_eq!(policy.cache_control(b"a/b.html"), Some("no-cache"));
        assert_eq!(policy.cache_control(b"a/b.\xff"), Some("max-age=60"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let mut policy = Policy::default();
        for value in ["", "a\r\nSet-Cookie: b", "a\0", "\u{e9}"] {
            assert!(policy.add_cache_rule("*", value).is_err(), "{value:?}");
        }
        for path in ["", "404.html", "/../secret", "/a%00", "//a", "/a\\b"] {
            assert!(policy.add_error_page(Status::NotFound, path).is_err(), "{path:?}");
        }
        policy.add_error_page(Status::NotFound, "/a.html").expect("a path");
        policy.add_error_page(Status::NotFound, "/b%20c.html").expect("a path");
        assert_eq!(policy.error_page(Status::NotFound), Some(&b"b c.html"[..]));
        assert_eq!(policy.error_page(Status::Forbidden), None);
    }
}
