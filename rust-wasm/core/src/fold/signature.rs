//! Near-duplicates: one-permutation MinHash over lines.
//!
//! Lines fall into bins by their hash; a signature holds the least of each bin, so the share of equal bins estimates
//! the share of equal lines. Bins are grouped in bands, and only blocks that share a band are compared.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::index::Same;

const BINS: usize = 64;
const BAND: usize = 4;
/// Candidates kept per band; the latest is the likeliest to matter.
const KEPT: usize = 4;
/// Fewer filled bins say nothing.
const FEWEST: usize = 8;
/// Least likeness worth telling, in thousandths.
const LEAST: u32 = 500;
const EMPTY: u32 = u32::MAX;
/// Signatures kept (1 MB); past that all are forgotten, for likeness is only a hint.
const MOST: usize = 1 << 12;

#[derive(Clone)]
pub struct Signature([u32; BINS]);

impl Signature {
    pub fn new(lines: &[u64]) -> Self {
        let mut bins = [EMPTY; BINS];
        for &line in lines {
            let bin = &mut bins[(line >> 58) as usize];
            *bin = (*bin).min((line >> 24) as u32 & (EMPTY - 1));
        }
        Self(bins)
    }

    /// Thousandths of the bins that either fills.
    fn likeness(&self, other: &Self) -> u32 {
        let filled = self.0.iter().zip(&other.0).filter(|(a, b)| **a != EMPTY || **b != EMPTY).count();
        let equal = self.0.iter().zip(&other.0).filter(|(a, b)| a == b && **a != EMPTY).count();
        if filled < FEWEST { 0 } else { (1000 * equal / filled) as u32 }
    }

    /// A hash of each band that is filled.
    fn bands(&self) -> impl Iterator<Item = u64> {
        let hash = |(i, band): (usize, &[u32])| {
            let full = band.iter().all(|&bin| bin != EMPTY);
            full.then(|| {
                band.iter().fold(i as u64 + 1, |hash, &bin| {
                    (hash.rotate_left(23) ^ u64::from(bin)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
                })
            })
        };
        self.0.chunks(BAND).enumerate().filter_map(hash)
    }
}

#[derive(Default)]
pub struct Signatures {
    all: Vec<(usize, Signature)>,
    bands: HashMap<u64, Vec<usize>, BuildHasherDefault<Same>>,
}

impl Signatures {
    /// The most like signature among those that may be named, and its likeness.
    pub fn nearest(&self, signature: &Signature, may: impl Fn(usize) -> bool) -> Option<(usize, u32)> {
        let candidates = signature.bands().filter_map(|band| self.bands.get(&band)).flatten();
        let judged = candidates.filter_map(|&at| {
            let (block, other) = &self.all[at];
            may(*block).then(|| (*block, signature.likeness(other)))
        });
        judged.max_by_key(|&(block, likeness)| (likeness, block)).filter(|&(_, likeness)| likeness >= LEAST)
    }

    pub fn add(&mut self, signature: Signature, block: usize) {
        if self.all.len() == MOST {
            *self = Self::default();
        }
        for band in signature.bands() {
            let kept = self.bands.entry(band).or_default();
            if kept.len() == KEPT {
                kept.remove(0);
            }
            kept.push(self.all.len());
        }
        self.all.push((block, signature));
    }
}
