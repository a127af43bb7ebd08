//! A regular file as it was when it was opened, and all that responses say of it: bytes, length and
//! validators come from one descriptor, so they cannot belong to two different files.
//!
//! A small file is read at once and its descriptor closed, so that it cannot change under its answers: the smallest are kept as
//! bytes and leave in one call with their heads, others as sealed files in memory, which `sendfile` need not copy. A larger one stays a descriptor from here to `sendfile`, and may be written to on the way.
//! So the last bytes of each of its answers wait in memory, behind the question whether the file is still what the
//! head says of it; if it is not, they never leave, and the connection ends in the middle of the body:
//!
//! ```text
//!   [ head ][ File: all but the last page ] (still the same?) [ the last page ]
//! ```
//!
//! What `sendfile` sends stays a page of the file until the client has it, and whoever overwrites the file in place
//! changes it there, where nobody can see that. Hence files that were changed lately, which are those that will be
//! changed again, are copied on their way.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use bytes::Bytes;

use super::conditions::Validators;
use super::encoding::{Coding, Codings};
use super::{content_type, date};
use crate::buffer::FileSegment;
use crate::{Error, Evbuffer, Result, sys};

/// Files of up to this many bytes are kept in memory, where they cannot change.
pub(crate) const IN_MEMORY_MAX: u64 = 128 << 10;

/// Of those, files of more than this many bytes are kept as files in memory: the copy that `sendfile` spares costs more than the call.
const AS_BYTES_MAX: usize = 8 << 10;

/// The last page of an answer, which waits for the others to turn out well.
const LAST_MAX: u64 = 4096;

/// How often a file that changes while it is read is read again.
const READS_MAX: usize = 3;

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// When its content was last changed, in seconds and nanoseconds since 1970.
    pub(crate) fn modified(&self) -> (i64, i64) {
        self.modified
    }

    /// Whether this file was changed before `other` was.
    pub(crate) fn is_older_than(&self, other: &Identity) -> bool {
        self.modified < other.modified
    }

    /// Whether a further change would show: the file's clock has moved on since the last one.
    fn is_at_rest(&self, unix_seconds: u64) -> bool {
        let last = self.modified.0.max(self.changed.0);
        u64::try_from(last).unwrap_or(0).saturating_add(1) < unix_seconds
    }

    /// As an entity tag. The inode and the nanoseconds tell apart what a size and a date do not.
    fn tag(&self) -> String {
        let Identity { inode, length, modified: (seconds, nanoseconds), .. } = self;
        format!("\"{inode:x}-{length:x}-{seconds:x}.{nanoseconds:x}\"")
    }
}

/// What a file is served as, apart from what it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Role<'a> {
    /// The name that says what it holds.
    pub(crate) name: &'a [u8],
    /// The file is a sibling of the one that was asked for, in this coding.
    pub(crate) coding: Option<Coding>,
    /// The codings in which the file has siblings.
    pub(crate) siblings: Codings,
    /// The value of `Cache-Control`.
    pub(crate) cache_control: Option<&'a str>,
}

/// See the top of this file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    content: Content,
    identity: Identity,
    siblings: Codings,
    /// Seconds since 1970, never in the future.
    modified: u64,
    at_rest: bool,
    fields: Fields,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    /// A copy in memory that nobody can change, for `sendfile`.
    Copy(FileSegment),
    File(FileSegment),
}

impl OpenFile {
    /// `fd`, which was found to be a file of this `identity`.
    pub(crate) fn new(
        fd: OwnedFd,
        identity: Identity,
        role: &Role<'_>,
        keeping: Keeping,
        unix_seconds: u64,
    ) -> io::Result<OpenFile> {
        let (content, identity) = Content::of(File::from(fd), identity, keeping, unix_seconds)?;
        // A date in the future would be no use to the client, and RFC 9110 forbids it.
        let modified = u64::try_from(identity.modified.0).unwrap_or(0).min(unix_seconds);
        let at_rest = identity.is_at_rest(unix_seconds);
        let fields = Fields::new(&identity.tag(), modified, at_rest, role);
        Ok(OpenFile { content, identity, siblings: role.siblings, modified, at_rest, fields })
    }

    /// Whether this is still the file of that `identity`, with those siblings, beyond doubt.
    pub(crate) fn is_still(&self, identity: &Identity, siblings: Codings) -> bool {
        self.at_rest && self.identity == *identity && self.siblings == siblings
    }

    /// Whether the bytes are still those that the fields are about, so that an answer can be begun with them.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.content {
            Content::Memory(_) | Content::Copy(_) => true,
            Content::File(segment) => segment.keeps_promise().is_ok(),
        }
    }

    /// Whether the file was left alone for so long that it may be believed for a while.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.at_rest
    }

    pub(crate) fn length(&self) -> u64 {
        self.identity.length
    }

    /// How many bytes are kept in memory.
    pub(crate) fn memory_len(&self) -> usize {
        match &self.content {
            Content::Memory(bytes) => bytes.len(),
            Content::Copy(segment) => segment.len() as usize,
            Content::File(_) => 0,
        }
    }

    pub(crate) fn siblings(&self) -> Codings {
        self.siblings
    }

    pub(crate) fn validators(&self) -> Validators<'_> {
        Validators { tag: self.fields.tag(), modified: self.modified, are_strong: self.at_rest }
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Adds `length` bytes from `first` to `output`, as the end of an answer: the last of them will only leave if all
    /// were of one state of the file.
    pub(crate) fn append_to(&self, output: &mut Evbuffer, first: u64, length: u64) -> Result<()> {
        let Content::File(segment) = &self.content else { return self.append_part(output, first, length) };
        // The file part ends with a page, which is what sendfile likes best.
        let end = first + length;
        let last = if length <= LAST_MAX { length } else { (end - 1) % LAST_MAX + 1 };
        let bytes = read(segment.file(), end - last, last)?;
        match length - last {
            0 => segment.keeps_promise()?,
            before => output.add_file_segment(segment, first, Some(before))?,
        }
        output.add_reference(bytes)
    }

    /// Adds `length` bytes from `first` to `output`, without copying one. Something has to follow that the answer is not
    /// whole without.
    pub(crate) fn append_part(&self, output: &mut Evbuffer, first: u64, length: u64) -> Result<()> {
        match &self.content {
            // What is in memory has offsets that memory can have.
            Content::Memory(bytes) => {
                output.add_reference(bytes.slice(first as usize..(first + length) as usize))
            }
            Content::Copy(segment) | Content::File(segment) => {
                output.add_file_segment(segment, first, Some(length))
            }
        }
    }
}

/// How files are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keeping {
    /// Files of up to so many bytes are read, larger ones stay descriptors.
    pub(crate) memory_max: u64,
    /// Whether those that are at rest may leave by `sendfile`; all others are copied.
    pub(crate) sendfile: bool,
}

impl Content {
    /// The content of `file`, and the state of the file that it is of. A file that keeps changing while it is
    /// read stays a file: its answers are then likely to be cut short.
    fn of(
        file: File,
        identity: Identity,
        keeping: Keeping,
        unix_seconds: u64,
    ) -> io::Result<(Content, Identity)> {
        let mut identity = identity;
        for _ in 0..READS_MAX {
            if identity.length > keeping.memory_max {
                break;
            }
            let at_rest = identity.is_at_rest(unix_seconds);
            let bytes = read_at_once(&file, identity.length, at_rest);
            let after = Identity::of(&file.metadata()?);
            if after == identity
                && let Some(bytes) = bytes
            {
                return Ok((Content::kept(bytes, keeping.sendfile && at_rest), identity));
            }
            identity = after;
        }
        let metadata = file.metadata()?;
        let identity = Identity::of(&metadata);
        let segment = FileSegment::options()
            .unchanged_since(&metadata)
            .sendfile(keeping.sendfile && identity.is_at_rest(unix_seconds))
            .open(file, 0, Some(identity.length));
        Ok((Content::File(segment.map_err(io::Error::from)?), identity))
    }

    /// The form in which `bytes` are cheapest to send. What will be read again soon is not worth a file of its own.
    fn kept(bytes: Bytes, is_lasting: bool) -> Content {
        if bytes.len() > AS_BYTES_MAX
            && is_lasting
            && let Ok(file) = sys::fs::sealed_copy(&bytes)
            && let Ok(segment) = FileSegment::new(file, 0, Some(bytes.len() as u64))
        {
            return Content::Copy(segment);
        }
        Content::Memory(bytes)
    }
}

/// All `length` bytes of `file`, if they were there together at some moment. Of a file that is at rest any two looks show
/// the same; of another one that says nothing as long as a write is under way, so there it is really looked twice.
fn read_at_once(file: &File, length: u64, at_rest: bool) -> Option<Bytes> {
    let bytes = read(file, 0, length).ok()?;
    (at_rest || read(file, 0, length).is_ok_and(|again| again == bytes)).then_some(bytes)
}

fn read(file: &File, first: u64, length: u64) -> Result<Bytes> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, first).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::ShortFile,
        _ => Error::Io(error),
    })?;
    Ok(bytes.into())
}

/// The fields of a file's answers, ready to send. What each kind of answer says is a prefix of them.
///
/// ```text
///   Last-Modified, ETag, Vary, Cache-Control | Accept-Ranges, Content-Encoding | Content-Type
///   <------------ not modified ------------->
///   <------------------------- several parts ------------------------>
///   <----------------------------------- whole, or one part ---------------------->
/// ```
#[derive(Debug)]
pub(crate) struct Fields {
    text: Box<[u8]>,
    tag: (u16, u16),
    validators_len: u16,
    content_type_at: u16,
}

impl Fields {
    fn new(tag: &str, modified: u64, at_rest: bool, role: &Role<'_>) -> Fields {
        let mut text = Text(Vec::with_capacity(256));
        text.line(&["Last-Modified: "], &date::format(modified));
        text.0.extend_from_slice(if at_rest { b"ETag: " } else { b"ETag: W/" });
        let tag_at = text.0.len() as u16;
        text.line(&[], tag.as_bytes());
        if role.coding.is_some() || !role.siblings.is_empty() {
            text.line(&["Vary: "], b"Accept-Encoding");
        }
        if let Some(value) = role.cache_control {
            text.line(&["Cache-Control: "], value.as_bytes());
        }
        let validators_len = text.0.len() as u16;
        text.line(&["Accept-Ranges: "], b"bytes");
        if let Some(coding) = role.coding {
            text.line(&["Content-Encoding: "], coding.name().as_bytes());
        }
        let content_type_at = text.0.len() as u16;
        let (media_type, charset) = content_type::of(role.name);
        text.line(&["Content-Type: ", media_type], charset.as_bytes());
        let tag = (tag_at, tag_at + tag.len() as u16);
        Fields { text: text.0.into_boxed_slice(), tag, validators_len, content_type_at }
    }

    fn tag(&self) -> &[u8] {
        &self.text[usize::from(self.tag.0)..usize::from(self.tag.1)]
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[u8] {
        &self.text
    }

    /// Those of an answer without a body.
    pub(crate) fn validators(&self) -> &[u8] {
        &self.text[..usize::from(self.validators_len)]
    }

    /// All but `Content-Type`.
    pub(crate) fn but_content_type(&self) -> &[u8] {
        &self.text[..usize::from(self.content_type_at)]
    }

    /// `Content-Type` alone.
    pub(crate) fn content_type(&self) -> &[u8] {
        &self.text[usize::from(self.content_type_at)..]
    }
}

struct Text(Vec<u8>);

impl Text {
    fn line(&mut self, start: &[&str], end: &[u8]) {
        start.iter().for_each(|part| self.0.extend_from_slice(part.as_bytes()));
        self.0.extend_from_slice(end);
        self.0.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    const PLAIN: Role<'_> =
        Role { name: b"name.txt", coding: None, siblings: Codings::NONE, cache_control: None };

    const KEEPING: Keeping = Keeping { memory_max: 100, sendfile: true };

    /// `file`, served as `name.txt` and found at rest.
    pub(crate) fn opened(file: File, memory_max: u64) -> OpenFile {
        let identity = Identity::of(&file.metadata().expect("metadata"));
        let keeping = Keeping { memory_max, ..KEEPING };
        OpenFile::new(file.into(), identity, &PLAIN, keeping, u64::MAX).expect("a regular file")
    }

    fn file_with(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(bytes).expect("room");
        file
    }

    #[test]
    fn the_content_is_the_same_from_memory_and_from_the_file() {
        for memory_max in [0, 9, 10, 11] {
            let file = opened(file_with(b"0123456789"), memory_max);
            assert_eq!(file.memory_len(), if memory_max < 10 { 0 } else { 10 });
            let mut output = Evbuffer::new();
            file.append_to(&mut output, 2, 3).expect("memory");
            file.append_to(&mut output, 10, 0).expect("memory");
            assert_eq!(output.pullup(3).expect("three bytes"), b"234");
            assert_eq!(output.len(), 3);
        }
    }

    #[test]
    fn a_state_that_is_no_longer_the_file_s_is_not_kept() {
        let file = file_with(b"0123456789");
        let before = Identity::of(&file.metadata().expect("metadata"));
        file.set_len(4).expect("its length");
        let changed = OpenFile::new(file.into(), before, &PLAIN, KEEPING, u64::MAX).expect("a regular file");
        assert_eq!((changed.length(), changed.memory_len()), (4, 4), "length and bytes are of one state");
    }

    #[test]
    fn a_file_is_at_rest_when_its_clock_has_moved_on() {
        let file = file_with(b"x");
        let identity = Identity::of(&file.metadata().expect("metadata"));
        let last = identity.changed.0 as u64;
        let role = Role { coding: Some(Coding::Gzip), cache_control: Some("no-cache"), ..PLAIN };
        for (now, prefix) in [(last, "W/\""), (last + 1, "W/\""), (last + 2, "\"")] {
            let file = file.try_clone().expect("a descriptor");
            let open = OpenFile::new(file.into(), identity, &role, KEEPING, now).expect("a regular file");
            let text = String::from_utf8(open.fields().all().to_vec()).expect("ASCII");
            assert!(text.contains(&format!("\r\nETag: {prefix}")), "{text}");
            assert_eq!(open.validators().are_strong, now == last + 2);
            assert!(
                open.fields().validators().ends_with(b"Vary: Accept-Encoding\r\nCache-Control: no-cache\r\n")
            );
            assert!(open.fields().but_content_type().ends_with(b"Content-Encoding: gzip\r\n"));
            assert_eq!(open.fields().content_type(), b"Content-Type: text/plain; charset=utf-8\r\n");
        }
    }

    #[test]
    fn a_copy_that_is_kept_cannot_be_changed() {
        let mut copy = sys::fs::sealed_copy(b"fixed").expect("memory");
        assert!(copy.set_len(1).is_err() && copy.set_len(9).is_err() && copy.write_all(b"x").is_err());
        assert_eq!(&read(&copy, 0, 5).expect("readable")[..], b"fixed");
    }
}
