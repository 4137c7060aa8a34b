//! Columns of text, as kubectl prints them.

use std::io::Write;
use tabwriter::TabWriter;

/// A table with a header. Empty without rows.
pub(crate) fn render<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut writer = TabWriter::new(Vec::new()).padding(3);
    let lines = std::iter::once(header.join("\t")).chain(rows.iter().map(|row| row.join("\t")));
    for line in lines {
        // A vector takes every write.
        let _ = writeln!(writer, "{line}");
    }
    let bytes = writer.into_inner().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
