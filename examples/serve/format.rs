//! One request as one line. What clients send is hostile: whatever could end a line, close a quote or move a terminal's
//! cursor is written as an escape.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::ZonedDateTime;
use zerovent::http::Served;

/// What a client that leaves before it is answered is logged as; nginx made it usual.
const CLIENT_LEFT: u16 = 499;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Common,
    Combined,
    Json,
}

impl Format {
    pub(crate) fn named(name: &str) -> Option<Format> {
        match name {
            "common" => Some(Format::Common),
            "combined" => Some(Format::Combined),
            "json" => Some(Format::Json),
            _ => None,
        }
    }

    fn date(self) -> &'static str {
        match self {
            Format::Common | Format::Combined => "%d/%b/%Y:%H:%M:%S %z",
            Format::Json => "%Y-%m-%dT%H:%M:%S%:z",
        }
    }
}

/// Writes lines; knows what time it is without working it out for each of them.
#[derive(Debug)]
pub(crate) struct Lines {
    format: Format,
    second: u64,
    date: String,
}

impl Lines {
    pub(crate) fn new(format: Format) -> Lines {
        Lines { format, second: u64::MAX, date: String::new() }
    }

    /// Appends a line to `out`.
    pub(crate) fn write(&mut self, served: &Served<'_>, out: &mut Vec<u8>) {
        self.refresh();
        // A vector takes any write.
        let _ = match self.format {
            Format::Json => self.json(served, out),
            Format::Common => self.common(served, out),
            Format::Combined => self.common(served, out).and_then(|()| combined(served, out)),
        };
        out.push(b'\n');
    }

    fn refresh(&mut self) {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        if second != self.second {
            self.second = second;
            self.date = ZonedDateTime::now().strftime(self.format.date()).to_string();
        }
    }

    fn common(&self, served: &Served<'_>, out: &mut Vec<u8>) -> std::io::Result<()> {
        match served.peer {
            Some(peer) => write!(out, "{}", peer.ip())?,
            None => out.push(b'-'),
        }
        write!(out, " - - [{}] \"", self.date)?;
        match served.method {
            "-" => out.push(b'-'),
            method => {
                escape(method.as_bytes(), out);
                out.push(b' ');
                escape(served.target.as_bytes(), out);
                write!(out, " {}", served.version)?;
            }
        }
        match served.bytes {
            0 => write!(out, "\" {} -", code(served)),
            bytes => write!(out, "\" {} {bytes}", code(served)),
        }
    }

    fn json(&self, served: &Served<'_>, out: &mut Vec<u8>) -> std::io::Result<()> {
        write!(out, "{{\"time\":\"{}\"", self.date)?;
        if let Some(peer) = served.peer {
            write!(out, ",\"client\":\"{}\",\"port\":{}", peer.ip(), peer.port())?;
        }
        let texts = [
            ("method", Some(served.method.as_bytes())),
            ("target", Some(served.target.as_bytes())),
            ("version", Some(served.version.as_bytes())),
            ("referer", served.referer),
            ("user_agent", served.user_agent),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                write!(out, ",\"{name}\":\"")?;
                escape_json(value, out);
                out.push(b'"');
            }
        }
        let (bytes, complete, us) = (served.bytes, served.complete, served.duration.as_micros());
        write!(out, ",\"status\":{},\"bytes\":{bytes}", code(served))?;
        write!(out, ",\"complete\":{complete},\"duration_us\":{us}}}")
    }
}

fn combined(served: &Served<'_>, out: &mut Vec<u8>) -> std::io::Result<()> {
    for field in [served.referer, served.user_agent] {
        out.extend_from_slice(b" \"");
        escape(field.unwrap_or(b"-"), out);
        out.push(b'"');
    }
    Ok(())
}

fn code(served: &Served<'_>) -> u16 {
    served.status.map_or(CLIENT_LEFT, |status| status.code())
}

/// Leaves printable ASCII, but for what ends or escapes a quote.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

/// JSON in ASCII alone; what is not UTF-8 is replaced.
fn escape_json(text: &[u8], out: &mut Vec<u8>) {
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
            ' '..='~' => out.push(character as u8),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
}
