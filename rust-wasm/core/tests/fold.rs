//! What a new block need not say again.

use edgeloop_core::count::{Counter, Pairs};
use edgeloop_core::fold::{Block, Index, Plan, Role, Run, expand, templates};

const TABLE: &[u8] = include_bytes!("../../../src/hot/o200k.bin");
const REFERENCE: u32 = 24;

struct Session {
    index: Index,
    counter: Counter,
    next: u32,
}

impl Session {
    fn new() -> Self {
        Self { index: Index::default(), counter: Counter::new(Pairs::new(TABLE).unwrap()), next: 0 }
    }

    fn add(&mut self, role: Role, key: &str, text: &str) -> Plan {
        let id = self.next;
        self.next += 1;
        let block = Block { id, role, key: key.as_bytes(), text: text.as_bytes() };
        self.index.add(block, &mut self.counter, REFERENCE, true)
    }

    fn show(&mut self, key: &str, text: &str) -> Plan {
        self.add(Role::Shown, key, text)
    }
}

fn lines(name: &str, range: std::ops::Range<u32>) -> String {
    let line = |i: u32| {
        let words = (0..5 + i % 4)
            .map(|word| format!("{name}{:x}", (i * 31 + word).wrapping_mul(2_654_435_761) >> 8));
        words.collect::<Vec<_>>().join(" ") + "\n"
    };
    range.map(line).collect()
}

/// The earliest of identical blocks stays, whatever stood between; what is too small to gain is left alone.
#[test]
fn identical_blocks_refer_to_the_earliest() {
    let mut session = Session::new();
    let text = lines("a", 0..30);
    assert_eq!(session.show("", &text), Plan::default());
    session.show("", &lines("b", 0..30));
    assert_eq!(session.show("", &text).duplicate_of, Some(0));
    assert_eq!(session.show("", &text).duplicate_of, Some(0));
    session.show("", "ok\n");
    assert_eq!(session.show("", "ok\n"), Plan::default());
}

/// The latest result of a key stays; one that others refer to stays too, so both copies never vanish.
#[test]
fn superseded_results_and_references_never_hide_both_copies() {
    let mut session = Session::new();
    let (old, new) = (lines("old", 0..30), lines("new", 0..30));
    session.show("src/a.py", &old);
    assert_eq!(session.show("src/a.py", &new).superseded, [0]);
    // The first version is superseded, so its copy is sent again rather than referred to.
    assert_eq!(session.show("src/a.py", &old), Plan { superseded: vec![1], ..Plan::default() });
    // A copy under another key pins block 2 ...
    assert_eq!(session.show("copy.py", &old).duplicate_of, Some(2));
    // ... so that a change of the file does not supersede it.
    assert_eq!(session.add(Role::Written, "src/a.py", &new).superseded, [] as [u32; 0]);
}

/// Writing a path makes what was shown of it stale, and showing what was written is an echo.
#[test]
fn writing_supersedes_and_reading_back_is_an_echo() {
    let mut session = Session::new();
    session.show("a", &lines("old", 0..30));
    let written = lines("new", 0..30);
    assert_eq!(session.add(Role::Written, "a", &written).superseded, [0]);
    assert_eq!(session.show("a", &written).duplicate_of, Some(1));
}

/// Runs of lines are found at any offset, in full length, and hold the same bytes on both sides.
#[test]
fn shared_runs_are_found_whole() {
    let mut session = Session::new();
    let old = lines("x", 0..40);
    session.show("", &old);
    for skip in 0..6_u32 {
        let shared = lines("x", 3 + skip..33);
        let fresh = lines(&format!("fresh{skip}"), 0..5);
        let text = format!("{fresh}{shared}{}", fresh.to_uppercase());
        let plan = session.show("", &text);
        let start = old.find(&shared).unwrap();
        let run = Run {
            bytes: fresh.len()..fresh.len() + shared.len(),
            of: 0,
            of_bytes: start..start + shared.len(),
        };
        assert_eq!(plan.runs, [run]);
    }
}

/// A template says all that its lines said, in fewer bytes, and is not made where nothing is shared.
#[test]
fn templates_lose_nothing() {
    let log: String = (0..20)
        .map(|i| format!("2026-11-21 09:{i:02}:07 status half-configured package{i}:amd64 1.{i}-1\n"))
        .collect();
    let text = format!("head\n{log}\ntail of it\n");
    let starts: Vec<u32> = starts(&text);
    let found = templates(text.as_bytes(), &starts, &[]);
    assert_eq!(found.len(), 1);
    assert_eq!(&text[found[0].bytes.clone()], log);
    assert_eq!(expand(&found[0].text).unwrap(), log.as_bytes());
    assert!(found[0].text.len() < log.len() * 2 / 3);
    for text in ["a b\nc d\ne f\n", "same ⟦ x\nsame ⟦ y\nsame ⟦ z\n", "x 1\nx 2\n", ""] {
        assert_eq!(templates(text.as_bytes(), &starts_of(text), &[]), []);
    }
    assert_eq!(expand("⟦3 lines of: a ‹›⟧\n1\n".as_bytes()), None);
}

fn starts(text: &str) -> Vec<u32> {
    starts_of(text)
}

fn starts_of(text: &str) -> Vec<u32> {
    let ends = text.split_inclusive('\n').scan(0, |at, line| {
        *at += line.len() as u32;
        Some(*at)
    });
    std::iter::once(0).chain(ends).collect()
}

/// A changed copy is told as near, with the share of lines in common; a stranger is not.
#[test]
fn near_duplicates_are_told() {
    let mut session = Session::new();
    let old = lines("n", 0..400);
    session.show("", &old);
    let changed: String = old
        .lines()
        .enumerate()
        .map(|(i, line)| if i % 5 == 0 { format!("{line}!\n") } else { format!("{line}\n") })
        .collect();
    let (of, likeness) = session.show("", &changed).near.unwrap();
    assert_eq!(of, 0);
    assert!((500..850).contains(&likeness), "{likeness}");
    assert_eq!(session.show("", &lines("stranger", 0..400)).near, None);
}

/// The thousandth block costs what the tenth did: nothing is looked at twice.
#[test]
fn cost_does_not_grow_with_the_history() {
    let mut session = Session::new();
    let time = |session: &mut Session, from: u32| {
        let started = std::time::Instant::now();
        for i in from..from + 200 {
            session.show(&format!("path {i}"), &lines(&format!("block {i}"), 0..40));
        }
        started.elapsed()
    };
    time(&mut session, 0);
    let early = time(&mut session, 200);
    time(&mut session, 400);
    for round in 0..10 {
        time(&mut session, 600 + 200 * round);
    }
    let late = (0..3).map(|round| time(&mut session, 4000 + 200 * round)).min().unwrap();
    assert!(late < early * 3, "{early:?} then {late:?}");
}
