//! Laws that hold for any input: bytes from a peer, texts that nobody would write.

use edgeloop_core::count::{Counter, Growing, Pairs};
use edgeloop_core::diff::{Algorithm, Edit, apply_edits, apply_unified, blocks, compare, unified, words};
use edgeloop_core::merge::{Change, Claims, ClashKind, Labels, Style, merge};
use proptest::collection::vec;
use proptest::prelude::*;

const TABLE: &[u8] = include_bytes!("../../../src/hot/o200k.bin");
const LABELS: Labels<'_> = Labels { ours: "ours", base: "base", theirs: "theirs" };

thread_local! {
    static COUNTER: std::cell::RefCell<Counter> =
        std::cell::RefCell::new(Counter::new(Pairs::new(TABLE).expect("the committed table")));
}

fn count(text: &[u8]) -> u32 {
    COUNTER.with_borrow_mut(|counter| counter.count(text))
}

/// Texts of few distinct lines, with any ending.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "a\n",
        "b\n",
        "c\n",
        "\n",
        "}\n",
        "  x\n",
        "y\r\n",
        "long line of words\n",
    ]);
    (vec(line, 0..40), prop::sample::select(vec!["", "end", "\r"]))
        .prop_map(|(lines, end)| (lines.concat() + end).into_bytes())
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(vec![Algorithm::Histogram, Algorithm::Myers])
}

/// `make fuzz` asks for more.
fn cases() -> ProptestConfig {
    let asked = std::env::var("EDGELOOP_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig::with_cases(asked.unwrap_or(2000))
}

proptest! {
    #![proptest_config(cases())]

    /// Any bytes have a count, at most their length as text, and the same one again.
    #[test]
    fn any_bytes_are_counted(bytes in vec(any::<u8>(), 0..200)) {
        let tokens = count(&bytes);
        prop_assert!(tokens as usize <= String::from_utf8_lossy(&bytes).len());
        prop_assert_eq!(tokens, count(&bytes));
        prop_assert_eq!(tokens, count(String::from_utf8_lossy(&bytes).as_bytes()));
    }

    /// A growing text counts as the whole, however it is cut.
    #[test]
    fn growing_is_the_whole(parts in vec("\\PC{0,12}|[a-z0-9 \n/]{0,20}", 0..12)) {
        let whole = count(parts.concat().as_bytes());
        let grown = COUNTER.with_borrow_mut(|counter| {
            let mut growing = Growing::default();
            parts.iter().map(|part| growing.append(counter, part.as_bytes())).last()
        });
        prop_assert_eq!(grown.unwrap_or(0), whole);
    }

    /// A difference, applied, gives the other text; words too.
    #[test]
    fn differences_lead_there(before in text(), after in text(), algorithm in algorithm(), context in 0..5_usize) {
        let comparison = compare(&before, &after, algorithm);
        prop_assert_eq!(apply_unified(&before, &unified(&comparison, context)), Ok(after.clone()));
        let mut rebuilt = Vec::new();
        let mut at = 0;
        for span in words(&before, &after) {
            rebuilt.extend_from_slice(&before[at..span.before.start]);
            rebuilt.extend_from_slice(&after[span.after]);
            at = span.before.end;
        }
        rebuilt.extend_from_slice(&before[at..]);
        prop_assert_eq!(rebuilt, after);
    }

    /// Edits, where each is found, lead there too.
    #[test]
    fn edits_lead_there_or_nowhere(before in text(), after in text()) {
        let edits = blocks(&before, &compare(&before, &after, Algorithm::Histogram));
        if let Ok(applied) = apply_edits(&before, &edits) {
            prop_assert_eq!(applied, after);
        }
    }

    /// Peers' patches and edits are applied or refused, never a panic.
    #[test]
    fn hostile_patches_are_refused(text in vec(any::<u8>(), 0..60), patch in "(@@ -[0-9]{0,3},?[0-9]? \\+[0-9],[0-9] @@\n|[ +-]\\PC{0,3}\n|\\\\ x\n){0,9}", search in vec(any::<u8>(), 0..5)) {
        let _ = apply_unified(&text, patch.as_bytes());
        let _ = apply_edits(&text, &[Edit { search: search.clone(), replace: Vec::new() }]);
    }

    /// One side unchanged: the other wins. Both alike: that. Sides swapped: the same verdict.
    #[test]
    fn merges_keep_their_laws(base in text(), ours in text(), theirs in text(), algorithm in algorithm()) {
        let run = |ours: &[u8], theirs: &[u8]| merge(&base, ours, theirs, algorithm, Style::Merge, LABELS);
        prop_assert_eq!(run(&ours, &base), run(&base, &ours));
        prop_assert_eq!(&run(&ours, &base).text, &ours);
        prop_assert_eq!(&run(&ours, &ours).text, &ours);
        prop_assert_eq!(run(&ours, &theirs).conflicts == 0, run(&theirs, &ours).conflicts == 0);
    }

    /// Claims clash exactly where lines of two writers overlap or touch and are not the same change, short or long.
    #[test]
    fn claims_clash_where_they_touch(edits in vec((0..4_u32, 0..400_u32, 0..9_u32, 0..3_u64), 0..40), gone in 0..4_u32) {
        let mut claims = Claims::default();
        let mut seen: Vec<(u32, u32, u32, u64)> = Vec::new();
        for (i, (writer, start, length, content)) in edits.into_iter().enumerate() {
            if i == 30 {
                claims.remove(gone);
                seen.retain(|claim| claim.0 != gone);
            }
            let end = start + (1 << length) - 1;
            let mut found: Vec<(u32, u32, u32)> = claims
                .add(writer, Change::Lines { start, end, content })
                .into_iter()
                .map(|clash| match clash.kind {
                    ClashKind::Lines { start, end } => (clash.first, start, end),
                    kind => panic!("{kind:?}"),
                })
                .collect();
            let touches = |&&(other, s, e, c): &&(u32, u32, u32, u64)| {
                other != writer && s <= end && start <= e && (s, e, c) != (start, end, content)
            };
            let both = |&(other, s, e, _): &(u32, u32, u32, u64)| (other, s.max(start), e.min(end));
            let mut expected: Vec<(u32, u32, u32)> = seen.iter().filter(touches).map(both).collect();
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
            seen.push((writer, start, end, content));
        }
    }
}
