//! The traits of std that a queue of bytes is expected to have.

use std::io::{self, BufRead, Read, Write};

use bytes::Bytes;

use super::Evbuffer;

impl Read for Evbuffer {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        Ok(self.remove(target)?)
    }
}

impl Write for Evbuffer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.add(data)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BufRead for Evbuffer {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.materialise(0, 1)?;
        Ok(self.pullup(self.contiguous_len())?)
    }

    fn consume(&mut self, count: usize) {
        // A frozen front refuses, and `consume` has no way to say so; `fill_buf` then shows the same bytes again.
        let _ = self.drain(count);
    }
}

impl From<Bytes> for Evbuffer {
    fn from(bytes: Bytes) -> Self {
        let mut buffer = Evbuffer::new();
        // One node, inline, not frozen, and no longer than an allocation: nothing here can fail.
        let _ = buffer.add_reference(bytes);
        buffer
    }
}

impl From<Vec<u8>> for Evbuffer {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Evbuffer {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static [u8]> for Evbuffer {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<&'static str> for Evbuffer {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}
