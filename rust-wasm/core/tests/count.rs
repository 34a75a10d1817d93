//! Counting's own laws; that the counts are tiktoken's is tested through the .wasm (tests/core/test_count.py).

use edgeloop_core::count::{Counter, Growing, Pairs, TableError};

const TABLE: &[u8] = include_bytes!("../../../src/hot/o200k.bin");
const TEXTS: [&str; 6] = [
    "it's a text; don''t WE'LL x'ſ\n\n  fn main() { // 12345\n\t}\r\n\r\n/ end   ",
    "中AAAAb 中AAAA, ǅungla \u{301}A e\u{301} 日本語、한국어 👨\u{200d}👩 \u{a0}\u{2028} z",
    "                                                                    indented\n\n\n\n   x",
    "((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((\n/\n//a",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa's x",
    "",
];

fn counter() -> Counter {
    Counter::new(Pairs::new(TABLE).expect("the committed table"))
}

/// A text fed in two parts, or byte by byte, ends at the count of the whole.
#[test]
fn growing_equals_the_whole_at_every_split() {
    let mut counter = counter();
    for text in TEXTS.map(str::as_bytes) {
        let whole = counter.count(text);
        for split in 0..=text.len() {
            let mut growing = Growing::default();
            growing.append(&mut counter, &text[..split]);
            assert_eq!(growing.append(&mut counter, &text[split..]), whole, "{split} of {text:?}");
        }
        let mut growing = Growing::default();
        let last = text.iter().map(|&byte| growing.append(&mut counter, &[byte])).last();
        assert_eq!(last.unwrap_or(0), whole);
    }
}

/// The prefix fits, is whole characters, counts what it says, and is everything where everything fits.
#[test]
fn prefix_within_keeps_its_promise() {
    let mut counter = counter();
    for text in TEXTS {
        let whole = counter.count(text.as_bytes());
        for limit in 0..=whole {
            let (bytes, tokens) = counter.prefix_within(text, limit);
            assert!(tokens <= limit);
            assert_eq!(counter.count(&text.as_bytes()[..bytes]), tokens);
        }
        assert_eq!(counter.prefix_within(text, whole), (text.len(), whole));
    }
}

/// Asking again gives the same answer, whatever was counted between: caches forget, they do not lie.
#[test]
fn caches_do_not_change_counts() {
    let mut counter = counter();
    let fresh: Vec<u32> = TEXTS.iter().map(|text| counter.count(text.as_bytes())).collect();
    for i in 0..200_000_u32 {
        counter.count(
            format!("{:x} {:o}{}", i.wrapping_mul(2_654_435_761), i, "y".repeat(i as usize % 40)).as_bytes(),
        );
    }
    let again: Vec<u32> = TEXTS.iter().map(|text| counter.count(text.as_bytes())).collect();
    assert_eq!(fresh, again);
}

/// A table that cannot be right is refused with what is wrong.
#[test]
fn wrong_tables_are_refused() {
    let error = |table: &[u8]| Pairs::new(table).err();
    assert_eq!(error(&[]), Some(TableError::Size(0)));
    assert_eq!(error(&TABLE[..256]), Some(TableError::Size(256)));
    assert_eq!(error(&TABLE[..TABLE.len() - 1]), Some(TableError::Size(TABLE.len() - 1)));
    let mut forward = TABLE[..256 + 6].to_vec();
    forward[256..].copy_from_slice(&[0, 0, 1, 1, 0, 0]);
    assert_eq!(error(&forward), Some(TableError::Forward(256)));
}
