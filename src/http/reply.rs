//! The reply to a request for a file: from what its path names to a head and, where there is one, a body
//! behind it in the output.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use super::conditions::{Decision, decide};
use super::date::Clock;
use super::files::{Found, Miss, Moment, StaticFiles};
use super::listing::Sorting;
use super::open_file::OpenFile;
use super::range::Part;
use super::request::{Conditions, Method, Request};
use super::response::{Head, Persistence};
use super::{Status, target};
use crate::{Evbuffer, Result};

/// What is queued of an answer, for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) status: Status,
    /// Bytes of the body.
    pub(crate) bytes: u64,
}

/// Why there is an answer, but not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Later {
    /// The process has no descriptor left to give it with.
    WithDescriptor,
    /// The file is just being written to.
    WithQuiet,
}

/// One reply on its way into the output.
pub(crate) struct Reply<'a> {
    pub(crate) head: &'a mut Head,
    pub(crate) clock: &'a Clock,
    pub(crate) loop_ns: u64,
    pub(crate) method: Method,
    pub(crate) persistence: Persistence,
    pub(crate) output: &'a mut Evbuffer,
}

/// Why a request is not answered with what it asked for. A failure of the buffer is an error beside it.
type Attempt = Result<Result<Queued, Miss>>;

const ALLOW: &[u8] = b"Allow: GET, HEAD, OPTIONS\r\n";

/// A listing is made anew for each request, and has no business fetching or running anything.
const LISTING_FIELDS: &[u8] = b"Cache-Control: no-cache\r\n\
    Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\
    Content-Type: text/html; charset=utf-8\r\n";

impl Reply<'_> {
    /// Answers `request` out of `files`, if there are any, with an error if need be; or not at all, when that has to
    /// wait. `path` is memory to decode the target into.
    pub(crate) fn request(
        &mut self,
        request: &Request<'_>,
        mut files: Option<&mut StaticFiles>,
        path: &mut Vec<u8>,
    ) -> Result<Result<Queued, Later>> {
        let attempt = match files.as_deref_mut() {
            Some(files) => self.try_request(request, files, path)?,
            None => Err(Miss::Refused(Status::NotFound)),
        };
        match attempt {
            Ok(queued) => Ok(Ok(queued)),
            Err(Miss::Refused(status)) => self.error(status, files).map(Ok),
            Err(Miss::NoDescriptor) => Ok(Err(Later::WithDescriptor)),
            Err(Miss::Restless) => Ok(Err(Later::WithQuiet)),
        }
    }

    /// Answers with `status` and the page for it.
    pub(crate) fn error(&mut self, status: Status, files: Option<&mut StaticFiles>) -> Result<Queued> {
        self.head.begin(status, self.clock.text());
        if status == Status::MethodNotAllowed {
            self.head.raw(ALLOW);
        }
        match files.and_then(|files| files.find_error_page(status, self.now())) {
            None => self.short_page(status),
            Some(page) => {
                self.head.raw(page.fields().content_type());
                self.finish_with(page, status, Part { first: 0, length: page.length() })
            }
        }
    }

    fn now(&self) -> Moment {
        Moment { loop_ns: self.loop_ns, unix_seconds: self.clock.second() }
    }

    fn try_request(&mut self, request: &Request<'_>, files: &mut StaticFiles, path: &mut Vec<u8>) -> Attempt {
        match request.method {
            Method::Other => return Ok(Err(Miss::Refused(Status::MethodNotAllowed))),
            Method::Options if request.target == "*" => return self.options().map(Ok),
            _ => {}
        }
        let text = request.target.as_bytes();
        if let Err(refusal) = target::decode(text, path) {
            return Ok(Err(Miss::Refused(refusal.status())));
        }
        let conditions = &request.conditions;
        match files.find(path, conditions.accept_encoding.as_slice(), self.now()) {
            Err(miss) => Ok(Err(miss)),
            Ok(_) if request.method == Method::Options => self.options().map(Ok),
            Ok(Found::File(file)) => self.file(file, conditions),
            Ok(Found::MissingSlash) => self.redirect(text),
            Ok(Found::Directory(fd)) => self.listing(files, path, &fd, text),
        }
    }

    /// What may be done with a file, or with the server as a whole: the same for all of them.
    fn options(&mut self) -> Result<Queued> {
        self.head.begin(Status::NoContent, self.clock.text());
        self.head.raw(ALLOW);
        self.finish_without_body(Status::NoContent)
    }

    /// Answers with `file`, or the part of it that `conditions` ask for.
    fn file(&mut self, file: &OpenFile, conditions: &Conditions<'_>) -> Attempt {
        let total = file.length();
        let queued = match decide(self.method, conditions, file.validators(), total) {
            Decision::PreconditionFailed => return Ok(Err(Miss::Refused(Status::PreconditionFailed))),
            Decision::Whole => {
                self.head.begin(Status::Ok, self.clock.text());
                self.head.raw(file.fields().all());
                self.finish_with(file, Status::Ok, Part { first: 0, length: total })
            }
            Decision::Part(part) => {
                self.head.begin(Status::PartialContent, self.clock.text());
                self.head.content_range(part.first, part.length, total);
                self.head.raw(file.fields().all());
                self.finish_with(file, Status::PartialContent, part)
            }
            Decision::Parts(parts) => self.parts(file, &parts),
            Decision::NotModified => {
                self.head.begin(Status::NotModified, self.clock.text());
                self.head.raw(file.fields().validators());
                self.finish_without_body(Status::NotModified)
            }
            Decision::Unsatisfiable => {
                self.head.begin(Status::RangeNotSatisfiable, self.clock.text());
                self.head.unsatisfied_range(total);
                self.short_page(Status::RangeNotSatisfiable)
            }
        };
        queued.map(Ok)
    }

    /// Several parts of `file`, each with a head of its own (multipart/byteranges).
    fn parts(&mut self, file: &OpenFile, parts: &[Part]) -> Result<Queued> {
        let boundary = boundary();
        let heads: Vec<Vec<u8>> = parts.iter().map(|part| part_head(file, *part, boundary)).collect();
        let tail = format!("\r\n--{boundary}--\r\n");
        let of_heads: usize = heads.iter().map(Vec::len).sum();
        let of_parts: u64 = parts.iter().map(|part| part.length).sum();
        let length = of_parts + (of_heads + tail.len()) as u64;
        self.head.begin(Status::PartialContent, self.clock.text());
        self.head.raw(file.fields().but_content_type());
        self.head.raw(b"Content-Type: multipart/byteranges; boundary=");
        self.head.raw(boundary.as_bytes());
        self.head.raw(b"\r\n");
        self.head.content_length(length);
        self.output.add(self.head.finish(self.persistence))?;
        for (head, part) in heads.into_iter().zip(parts) {
            self.output.add(&head)?;
            file.append_part(self.output, part.first, part.length)?;
        }
        self.output.add(tail.as_bytes())?;
        Ok(Queued { status: Status::PartialContent, bytes: length })
    }

    /// Sends the client to the same target with a slash behind its path, where links in the page will be right.
    fn redirect(&mut self, text: &[u8]) -> Attempt {
        let Ok((path, query)) = target::split(text) else {
            return Ok(Err(Miss::Refused(Status::BadRequest)));
        };
        self.head.begin(Status::MovedPermanently, self.clock.text());
        for part in [b"Location: ", path, b"/", query, b"\r\n"] {
            self.head.raw(part);
        }
        self.short_page(Status::MovedPermanently).map(Ok)
    }

    fn listing(&mut self, files: &mut StaticFiles, path: &[u8], fd: &OwnedFd, text: &[u8]) -> Attempt {
        let query = target::split(text).map_or(&b""[..], |(_, query)| query);
        let Ok(page) = files.listing_page(path, fd, Sorting::of_query(query), self.now()) else {
            return Ok(Err(Miss::Refused(Status::InternalServerError)));
        };
        let length = page.len() as u64;
        self.head.begin(Status::Ok, self.clock.text());
        self.head.raw(LISTING_FIELDS);
        self.head.content_length(length);
        self.output.add(self.head.finish(self.persistence))?;
        if self.method == Method::Head {
            return Ok(Ok(Queued { status: Status::Ok, bytes: 0 }));
        }
        self.output.add_reference(page)?;
        Ok(Ok(Queued { status: Status::Ok, bytes: length }))
    }

    /// Finishes a head whose body is `part` of `file`.
    fn finish_with(&mut self, file: &OpenFile, status: Status, part: Part) -> Result<Queued> {
        self.head.content_length(part.length);
        self.output.add(self.head.finish(self.persistence))?;
        if self.method == Method::Head {
            return Ok(Queued { status, bytes: 0 });
        }
        file.append_to(self.output, part.first, part.length)?;
        Ok(Queued { status, bytes: part.length })
    }

    fn finish_without_body(&mut self, status: Status) -> Result<Queued> {
        self.output.add(self.head.finish(self.persistence))?;
        Ok(Queued { status, bytes: 0 })
    }

    /// Finishes a head whose body is the short page for `status`.
    fn short_page(&mut self, status: Status) -> Result<Queued> {
        let with_body = self.method != Method::Head;
        let (bytes, page_len) = self.head.finish_with_page(status, self.persistence, with_body);
        self.output.add(bytes)?;
        Ok(Queued { status, bytes: page_len })
    }
}

fn part_head(file: &OpenFile, part: Part, boundary: &str) -> Vec<u8> {
    let mut head = Vec::with_capacity(192);
    // A vector takes any write.
    let _ = write!(head, "\r\n--{boundary}\r\n");
    head.extend_from_slice(file.fields().content_type());
    let (first, last, total) = (part.first, part.first + part.length - 1, file.length());
    let _ = write!(head, "Content-Range: bytes {first}-{last}/{total}\r\n\r\n");
    head
}

/// What separates parts: random, so that no file can have been written to contain it.
fn boundary() -> &'static str {
    static BOUNDARY: OnceLock<String> = OnceLock::new();
    BOUNDARY.get_or_init(|| {
        let random = RandomState::new();
        format!("{:016x}{:016x}", random.hash_one(1), random.hash_one(2))
    })
}
