//! What a file holds, by its name: mime_guess's table, with the charset that browsers otherwise have to
//! guess.

/// The value of `Content-Type` for a path. Text is declared as UTF-8, which is what text files are today.
pub(crate) fn of(path: &[u8]) -> (&'static str, &'static str) {
    let media_type = extension(path)
        .and_then(|extension| std::str::from_utf8(extension).ok())
        .and_then(|extension| mime_guess::from_ext(extension).first_raw())
        .unwrap_or("application/octet-stream");
    (media_type, if media_type.starts_with("text/") { "; charset=utf-8" } else { "" })
}

/// What follows the last dot of the last component; a name that merely starts with a dot has none.
fn extension(path: &[u8]) -> Option<&[u8]> {
    let name = path.rsplit(|&byte| byte == b'/').next()?;
    let dot = memchr::memrchr(b'.', name)?;
    (dot > 0).then(|| &name[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_name() {
        let table = [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.TXT", "text/plain; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("data.json", "application/json"),
            ("a.tar.gz", "application/gzip"),
            ("photo.jpeg", "image/jpeg"),
            ("clip.mp4", "video/mp4"),
            ("README", "application/octet-stream"),
            (".html", "application/octet-stream"),
            ("a.html/b", "application/octet-stream"),
            ("a.unheard-of", "application/octet-stream"),
            ("", "application/octet-stream"),
        ];
        for (path, expected) in table {
            let (media_type, charset) = of(path.as_bytes());
            assert_eq!(format!("{media_type}{charset}"), expected, "{path}");
        }
        assert_eq!(of(b"a.\xff").0, "application/octet-stream");
    }
}
