//! Applying edits and unified diffs: all of them or none.
//!
//! Models miscount lines and lose white space, so places are found by content: exactly and only there; else where the
//! lines are the same but for white space, and only there. A place that is not found or not the only one is an
//! error that says which edit it was and which lines come nearest.

use std::ops::Range;

use memchr::memmem;

/// Replace `search` by `replace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub search: Vec<u8>,
    pub replace: Vec<u8>,
}

/// Why nothing was applied; edits and hunks are numbered from 0, lines from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyError {
    /// Found nowhere; `line` starts the stretch that shares most lines with it, 0 where none shares any.
    NotFound { edit: usize, line: usize },
    /// Found more than once; the first two places.
    Ambiguous { edit: usize, lines: [usize; 2] },
    /// Two edits change the same bytes.
    Overlap { edit: usize },
    /// Not a unified diff: the line of the diff that cannot be read.
    Malformed { line: usize },
}

impl std::fmt::Display for ApplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound { edit, line: 0 } => {
                write!(f, "edit {edit} is found nowhere, and nothing is like it")
            }
            Self::NotFound { edit, line } => {
                write!(f, "edit {edit} is found nowhere; nearest is line {line}")
            }
            Self::Ambiguous { edit, lines: [a, b] } => {
                write!(f, "edit {edit} is found at line {a} and at line {b}")
            }
            Self::Overlap { edit } => write!(f, "edit {edit} changes what another changes"),
            Self::Malformed { line } => write!(f, "line {line} is not of a unified diff"),
        }
    }
}

impl std::error::Error for ApplyError {}

/// Apply edits to a text; each is looked up in the text as it was given.
///
/// # Errors
/// `ApplyError`; nothing is applied then. An empty search is found in an empty text only.
pub fn apply_edits(text: &[u8], edits: &[Edit]) -> Result<Vec<u8>, ApplyError> {
    let places = edits.iter().enumerate().map(|(edit, wanted)| {
        let range = find(text, &wanted.search, edit)?;
        Ok(Place { edit, range, replace: &wanted.replace })
    });
    splice(text, places.collect::<Result<_, _>>()?)
}

/// Apply a unified diff of one file (its header lines, if any, are passed over).
///
/// A hunk goes where it says if its lines stand there, else where they stand once.
///
/// # Errors
/// `ApplyError`; nothing is applied then.
pub fn apply_unified(text: &[u8], patch: &[u8]) -> Result<Vec<u8>, ApplyError> {
    let hunks = parse(patch)?;
    let starts = line_starts(text);
    let places = hunks.iter().enumerate().map(|(edit, hunk)| {
        let search = &hunk.edit.search;
        let start = starts.get(hunk.line).copied().unwrap_or(text.len());
        let stated = start..start + search.len();
        // Without context a hunk says nothing but its number.
        let range = if text.get(stated.clone()) == Some(search) { stated } else { find(text, search, edit)? };
        Ok(Place { edit, range, replace: &hunk.edit.replace })
    });
    splice(text, places.collect::<Result<_, _>>()?)
}

struct Place<'a> {
    edit: usize,
    range: Range<usize>,
    replace: &'a [u8],
}

fn splice(text: &[u8], mut places: Vec<Place<'_>>) -> Result<Vec<u8>, ApplyError> {
    places.sort_by_key(|place| (place.range.start, place.range.end));
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    for place in places {
        if place.range.start < at {
            return Err(ApplyError::Overlap { edit: place.edit });
        }
        out.extend_from_slice(&text[at..place.range.start]);
        out.extend_from_slice(place.replace);
        at = place.range.end;
    }
    out.extend_from_slice(&text[at..]);
    Ok(out)
}

fn find(text: &[u8], search: &[u8], edit: usize) -> Result<Range<usize>, ApplyError> {
    if search.is_empty() {
        return if text.is_empty() { Ok(0..0) } else { Err(ApplyError::NotFound { edit, line: 0 }) };
    }
    if let Some(first) = memmem::find(text, search) {
        return match memmem::rfind(text, search) {
            Some(last) if last != first => {
                Err(ApplyError::Ambiguous { edit, lines: [line_of(text, first), line_of(text, last)] })
            }
            _ => Ok(first..first + search.len()),
        };
    }
    find_loosely(text, search, edit)
}

/// The search's lines without regard to white space.
fn find_loosely(text: &[u8], search: &[u8], edit: usize) -> Result<Range<usize>, ApplyError> {
    let starts = line_starts(text);
    let lines: Vec<u64> = starts.windows(2).map(|pair| essence(&text[pair[0]..pair[1]])).collect();
    let wanted: Vec<u64> = search.split_inclusive(|&byte| byte == b'\n').map(essence).collect();
    let blank = essence(b"");
    if wanted.iter().all(|&line| line == blank) {
        return Err(ApplyError::NotFound { edit, line: 0 });
    }
    let range = |at: usize| starts[at]..starts[at + wanted.len()];
    // Hashes find, bytes decide.
    let same = |at: &usize| lines[*at..].starts_with(&wanted) && ink(&text[range(*at)]).eq(ink(search));
    let mut found = (0..(lines.len() + 1).saturating_sub(wanted.len())).filter(same);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(without_newline(text, range(at), search)),
        (Some(a), Some(b)) => Err(ApplyError::Ambiguous { edit, lines: [a + 1, b + 1] }),
        (None, _) => Err(ApplyError::NotFound { edit, line: nearest(&lines, &wanted, blank) }),
    }
}

/// Where most of the wanted lines stand at their distance from each other; blank ones do not count.
fn nearest(lines: &[u64], wanted: &[u64], blank: u64) -> usize {
    let mut votes = std::collections::BTreeMap::<usize, usize>::new();
    for (i, line) in wanted.iter().enumerate().filter(|(_, line)| **line != blank) {
        // A line that is everywhere says little about where.
        for (at, _) in lines.iter().enumerate().filter(|(_, other)| *other == line).take(64) {
            *votes.entry((at + 1).saturating_sub(i).max(1)).or_default() += 1;
        }
    }
    votes
        .into_iter()
        .max_by_key(|&(line, votes)| (votes, std::cmp::Reverse(line)))
        .map_or(0, |(line, _)| line)
}

/// A hash of a line's bytes without its white space.
fn essence(line: &[u8]) -> u64 {
    ink(line)
        .fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

fn ink(text: &[u8]) -> impl Iterator<Item = &u8> {
    text.iter().filter(|byte| !byte.is_ascii_whitespace())
}

/// A search without a final newline does not take the one of the lines it stands for.
fn without_newline(text: &[u8], range: Range<usize>, search: &[u8]) -> Range<usize> {
    let spare = search.last() != Some(&b'\n') && text[range.clone()].last() == Some(&b'\n');
    range.start..range.end - usize::from(spare)
}

fn line_of(text: &[u8], at: usize) -> usize {
    1 + text[..at].iter().filter(|&&byte| byte == b'\n').count()
}

/// Starts of the lines, then the end of the text.
fn line_starts(text: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    starts.extend(memchr::memchr_iter(b'\n', text).map(|at| at + 1));
    if starts.last() != Some(&text.len()) {
        starts.push(text.len());
    }
    starts
}

struct PatchHunk {
    /// Of the first text, from 0.
    line: usize,
    edit: Edit,
}

fn parse(patch: &[u8]) -> Result<Vec<PatchHunk>, ApplyError> {
    let mut hunks: Vec<PatchHunk> = Vec::new();
    // Lines that the header of the current hunk still promises, before and after.
    let (mut before, mut after) = (0_usize, 0_usize);
    let mut last = b' ';
    for (i, line) in patch.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let malformed = ApplyError::Malformed { line: i + 1 };
        if before + after == 0 && line.starts_with(b"@@ ") {
            let (start, lengths) = header(line).ok_or(malformed)?;
            (before, after) = lengths;
            let line = if before == 0 { start } else { start.saturating_sub(1) };
            hunks.push(PatchHunk { line, edit: Edit { search: Vec::new(), replace: Vec::new() } });
            continue;
        }
        let Some(hunk) = hunks.last_mut() else { continue };
        let (&sign, rest) = line.split_first().ok_or(malformed.clone())?;
        if sign == b'\\' {
            drop_newline(&mut hunk.edit, last);
            continue;
        }
        if before + after == 0 {
            continue;
        }
        // An editor may have stripped the space of an empty context line.
        let (sign, rest) = if sign == b'\n' { (b' ', line) } else { (sign, rest) };
        let (old, new) = match sign {
            b' ' => (1, 1),
            b'-' => (1, 0),
            b'+' => (0, 1),
            _ => return Err(malformed),
        };
        before = before.checked_sub(old).ok_or(malformed.clone())?;
        after = after.checked_sub(new).ok_or(malformed)?;
        if old == 1 {
            hunk.edit.search.extend_from_slice(rest);
        }
        if new == 1 {
            hunk.edit.replace.extend_from_slice(rest);
        }
        last = sign;
    }
    let lines = patch.split(|&byte| byte == b'\n').count();
    if before + after > 0 || hunks.is_empty() && !patch.is_empty() {
        return Err(ApplyError::Malformed { line: lines });
    }
    Ok(hunks)
}

/// "No newline at end of file" speaks of the line above it.
fn drop_newline(edit: &mut Edit, sign: u8) {
    if sign != b'+' {
        edit.search.pop_if(|byte| *byte == b'\n');
    }
    if sign != b'-' {
        edit.replace.pop_if(|byte| *byte == b'\n');
    }
}

/// Start in the first text and both lengths, of `@@ -start,length +start,length @@`.
fn header(line: &[u8]) -> Option<(usize, (usize, usize))> {
    let line = std::str::from_utf8(line.get(..line.len().min(100))?).ok()?;
    let mut fields = line.strip_prefix("@@ ")?.split(' ');
    let (start, before) = range(fields.next()?.strip_prefix('-')?)?;
    let (_, after) = range(fields.next()?.strip_prefix('+')?)?;
    (fields.next()?.trim_end() == "@@").then_some((start, (before, after)))
}

fn range(field: &str) -> Option<(usize, usize)> {
    match field.split_once(',') {
        Some((start, length)) => Some((start.parse().ok()?, length.parse().ok()?)),
        None => Some((field.parse().ok()?, 1)),
    }
}
