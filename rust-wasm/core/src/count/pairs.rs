//! The merge table: (left id, right id) to merged id, which is also the merge's rank.

/// Single-byte tokens at the head of every vocabulary.
const SINGLES: usize = 256;
/// Ids fit 18 bits: a key is 36, an entry 54.
const ID_BITS: u32 = 18;
const KEY_MASK: u64 = (1 << (2 * ID_BITS)) - 1;
/// Sorts after every entry, so that a probe stops at an empty slot by the same comparison.
const EMPTY: u64 = u64::MAX;

/// Why a table was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableError {
    /// Not 256 bytes and six planes of at least one row, or more rows than 18-bit ids can name.
    Size(usize),
    /// The row of this token names a token that comes after it.
    Forward(u32),
}

impl std::fmt::Display for TableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Size(size) => {
                write!(f, "token table of {size} bytes; expected 256 + 6 planes of 1 to 262,000 rows")
            }
            Self::Forward(id) => write!(f, "token {id} is merged from a token that comes after it"),
        }
    }
}

impl std::error::Error for TableError {}

/// Ordered linear probing: slots hold (mixed key, id) in ascending order, so that a miss, which is what most
/// probes are, ends at the first greater slot (2.6 on average at this load) and not at the next empty one (9).
pub struct Pairs {
    singles: [u8; SINGLES],
    slots: Vec<u64>,
    shift: u32,
}

impl Pairs {
    pub fn new(table: &[u8]) -> Result<Self, TableError> {
        let size_error = TableError::Size(table.len());
        let (singles, planes) = table.split_first_chunk::<SINGLES>().ok_or(size_error)?;
        let rows = planes.len() / 6;
        if rows == 0 || planes.len() % 6 != 0 || rows + SINGLES > 1 << ID_BITS {
            return Err(size_error);
        }
        let bits = (rows * 5 / 4).next_power_of_two().trailing_zeros();
        // Past the last home slot the longest run needs room; no run comes near this.
        let mut pairs =
            Self { singles: *singles, slots: vec![EMPTY; (1 << bits) + 1024], shift: 2 * ID_BITS - bits };
        let id = |plane: usize, row: usize| {
            let byte = |p: usize| u32::from(planes[p * rows + row]);
            byte(plane) << 16 | byte(plane + 2) << 8 | byte(plane + 4)
        };
        for row in 0..rows {
            let (left, right, merged) = (id(0, row), id(1, row), (row + SINGLES) as u32);
            if left >= merged || right >= merged {
                return Err(TableError::Forward(merged));
            }
            pairs.insert(left, right, merged);
        }
        Ok(pairs)
    }

    /// Id of a single byte.
    pub fn single(&self, byte: u8) -> u32 {
        u32::from(self.singles[usize::from(byte)])
    }

    /// Id, and so rank, of the merge of two tokens; `u32::MAX` where they do not merge.
    pub fn merged(&self, left: u32, right: u32) -> u32 {
        let mixed = mix(left, right);
        let mut at = (mixed >> self.shift) as usize;
        loop {
            let Some(&slot) = self.slots.get(at) else { return u32::MAX };
            if slot >> ID_BITS >= mixed {
                let id = slot as u32 & ((1 << ID_BITS) - 1);
                return if slot >> ID_BITS == mixed { id } else { u32::MAX };
            }
            at += 1;
        }
    }

    fn insert(&mut self, left: u32, right: u32, merged: u32) {
        let mixed = mix(left, right);
        let mut entry = mixed << ID_BITS | u64::from(merged);
        for slot in &mut self.slots[(mixed >> self.shift) as usize..] {
            if entry < *slot {
                std::mem::swap(&mut entry, slot);
            }
            if entry == EMPTY {
                return;
            }
        }
    }
}

/// A bijection of the 36-bit key whose high bits depend on all of it (Fibonacci hashing), so that the mixed key
/// is both the home slot and, kept whole, the proof of equality.
fn mix(left: u32, right: u32) -> u64 {
    (u64::from(left) << ID_BITS | u64::from(right)).wrapping_mul(0x9_E377_9B97_F4A7 | 1) & KEY_MASK
}
