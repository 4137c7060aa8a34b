//! Writes the entries of an image as one layer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};

use anyhow::{Context as _, Result};
use flate2::{GzBuilder, write::GzEncoder};

use crate::contents::{Entry, Kind};
use crate::digest::DigestWriter;

/// Compression of a layer in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None: for a node of this machine, which would unpack it at once.
    None,
    /// gzip: for a registry.
    Gzip,
}

impl Compression {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        }
    }
}

/// A written layer.
pub(crate) struct Layer {
    /// The layer's bytes, compressed or not. The position is at their end.
    pub(crate) file: File,
    /// Digest of these bytes.
    pub(crate) digest: String,
    /// Number of these bytes.
    pub(crate) size: u64,
    /// Digest before compression.
    pub(crate) diff_id: String,
    /// Size before compression.
    pub(crate) unpacked: u64,
}

/// Writes a layer to `file`. Every entry has the modification time `mtime`, in seconds since 1970.
pub(crate) fn write(
    entries: &BTreeMap<String, Entry>,
    mtime: u64,
    compression: Compression,
    file: File,
) -> Result<Layer> {
    let out = DigestWriter::new(BufWriter::with_capacity(1 << 20, file));
    let (out, of_tar) = match compression {
        Compression::None => (write_tar(entries, mtime, out)?, None),
        Compression::Gzip => {
            // Without a name and a time, which would change the digest.
            let encoder: GzEncoder<_> = GzBuilder::new().write(out, flate2::Compression::default());
            let (encoder, diff_id, unpacked) =
                write_tar(entries, mtime, DigestWriter::new(encoder))?.finish();
            (encoder.finish()?, Some((diff_id, unpacked)))
        }
    };
    let (file, digest, size) = out.finish();
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    let (diff_id, unpacked) = of_tar.unwrap_or_else(|| (digest.clone(), size));
    Ok(Layer { file, digest, size, diff_id, unpacked })
}

fn write_tar<W: Write>(entries: &BTreeMap<String, Entry>, mtime: u64, out: W) -> Result<W> {
    let mut tar = tar::Builder::new(out);
    for (path, entry) in entries {
        append(&mut tar, path, entry, mtime).with_context(|| format!("cannot add /{path}"))?;
    }
    Ok(tar.into_inner()?)
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, entry: &Entry, mtime: u64) -> Result<()> {
    match &entry.kind {
        Kind::Folder => {
            let mut header = header(tar::EntryType::Directory, entry.mode, mtime, 0);
            tar.append_data(&mut header, path, io::empty())?;
        }
        Kind::Text(text) => {
            let mut header = header(tar::EntryType::Regular, entry.mode, mtime, text.len() as u64);
            tar.append_data(&mut header, path, text.as_bytes())?;
        }
        Kind::File(source) => {
            let file = File::open(source).with_context(|| format!("cannot read {}", source.display()))?;
            let mut header = header(tar::EntryType::Regular, entry.mode, mtime, file.metadata()?.len());
            tar.append_data(&mut header, path, BufReader::new(file))?;
        }
        Kind::Link(to) => {
            let mut header = header(tar::EntryType::Symlink, entry.mode, mtime, 0);
            tar.append_link(&mut header, path, to)?;
        }
    }
    Ok(())
}

/// The header of an entry that belongs to root.
pub(crate) fn header(kind: tar::EntryType, mode: u32, mtime: u64, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    header.set_size(size);
    header
}
