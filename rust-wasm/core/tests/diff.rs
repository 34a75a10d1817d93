//! Differences, their forms, and applying them.

use edgeloop_core::diff::{
    Algorithm, ApplyError, Edit, Span, apply_edits, apply_unified, blocks, compare, unified, words,
};

/// A small deterministic generator: texts over few distinct lines, with and without a final newline.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn text(&mut self) -> Vec<u8> {
        let lines = self.below(120);
        let alphabet = 2 + self.below(60);
        let mut text: Vec<u8> = (0..lines)
            .flat_map(|_| {
                format!("{}line {}\r\n", "  ".repeat(self.below(3) as usize), self.below(alphabet))
                    .into_bytes()
            })
            .filter(|byte| *byte != b'\r')
            .collect();
        if self.below(3) == 0 {
            text.pop();
        }
        text
    }

    fn edited(&mut self, text: &[u8]) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = text.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
        for _ in 0..self.below(6) {
            let at = self.below(lines.len() as u64 + 1) as usize;
            match self.below(3) {
                0 if at < lines.len() => drop(lines.remove(at)),
                1 if at < lines.len() => lines[at] = format!("changed {}\n", self.below(50)).into_bytes(),
                _ => lines.insert(at, format!("new {}\n", self.below(5)).into_bytes()),
            }
        }
        lines.concat()
    }
}

/// Applying the unified form, either way round, and the edits gives the other text back, over generated texts.
#[test]
fn differences_applied_give_the_other_text() {
    let mut rng = Rng(1);
    for round in 0..3000 {
        let before = rng.text();
        let after = if rng.below(4) == 0 { rng.text() } else { rng.edited(&before) };
        for algorithm in [Algorithm::Histogram, Algorithm::Myers] {
            let there = compare(&before, &after, algorithm);
            let back = compare(&after, &before, algorithm);
            for context in [0, 3] {
                assert_eq!(
                    apply_unified(&before, &unified(&there, context)).as_ref(),
                    Ok(&after),
                    "round {round}"
                );
            }
            assert_eq!(apply_unified(&after, &unified(&back, 3)).as_ref(), Ok(&before), "round {round}");
            let edits = blocks(&before, &there);
            if edits.iter().all(|edit| is_unique(&before, &edit.search)) {
                assert_eq!(apply_edits(&before, &edits).as_ref(), Ok(&after), "round {round}");
            }
        }
    }
}

fn is_unique(text: &[u8], search: &[u8]) -> bool {
    !search.is_empty() && text.windows(search.len()).filter(|window| *window == search).count() == 1
}

/// Trimming the shared ends changes no hunk: padding both texts only moves the numbers.
#[test]
fn shared_ends_change_no_hunk() {
    let mut rng = Rng(7);
    for _ in 0..500 {
        let before = rng.text();
        let after = rng.edited(&before);
        let pad: Vec<u8> = (0..500).flat_map(|i| format!("padding {i}\n").into_bytes()).collect();
        let padded = |text: &[u8]| [&pad, text, b"\n", &pad].concat();
        let plain = compare(&padded(&before), &padded(&after), Algorithm::Histogram).hunks;
        let shorter =
            compare(&padded(&before)[pad.len()..], &padded(&after)[pad.len()..], Algorithm::Histogram).hunks;
        let moved: Vec<_> = shorter.iter().map(|h| (h.before.start + 500, h.after.end + 500)).collect();
        assert_eq!(plain.iter().map(|h| (h.before.start, h.after.end)).collect::<Vec<_>>(), moved);
    }
}

/// The unified form of known texts, byte for byte.
#[test]
fn unified_form_is_what_git_prints() {
    let form =
        |a: &[u8], b: &[u8]| String::from_utf8(unified(&compare(a, b, Algorithm::Histogram), 3)).unwrap();
    assert_eq!(form(b"", b""), "");
    assert_eq!(form(b"", b"x\n"), "@@ -0,0 +1 @@\n+x\n");
    assert_eq!(form(b"x\n", b""), "@@ -1 +0,0 @@\n-x\n");
    assert_eq!(form(b"a\nb", b"a\nb\n"), "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n");
    assert_eq!(form(b"a\r\n", b"a\n"), "@@ -1 +1 @@\n-a\r\n+a\n");
}

fn edit(search: &str, replace: &str) -> Edit {
    Edit { search: search.into(), replace: replace.into() }
}

/// Exact first, then without regard to white space; not found, ambiguous and overlapping edits apply nothing.
#[test]
fn edits_are_found_by_content_or_refused() {
    let text = b"fn a() {\n    one();\n    two();\n}\n\nfn b() {\n    two();\n}\n";
    let apply = |edits: &[Edit]| apply_edits(text, edits).map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(apply(&[edit("one", "1")]).unwrap(), String::from_utf8_lossy(text).replace("one", "1"));
    assert_eq!(
        apply(&[edit("\tone( );\n  two();\n", "x\n")]).unwrap(),
        "fn a() {\nx\n}\n\nfn b() {\n    two();\n}\n"
    );
    assert_eq!(
        apply(&[edit("one()  ;\ntwo();", "    x();")]).unwrap(),
        "fn a() {\n    x();\n}\n\nfn b() {\n    two();\n}\n"
    );
    assert_eq!(apply(&[edit("    two();", "x")]), Err(ApplyError::Ambiguous { edit: 0, lines: [3, 7] }));
    assert_eq!(
        apply(&[edit("one", "1"), edit("fn  b() {\n three();\n}\n", "")]),
        Err(ApplyError::NotFound { edit: 1, line: 6 })
    );
    assert_eq!(apply(&[edit("nothing like it", "")]), Err(ApplyError::NotFound { edit: 0, line: 0 }));
    assert_eq!(
        apply(&[edit("one();\n    two", "x"), edit("two();\n}\n\n", "y")]),
        Err(ApplyError::Overlap { edit: 1 })
    );
    assert_eq!(apply(&[edit("", "x")]), Err(ApplyError::NotFound { edit: 0, line: 0 }));
    assert_eq!(apply_edits(b"", &[edit("", "x")]), Ok(b"x".to_vec()));
}

/// A hunk whose line numbers are wrong is found by its lines; a diff that cannot be read is refused with the line.
#[test]
fn unified_hunks_are_found_where_their_lines_stand() {
    let text = b"a\nb\nc\nd\n";
    assert_eq!(
        apply_unified(text, b"--- a/x\n+++ b/x\n@@ -90,2 +90,2 @@\n b\n-c\n+C\n").unwrap(),
        b"a\nb\nC\nd\n"
    );
    assert_eq!(apply_unified(text, b"").unwrap(), text);
    for (patch, line) in [
        (&b"@@ -1,2 +1,2 @@\n a\n"[..], 3),
        (b"@@ -1 +1 @@\n?a\n", 2),
        (b"@@ -x +1 @@\n", 1),
        (b"@@ -1 +1 @@\n-a\n-b\n", 3),
        (b"hello\n", 2),
    ] {
        assert_eq!(
            apply_unified(text, patch),
            Err(ApplyError::Malformed { line }),
            "{:?}",
            String::from_utf8_lossy(patch)
        );
    }
}

/// Word differences name bytes, never cut a character, and leave what is shared alone.
#[test]
fn words_name_what_changed_inside_a_line() {
    assert_eq!(words(b"let x = foo(1);", b"let x = bar(1);"), [Span { before: 8..11, after: 8..11 }]);
    assert_eq!(words("größe".as_bytes(), "große".as_bytes()).len(), 1);
    assert_eq!(words(b"same", b"same"), []);
    assert_eq!(words(b"", b"new word"), [Span { before: 0..0, after: 0..8 }]);
}
