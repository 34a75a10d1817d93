//! Unified output, as `git apply` and `patch` take it; the caller writes the two header lines with the names.

use std::ops::Range;

use super::{Comparison, Hunk};

const NO_NEWLINE: &[u8] = b"\n\\ No newline at end of file\n";

/// The hunks with up to `context` shared lines around them (at most the comparison's margin). Empty for equal texts.
pub fn unified(comparison: &Comparison<'_>, context: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = comparison.hunks.as_slice();
    while !rest.is_empty() {
        let joined = |pair: &[Hunk]| pair[1].before.start - pair[0].before.end <= 2 * context;
        let length = 1 + rest.windows(2).take_while(|pair| joined(pair)).count();
        let (group, later) = rest.split_at(length);
        write_group(&mut out, comparison, group, context);
        rest = later;
    }
    out
}

fn write_group(out: &mut Vec<u8>, comparison: &Comparison<'_>, group: &[Hunk], context: usize) {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return };
    let lines = comparison.first + comparison.before.len();
    let lead = context.min(first.before.start - comparison.first);
    let trail = context.min(lines - last.before.end);
    let before = first.before.start - lead..last.before.end + trail;
    let after = first.after.start - lead..last.after.end + trail;
    out.extend(format!("@@ -{} +{} @@\n", numbers(&before), numbers(&after)).into_bytes());
    let mut at = before.start;
    for hunk in group {
        write_lines(out, b' ', comparison, Side::Before, at..hunk.before.start);
        write_lines(out, b'-', comparison, Side::Before, hunk.before.clone());
        write_lines(out, b'+', comparison, Side::After, hunk.after.clone());
        at = hunk.before.end;
    }
    write_lines(out, b' ', comparison, Side::Before, at..before.end);
}

/// `start,length` counted from 1; an empty range is named by the line before it, and a length of 1 goes without.
fn numbers(lines: &Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        length => format!("{},{length}", lines.start + 1),
    }
}

#[derive(Clone, Copy)]
enum Side {
    Before,
    After,
}

fn write_lines(out: &mut Vec<u8>, sign: u8, comparison: &Comparison<'_>, side: Side, lines: Range<usize>) {
    for number in lines {
        let line = match side {
            Side::Before => comparison.before.get(number - comparison.first),
            Side::After => comparison.after.get(number - comparison.first),
        };
        out.push(sign);
        out.extend_from_slice(line);
        if line.last() != Some(&b'\n') {
            out.extend_from_slice(NO_NEWLINE);
        }
    }
}
