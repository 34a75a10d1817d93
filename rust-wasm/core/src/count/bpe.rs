//! Byte-pair merging: how many tokens a piece becomes.
//!
//! Always the pair of lowest rank, the leftmost among equals. Short pieces scan an array; long ones keep a heap,
//! so that 600 KB without a space cost O(n log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pairs::Pairs;

const NONE: u32 = u32::MAX;
/// Up to here scanning beats the heap.
const SHORT: usize = 64;

/// One part of a long piece; parts form a doubly linked list by index.
struct Part {
    id: u32,
    /// Rank of the merge with the next part.
    rank: u32,
    previous: u32,
    next: u32,
}

/// Working memory for long pieces, kept between calls.
#[derive(Default)]
pub struct Merger {
    parts: Vec<Part>,
    heap: BinaryHeap<Reverse<(u32, u32)>>,
}

impl Merger {
    /// Tokens of one piece (not empty).
    pub fn count(&mut self, pairs: &Pairs, piece: &[u8]) -> u32 {
        match piece.len() {
            ..=16 => count_short::<16>(pairs, piece),
            17..=SHORT => count_short::<SHORT>(pairs, piece),
            _ => self.count_long(pairs, piece),
        }
    }

    fn count_long(&mut self, pairs: &Pairs, piece: &[u8]) -> u32 {
        self.fill(pairs, piece);
        let mut count = piece.len() as u32;
        while let Some(Reverse((rank, at))) = self.heap.pop() {
            // A part that was merged away or has merged since carries another rank.
            if self.parts[at as usize].rank == rank {
                self.merge_at(pairs, at);
                count -= 1;
            }
        }
        self.release();
        count
    }

    fn fill(&mut self, pairs: &Pairs, piece: &[u8]) {
        self.parts.clear();
        for (i, &byte) in piece.iter().enumerate() {
            let (at, id) = (i as u32, pairs.single(byte));
            let rank = piece.get(i + 1).map_or(NONE, |&next| pairs.merged(id, pairs.single(next)));
            self.parts.push(Part { id, rank, previous: at.wrapping_sub(1), next: at + 1 });
            if rank != NONE {
                self.heap.push(Reverse((rank, at)));
            }
        }
    }

    fn merge_at(&mut self, pairs: &Pairs, at: u32) {
        let (gone, merged) = (self.parts[at as usize].next, self.parts[at as usize].rank);
        let next = self.parts[gone as usize].next;
        self.parts[gone as usize].rank = NONE;
        self.parts[at as usize].id = merged;
        self.parts[at as usize].next = next;
        if let Some(part) = self.parts.get_mut(next as usize) {
            part.previous = at;
        }
        self.rank_again(pairs, at);
        self.rank_again(pairs, self.parts[at as usize].previous);
    }

    fn rank_again(&mut self, pairs: &Pairs, at: u32) {
        let Some(part) = self.parts.get(at as usize) else { return };
        let next = self.parts.get(part.next as usize);
        let rank = next.map_or(NONE, |next| pairs.merged(part.id, next.id));
        self.parts[at as usize].rank = rank;
        if rank != NONE {
            self.heap.push(Reverse((rank, at)));
        }
    }

    /// 600 KB of one piece need 10 MB here: not to be kept.
    fn release(&mut self) {
        if self.parts.capacity() > 1 << 14 {
            *self = Self::default();
        }
    }
}

/// `N` only sizes the arrays: most pieces fit the small ones, whose clearing costs less than their merging.
fn count_short<const N: usize>(pairs: &Pairs, piece: &[u8]) -> u32 {
    let (mut ids, mut ranks) = ([0_u32; N], [NONE; N]);
    let mut n = piece.len().min(N);
    for (id, &byte) in ids.iter_mut().zip(piece) {
        *id = pairs.single(byte);
    }
    for (rank, pair) in ranks.iter_mut().zip(ids[..n].windows(2)) {
        *rank = pairs.merged(pair[0], pair[1]);
    }
    while n > 1 {
        let (at, merged) = lowest(&ranks[..n - 1]);
        if merged == NONE {
            break;
        }
        n -= 1;
        ids[at] = merged;
        for i in at + 1..n {
            ids[i] = ids[i + 1];
            ranks[i - 1] = ranks[i];
        }
        ranks[n - 1] = NONE;
        if at + 1 < n {
            ranks[at] = pairs.merged(merged, ids[at + 1]);
        }
        if at > 0 {
            ranks[at - 1] = pairs.merged(ids[at - 1], merged);
        }
    }
    n as u32
}

fn lowest(ranks: &[u32]) -> (usize, u32) {
    let mut best = (0, NONE);
    for (at, &rank) in ranks.iter().enumerate() {
        if rank < best.1 {
            best = (at, rank);
        }
    }
    best
}
