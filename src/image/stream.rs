//! Streams that are measured as they are read: digest, length, and no more than allowed.
//!
//! What comes from outside may claim any size and expand without end; whoever reads sets how much may come
//! next ([`Tap::allow`]), so that neither memory nor disk is at the mercy of a header.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read};
use std::rc::Rc;
use std::str::FromStr;

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::{Error, Result};

/// A SHA-256 digest, as 64 hex digits; fit to be the name of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::new().chain_update(bytes))
    }

    fn from_hash(hash: Sha256) -> Self {
        Self(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }

    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let fits = hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if fits {
            Ok(Self(hex.to_owned()))
        } else {
            let shown = super::error::readable(text.as_bytes());
            Err(Error::form(format!("`{shown}` is no sha256 digest")))
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// A stream whose digest and length are known when it has been read. Clones are the same stream.
#[derive(Clone)]
pub struct Tap(Rc<RefCell<State>>);

struct State {
    inner: Box<dyn Read>,
    hash: Sha256,
    left: u64,
}

impl Tap {
    pub fn new(inner: impl Read + 'static) -> Self {
        Self(Rc::new(RefCell::new(State {
            inner: Box::new(inner),
            hash: Sha256::new(),
            left: u64::MAX,
        })))
    }

    /// So many bytes may come, and then an error.
    pub fn allow(&self, bytes: u64) {
        self.0.borrow_mut().left = bytes;
    }

    /// Reads what is left, at most `rest` bytes; the digest of it all.
    ///
    /// # Errors
    /// The stream is broken, or longer.
    pub fn finish(self, rest: u64) -> io::Result<Digest> {
        self.allow(rest);
        io::copy(&mut self.clone(), &mut io::sink())?;
        let hash = self.0.borrow().hash.clone();
        Ok(Digest::from_hash(hash))
    }
}

impl Read for Tap {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        let most = buffer
            .len()
            .min(usize::try_from(state.left).unwrap_or(usize::MAX));
        if most == 0 && !buffer.is_empty() {
            // The end is no excess.
            return match state.inner.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::Error::other("a header is longer than any should be")),
            };
        }
        let count = state.inner.read(&mut buffer[..most])?;
        state.hash.update(&buffer[..count]);
        state.left -= count as u64;
        Ok(count)
    }
}

/// The stream as it was before it was compressed, whichever way that was.
///
/// # Errors
/// It cannot be read, or is compressed in a way that is not read here.
pub fn decompressed(mut stream: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut first = Vec::with_capacity(6);
    (&mut stream).take(6).read_to_end(&mut first)?;
    let kind = kind(&first);
    let whole = io::Cursor::new(first).chain(stream);
    match kind {
        Kind::Plain => Ok(Box::new(whole)),
        Kind::Gzip => Ok(Box::new(MultiGzDecoder::new(whole))),
        Kind::Zstd => Ok(Box::new(Zstd::new(whole))),
        Kind::Other(name) => Err(io::Error::other(format!(
            "it is compressed with {name}: decompress it first; gzip and zstd are read"
        ))),
    }
}

/// How something is compressed, by its first bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Gzip,
    Zstd,
    Other(&'static str),
}

#[must_use]
pub fn kind(first: &[u8]) -> Kind {
    match first {
        [0x1f, 0x8b, ..] => Kind::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Kind::Zstd,
        [b'B', b'Z', b'h', ..] => Kind::Other("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Kind::Other("xz"),
        _ => Kind::Plain,
    }
}

/// All frames of a zstd stream, one after the other.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    inside: bool,
}

impl<R: Read> Zstd<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            decoder: FrameDecoder::new(),
            inside: false,
        }
    }

    /// Whether there is a further frame.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            let mut first = [0];
            if self.source.read(&mut first)? == 0 {
                return Ok(false);
            }
            let from_first = io::Cursor::new(first).chain(&mut self.source);
            match self.decoder.init(from_first) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut (&mut self.source).take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.inside {
                self.inside = self.begin()?;
                if !self.inside {
                    return Ok(0);
                }
            }
            while self.decoder.can_collect() < buffer.len() && !self.decoder.is_finished() {
                let wanted = BlockDecodingStrategy::UptoBytes(buffer.len());
                self.decoder
                    .decode_blocks(&mut self.source, wanted)
                    .map_err(|error| io::Error::other(error.to_string()))?;
            }
            let count = self.decoder.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            let promised = self.decoder.get_checksum_from_data();
            if promised.is_some() && promised != self.decoder.get_calculated_checksum() {
                return Err(io::Error::other("the checksum of a zstd frame is wrong"));
            }
            self.inside = false;
        }
    }
}
