//! The bytes of one open file, decompressed where it is compressed.

use super::config::Compression;
use super::identity::read_behind;
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Result, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The largest zstd window that is accepted: 128 MiB, what the command-line tool accepts.
const ZSTD_WINDOW_LOG: u32 = 27;
const COMPRESSED_BUFFER: usize = 128 << 10;

/// A file's content.
pub enum Stream {
    /// As it is.
    Plain(File),
    /// Any number of gzip members.
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
    /// Any number of zstd frames.
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<File>>>),
}

/// How a file is compressed, by its first bytes; `None` while it has too few to tell.
pub fn detect(file: &File, at_end: bool) -> Result<Option<Compression>> {
    let mut head = [0; 4];
    let n = file.read_at(&mut head, 0)?;
    Ok(if n >= 2 && head[..2] == GZIP {
        Some(Compression::Gzip)
    } else if n == 4 && head == ZSTD {
        Some(Compression::Zstd)
    } else if n == 4 || at_end || !ZSTD.starts_with(&head[..n]) {
        Some(Compression::None)
    } else {
        None
    })
}

impl Stream {
    /// Starts at `offset` of the content; a compressed file is read up to there.
    pub fn open(file: File, compression: Compression, offset: u64) -> Result<Stream> {
        let mut stream = match compression {
            Compression::Gzip => Stream::Gzip(Box::new(MultiGzDecoder::new(rewound(file)?))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(rewound(file)?)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Stream::Zstd(Box::new(decoder))
            }
            Compression::None | Compression::Auto => {
                let mut file = file;
                file.seek(SeekFrom::Start(offset))?;
                return Ok(Stream::Plain(file));
            }
        };
        stream.skip(offset)?;
        Ok(stream)
    }

    /// The file beneath.
    pub fn file(&self) -> &File {
        match self {
            Stream::Plain(file) => file,
            Stream::Gzip(d) => d.get_ref().get_ref(),
            Stream::Zstd(d) => d.get_ref().get_ref(),
        }
    }

    /// True if an offset in the content is an offset in the file.
    pub fn is_plain(&self) -> bool {
        matches!(self, Stream::Plain(_))
    }

    /// Appends what comes to `buf`, about its spare capacity at most; 0 at the end. Bytes that came
    /// before an error are in `buf` when it is returned.
    pub fn read(&mut self, buf: &mut Vec<u8>) -> Result<usize> {
        match self {
            Stream::Plain(file) => read_behind(file, buf),
            Stream::Gzip(d) => read_some(d, buf),
            Stream::Zstd(d) => read_some(d, buf),
        }
    }

    fn skip(&mut self, mut offset: u64) -> Result<()> {
        let mut scratch = Vec::with_capacity(COMPRESSED_BUFFER);
        while offset > 0 {
            scratch.clear();
            let want = offset.min(COMPRESSED_BUFFER as u64);
            let n = match self {
                Stream::Plain(_) => return Ok(()),
                Stream::Gzip(d) => d.as_mut().take(want).read_to_end(&mut scratch)?,
                Stream::Zstd(d) => d.as_mut().take(want).read_to_end(&mut scratch)?,
            };
            if n == 0 {
                return Err(std::io::Error::new(
                    ErrorKind::UnexpectedEof,
                    format!("the content ends {offset} bytes before the position"),
                ));
            }
            offset -= n as u64;
        }
        Ok(())
    }
}

fn rewound(mut file: File) -> Result<BufReader<File>> {
    file.seek(SeekFrom::Start(0))?;
    Ok(BufReader::with_capacity(COMPRESSED_BUFFER, file))
}

fn read_some(from: &mut impl Read, buf: &mut Vec<u8>) -> Result<usize> {
    let room = (buf.capacity() - buf.len()) as u64;
    from.take(room.max(1)).read_to_end(buf)
}
