//! Who changes what of one base version: conflicts between any number of writers, found as edits arrive.
//!
//! A change claims lines of the base. Claims of different writers that overlap or touch clash, as they would in a
//! merge, unless they are the same change. Claims that touch are kept in one cluster, so that a new one is compared
//! with those it touches only: O(log n) where it touches none.

use std::collections::BTreeMap;
use std::ops::Range;

/// What a writer did; contents are given by a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Replaced these lines of the base; an empty range is an insertion before that line.
    Lines { base: Range<usize>, content: u64 },
    /// Deleted the file.
    Delete,
    /// Created a file that the base does not have.
    Create { content: u64 },
}

/// Two writers' changes that do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The one whose change came first.
    pub first: u32,
    pub second: u32,
    /// Lines of the base that both touch; empty for whole files.
    pub base: Range<usize>,
}

#[derive(Debug, Clone)]
struct Claim {
    writer: u32,
    base: Range<usize>,
    content: u64,
}

#[derive(Debug, Clone)]
struct Cluster {
    end: usize,
    claims: Vec<Claim>,
}

/// The changes to one file since one base version.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// By first line; disjoint, and not touching.
    clusters: BTreeMap<usize, Cluster>,
    whole: Vec<(u32, Change)>,
}

impl Claims {
    /// Record a change; returns what it clashes with, in no particular order.
    pub fn add(&mut self, writer: u32, change: Change) -> Vec<Clash> {
        let mut clashes = self.whole_clashes(writer, &change);
        match change {
            Change::Lines { base, content } => {
                clashes.extend(self.add_lines(Claim { writer, base, content }))
            }
            Change::Delete | Change::Create { .. } => self.whole.push((writer, change)),
        }
        clashes
    }

    /// Forget a writer's changes.
    pub fn remove(&mut self, writer: u32) {
        self.whole.retain(|(other, _)| *other != writer);
        let clusters = std::mem::take(&mut self.clusters);
        // Without its claims a cluster may fall apart.
        for claim in
            clusters.into_values().flat_map(|cluster| cluster.claims).filter(|claim| claim.writer != writer)
        {
            self.add_lines(claim);
        }
    }

    fn whole_clashes(&self, writer: u32, change: &Change) -> Vec<Clash> {
        let clash = |first: u32| Clash { first, second: writer, base: 0..0 };
        let others = self.whole.iter().filter(|(other, kept)| *other != writer && kept != change);
        let mut clashes: Vec<Clash> = others.map(|(other, _)| clash(*other)).collect();
        if *change == Change::Delete {
            let mut writers: Vec<u32> =
                self.clusters.values().flat_map(|c| &c.claims).map(|c| c.writer).collect();
            writers.sort_unstable();
            writers.dedup();
            clashes.extend(writers.into_iter().filter(|&other| other != writer).map(clash));
        }
        clashes
    }

    fn add_lines(&mut self, claim: Claim) -> Vec<Clash> {
        let mut cluster = Cluster { end: claim.base.end, claims: Vec::new() };
        let mut start = claim.base.start;
        let mut clashes = Vec::new();
        while let Some((&first, touched)) = self.clusters.range(..=claim.base.end).next_back() {
            if touched.end < claim.base.start {
                break;
            }
            clashes.extend(touched.claims.iter().filter_map(|other| other.clash(&claim)));
            start = start.min(first);
            if let Some(touched) = self.clusters.remove(&first) {
                cluster.end = cluster.end.max(touched.end);
                cluster.claims.extend(touched.claims);
            }
        }
        cluster.claims.push(claim);
        self.clusters.insert(start, cluster);
        clashes
    }
}

impl Claim {
    fn clash(&self, later: &Self) -> Option<Clash> {
        let both = self.base.start.max(later.base.start)..self.base.end.min(later.base.end);
        let apart = both.start > both.end;
        let same = self.base == later.base && self.content == later.content;
        (self.writer != later.writer && !apart && !same).then_some(Clash {
            first: self.writer,
            second: later.writer,
            base: both,
        })
    }
}
