//! The merged text, with markers around conflicts.

use super::regions::{Kind, Region, Sides};
use super::{Labels, Style};
use crate::diff::Lines;

const MARKER: usize = 7;

/// Write everything between the shared ends; `first_line` is the base's.
pub fn write(
    out: &mut Vec<u8>,
    sides: &Sides<'_>,
    regions: &[Region],
    first_line: &[u8],
    style: Style,
    labels: Labels<'_>,
) {
    let (ours, theirs) = (&sides.ours.lines, &sides.theirs.lines);
    let mut at = 0;
    for region in regions {
        match region.kind {
            Kind::Same => continue,
            Kind::Ours => out.extend_from_slice(ours.bytes(at..region.ours.end)),
            Kind::Theirs => {
                out.extend_from_slice(ours.bytes(at..region.ours.start));
                out.extend_from_slice(theirs.bytes(region.theirs.clone()));
            }
            Kind::Conflict => {
                out.extend_from_slice(ours.bytes(at..region.ours.start));
                write_conflict(out, sides, region, newline(sides, region, first_line), style, labels);
            }
        }
        at = region.ours.end;
    }
    out.extend_from_slice(ours.bytes(at..ours.len()));
}

fn write_conflict(
    out: &mut Vec<u8>,
    sides: &Sides<'_>,
    region: &Region,
    newline: &[u8],
    style: Style,
    labels: Labels<'_>,
) {
    let part = |out: &mut Vec<u8>, lines: &[u8]| {
        out.extend_from_slice(lines);
        if lines.last().is_some_and(|&byte| byte != b'\n') {
            out.extend_from_slice(newline);
        }
    };
    marker(out, b'<', labels.ours, newline);
    part(out, sides.ours.lines.bytes(region.ours.clone()));
    if style != Style::Merge {
        marker(out, b'|', labels.base, newline);
        part(out, sides.base.lines.bytes(region.base.clone()));
    }
    marker(out, b'=', "", newline);
    part(out, sides.theirs.lines.bytes(region.theirs.clone()));
    marker(out, b'>', labels.theirs, newline);
}

fn marker(out: &mut Vec<u8>, sign: u8, label: &str, newline: &[u8]) {
    out.extend([sign; MARKER]);
    if !label.is_empty() {
        out.push(b' ');
        out.extend_from_slice(label.as_bytes());
    }
    out.extend_from_slice(newline);
}

/// Markers end in CRLF where the base's first line does, unless the lines before the conflict on either side do not.
fn newline(sides: &Sides<'_>, region: &Region, first_line: &[u8]) -> &'static [u8] {
    let ours = ending(&sides.ours.lines, region.ours.start.saturating_sub(1));
    let theirs = ending(&sides.theirs.lines, region.theirs.start.saturating_sub(1));
    let crlf = first_line.ends_with(b"\r\n") && ours != Some(false) && theirs != Some(false);
    if crlf { b"\r\n" } else { b"\n" }
}

/// Does the line end in CRLF? The last line may have no end of its own; then the one before it tells.
fn ending(lines: &Lines<'_>, line: usize) -> Option<bool> {
    let text = lines.get(line);
    match text.last() {
        Some(b'\n') => Some(text.ends_with(b"\r\n")),
        _ if line > 0 => Some(lines.get(line - 1).ends_with(b"\r\n")),
        _ => None,
    }
}
