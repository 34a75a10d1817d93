//! Counts of pieces too long for the inline cache, up to 256 bytes: indentation, long words, runs of CJK.
//!
//! Few, but merging one costs a microsecond and more. The pieces lie one after another in one arena and a slot
//! says where; when the arena is full everything is forgotten, so the size is fixed.

const LONGEST: usize = 256;
const SLOTS_BITS: u32 = 11;
const ARENA: usize = 96 << 10;

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u64,
    start: u32,
    length: u16,
    count: u16,
}

pub struct LongCache {
    slots: Vec<Slot>,
    arena: Vec<u8>,
}

impl Default for LongCache {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); 1 << SLOTS_BITS], arena: Vec::with_capacity(ARENA) }
    }
}

impl LongCache {
    pub fn get(&self, piece: &[u8]) -> Option<u32> {
        let hash = hash(piece);
        let slot = self.slots.get(home(hash)).filter(|slot| slot.hash == hash)?;
        let kept = self.arena.get(slot.start as usize..)?.get(..usize::from(slot.length))?;
        (kept == piece).then_some(u32::from(slot.count))
    }

    pub fn put(&mut self, piece: &[u8], count: u32) {
        if piece.len() > LONGEST {
            return;
        }
        if self.arena.len() + piece.len() > ARENA {
            self.arena.clear();
            self.slots.fill(Slot::default());
        }
        let hash = hash(piece);
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(piece);
        self.slots[home(hash)] = Slot { hash, start, length: piece.len() as u16, count: count as u16 };
    }
}

fn home(hash: u64) -> usize {
    (hash >> (64 - SLOTS_BITS)) as usize
}

/// Eight bytes a step; the last step overlaps the one before (pieces here are longer than fifteen).
fn hash(piece: &[u8]) -> u64 {
    let step = |hash: u64, chunk: &[u8; 8]| {
        (hash ^ u64::from_le_bytes(*chunk)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
    };
    let chunks = piece.as_chunks().0.iter().chain(piece.last_chunk());
    chunks.fold(piece.len() as u64, step).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
