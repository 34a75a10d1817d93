//! Where the sides changed the base, and who wins.

use std::ops::Range;

use super::Style;
use crate::diff::{Algorithm, Interner, Numbered, align};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Theirs,
    Conflict,
    /// Found equal on a second look.
    Same,
}

/// A stretch that at least one side changed, in the lines of all three texts.
#[derive(Debug, Clone)]
pub struct Region {
    pub kind: Kind,
    pub base: Range<usize>,
    pub ours: Range<usize>,
    pub theirs: Range<usize>,
}

pub struct Sides<'a> {
    pub base: Numbered<'a>,
    pub ours: Numbered<'a>,
    pub theirs: Numbered<'a>,
}

/// The regions in order. Changes that both sides made alike are no region: ours has them.
pub fn regions(
    interner: &Interner<'_>,
    sides: &Sides<'_>,
    algorithm: Algorithm,
    style: Style,
) -> Vec<Region> {
    let mut regions = pair_up(interner, sides, algorithm);
    match style {
        // The base stands between the sides, so what they share inside a conflict stays.
        Style::Diff3 => {}
        Style::Zdiff3 => regions.iter_mut().for_each(|region| shrink(sides, region)),
        Style::Merge => {
            regions =
                regions.into_iter().flat_map(|region| refine(interner, sides, algorithm, region)).collect();
            regions = join_near(sides, regions);
        }
    }
    regions
}

/// A change of one side, as lines of the base and of the side.
struct Change {
    base: Range<usize>,
    side: Range<usize>,
}

fn changes(
    interner: &Interner<'_>,
    base: &Numbered<'_>,
    side: &Numbered<'_>,
    algorithm: Algorithm,
) -> Vec<Change> {
    let lines = |range: Range<u32>| range.start as usize..range.end as usize;
    let hunks = align(interner, &base.tokens, &side.tokens, algorithm);
    hunks.map(|hunk| Change { base: lines(hunk.before), side: lines(hunk.after) }).collect()
}

fn pair_up(interner: &Interner<'_>, sides: &Sides<'_>, algorithm: Algorithm) -> Vec<Region> {
    let ours = changes(interner, &sides.base, &sides.ours, algorithm);
    let theirs = changes(interner, &sides.base, &sides.theirs, algorithm);
    let (mut i, mut j) = (0, 0);
    let mut regions = Vec::new();
    loop {
        // Outside its changes a side runs along the base at the distance that its changes so far made.
        let ours_at = |base: usize| along(&ours[..i], base);
        let theirs_at = |base: usize| along(&theirs[..j], base);
        match (ours.get(i), theirs.get(j)) {
            (None, None) => return regions,
            (Some(a), b) if b.is_none_or(|b| a.base.end < b.base.start) => {
                let theirs = theirs_at(a.base.start)..theirs_at(a.base.end);
                push(
                    &mut regions,
                    Region { kind: Kind::Ours, base: a.base.clone(), ours: a.side.clone(), theirs },
                );
                i += 1;
            }
            (a, Some(b)) if a.is_none_or(|a| b.base.end < a.base.start) => {
                let ours = ours_at(b.base.start)..ours_at(b.base.end);
                push(
                    &mut regions,
                    Region { kind: Kind::Theirs, base: b.base.clone(), ours, theirs: b.side.clone() },
                );
                j += 1;
            }
            (Some(a), Some(b)) => {
                if !alike(sides, a, b) {
                    push(&mut regions, clash(a, b));
                }
                let (a_end, b_end) = (a.base.end, b.base.end);
                i += usize::from(b_end >= a_end);
                j += usize::from(a_end >= b_end);
            }
            _ => return regions,
        }
    }
}

fn along(changes: &[Change], base: usize) -> usize {
    changes.last().map_or(base, |last| base + last.side.end - last.base.end)
}

fn alike(sides: &Sides<'_>, a: &Change, b: &Change) -> bool {
    a.base == b.base && sides.ours.tokens[a.side.clone()] == sides.theirs.tokens[b.side.clone()]
}

/// Two changes that touch: from where the first begins to where the last ends, on every side.
fn clash(a: &Change, b: &Change) -> Region {
    let start = a.base.start.min(b.base.start);
    let end = a.base.end.max(b.base.end);
    let side = |change: &Change| {
        change.side.start - (change.base.start - start)..change.side.end + (end - change.base.end)
    };
    Region { kind: Kind::Conflict, base: start..end, ours: side(a), theirs: side(b) }
}

/// Regions that touch on a side become one, and a conflict if they were not of one kind.
fn push(regions: &mut Vec<Region>, region: Region) {
    match regions.last_mut() {
        Some(last) if region.ours.start <= last.ours.end || region.theirs.start <= last.theirs.end => {
            if last.kind != region.kind {
                last.kind = Kind::Conflict;
            }
            last.base.end = region.base.end;
            last.ours.end = region.ours.end;
            last.theirs.end = region.theirs.end;
        }
        _ => regions.push(region),
    }
}

/// A conflict as the differences between its sides, with what they agree on left out.
fn refine(interner: &Interner<'_>, sides: &Sides<'_>, algorithm: Algorithm, region: Region) -> Vec<Region> {
    if region.kind != Kind::Conflict || region.ours.is_empty() || region.theirs.is_empty() {
        return vec![region];
    }
    let ours = &sides.ours.tokens[region.ours.clone()];
    let theirs = &sides.theirs.tokens[region.theirs.clone()];
    let part = |hunk: imara_diff::Hunk| Region {
        kind: Kind::Conflict,
        base: region.base.clone(),
        ours: region.ours.start + hunk.before.start as usize..region.ours.start + hunk.before.end as usize,
        theirs: region.theirs.start + hunk.after.start as usize
            ..region.theirs.start + hunk.after.end as usize,
    };
    let parts: Vec<Region> = align(interner, ours, theirs, algorithm).map(part).collect();
    if parts.is_empty() { vec![Region { kind: Kind::Same, ..region }] } else { parts }
}

/// Leave out the lines that both sides share at the ends of a conflict.
fn shrink(sides: &Sides<'_>, region: &mut Region) {
    if region.kind != Kind::Conflict {
        return;
    }
    let (ours, theirs) = (&sides.ours.tokens, &sides.theirs.tokens);
    let both = |region: &Region| !region.ours.is_empty() && !region.theirs.is_empty();
    while both(region) && ours[region.ours.start] == theirs[region.theirs.start] {
        region.ours.start += 1;
        region.theirs.start += 1;
    }
    while both(region) && ours[region.ours.end - 1] == theirs[region.theirs.end - 1] {
        region.ours.end -= 1;
        region.theirs.end -= 1;
    }
}

/// Neighbouring conflicts are one where at most three lines, or none with a letter or digit, lie between.
fn join_near(sides: &Sides<'_>, regions: Vec<Region>) -> Vec<Region> {
    let mut joined: Vec<Region> = Vec::new();
    for region in regions {
        match joined.last_mut() {
            Some(last)
                if last.kind == Kind::Conflict
                    && region.kind == Kind::Conflict
                    && near(sides, last, &region) =>
            {
                last.ours.end = region.ours.end;
                last.theirs.end = region.theirs.end;
            }
            _ => joined.push(region),
        }
    }
    joined
}

fn near(sides: &Sides<'_>, last: &Region, region: &Region) -> bool {
    let between = last.ours.end..region.ours.start;
    let is_alnum = |byte: &u8| byte.is_ascii_alphanumeric();
    between.len() <= 3 || !sides.ours.lines.bytes(between).iter().any(is_alnum)
}
