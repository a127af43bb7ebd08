//! The traits of std that a queue of bytes is expected to have. Those of `bytes` are [`Reader`](super::Reader)'s and
//! [`Reservation`](super::Reservation)'s, which have what can fail behind them.

use std::fmt;
use std::io::{self, BufRead, IoSlice, IoSliceMut, Read, Write};

use bytes::Bytes;

use super::Evbuffer;

impl Read for Evbuffer {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        Ok(self.remove(target)?)
    }

    fn read_vectored(&mut self, targets: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut total = 0;
        for target in targets {
            match self.remove(target) {
                Ok(count) => total += count,
                Err(error) if total == 0 => return Err(error.into()),
                // What was read is read; the error comes with the next call.
                Err(_) => break,
            }
        }
        Ok(total)
    }
}

impl Write for Evbuffer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.add(data)?;
        Ok(data.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(self.add_io_slices(slices)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for Evbuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes()).map_err(|_| fmt::Error)
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

impl Extend<Bytes> for Evbuffer {
    /// Adds each without copying it.
    ///
    /// # Panics
    /// When one is refused: the back is frozen, the limit is reached or memory is short. `Extend` has no other way to say so;
    /// [`Evbuffer::add_reference`] has.
    fn extend<T: IntoIterator<Item = Bytes>>(&mut self, all: T) {
        for bytes in all {
            self.add_reference(bytes).expect("the buffer takes what it is extended by");
        }
    }
}

impl FromIterator<Bytes> for Evbuffer {
    /// A buffer of all of them, without copying any.
    ///
    /// # Panics
    /// When there is no memory for the descriptors.
    fn from_iter<T: IntoIterator<Item = Bytes>>(all: T) -> Self {
        let mut buffer = Evbuffer::new();
        buffer.extend(all);
        buffer
    }
}
