//! A reproducible archive: its entries belong to root and have one time.

use std::path::Path;

use anyhow::Result;
use flate2::{Compression, GzBuilder, write::GzEncoder};

/// A tar archive, compressed with gzip.
pub(crate) struct Archive {
    tar: tar::Builder<GzEncoder<Vec<u8>>>,
    created: u64,
}

impl Archive {
    /// An archive whose files have the time `created`.
    pub(crate) fn new(created: u64) -> Self {
        let gzip = GzBuilder::new().write(Vec::new(), Compression::default());
        Self { tar: tar::Builder::new(gzip), created }
    }

    /// Adds a file.
    pub(crate) fn add(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_mtime(self.created);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        Ok(self.tar.append_data(&mut header, path, content)?)
    }

    /// The bytes of the archive.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        Ok(self.tar.into_inner()?.finish()?)
    }
}
