//! The laws of the analysis, over generated conversations: every fold resolves to the bytes it replaced, the tokens
//! fall, and what two rules could take twice is never lost.

use std::collections::{BTreeMap, BTreeSet};

use edgeloop_core::analysis::{
    Analysis, Entry, Fold, Kind, LIMIT, Plan, Role, likeness, signature, templates,
};
use edgeloop_core::count::{Counter, Pairs};

const TABLE: &[u8] = include_bytes!("../../../src/hot/o200k.bin");

fn counter() -> Counter {
    Counter::new(Pairs::new(TABLE).expect("the committed table"))
}

/// xorshift64*: tests/core/test_analysis.py has the same, so that both see the same conversation.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

struct Owned {
    role: Role,
    name: String,
    tool: &'static str,
    path: String,
    command: String,
    data: Vec<u8>,
}

impl Owned {
    fn entry(&self) -> Entry<'_> {
        let (name, tool) = (self.name.as_bytes(), self.tool.as_bytes());
        let (path, command) = (self.path.as_bytes(), self.command.as_bytes());
        Entry { role: self.role, name, tool, path, command, data: &self.data }
    }

    fn result(data: impl Into<Vec<u8>>) -> Self {
        let (name, path, command) = (String::new(), String::new(), String::new());
        Self { role: Role::Result, name, tool: "run", path, command, data: data.into() }
    }

    fn read(path: &str, data: impl Into<Vec<u8>>) -> Self {
        Self { tool: "read_file", path: path.into(), ..Self::result(data) }
    }
}

/// Files that are read, edited and read again, commands run again, and logs.
struct History {
    random: Random,
    files: Vec<Vec<String>>,
    turn: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let files = (0..4).map(|_| (0..20).map(|_| Self::line(&mut random)).collect()).collect();
        Self { random, files, turn: 0 }
    }

    fn line(random: &mut Random) -> String {
        match random.below(6) {
            0 => String::new(),
            1 => "    }".into(),
            2 => format!("    let value_{} = compute({});", random.below(9), random.below(9)),
            3 => "        return Err(Problem::Missing { name: name.to_string() });".into(),
            4 => format!("// {} — ünïcode {}", random.below(50), random.below(50)),
            _ => {
                format!("fn function_number_{}(argument: &str) -> Result<(), Problem> {{", random.below(200))
            }
        }
    }

    fn text(&mut self, file: usize) -> Vec<u8> {
        let end = ["\n", "\n", "\r\n"][self.files[file].len() % 3];
        let mut text = self.files[file].join(end);
        if self.random.below(4) > 0 {
            text.push_str(end);
        }
        text.into_bytes()
    }

    fn edit(&mut self, file: usize) -> Vec<u8> {
        let at = self.random.below(self.files[file].len() as u64) as usize;
        let lines: Vec<String> = (0..self.random.below(8)).map(|_| Self::line(&mut self.random)).collect();
        let written = lines.join("\n") + "\n";
        let end = self.files[file].len().min(at + self.random.below(3) as usize);
        self.files[file].splice(at..end, lines);
        if self.files[file].is_empty() {
            self.files[file].push("fn nothing_is_left() {}".into());
        }
        written.into_bytes()
    }

    fn log(&mut self) -> Vec<u8> {
        let mut text = String::new();
        for _ in 0..self.random.below(30) {
            let (second, item) = (self.random.below(60), self.random.below(100));
            text += &match self.random.below(8) {
                0 => "no shape at all\n".to_string(),
                1 => format!("  {second}  {item}\n"),
                _ => {
                    format!("2026-11-21 10:00:{second:02} status installed package-{item}:amd64 1.{item}-2\n")
                }
            };
        }
        text.into_bytes()
    }

    fn next(&mut self) -> Owned {
        self.turn += 1;
        let file = self.random.below(4) as usize;
        let path = format!("src/file_{file}.rs");
        let name = format!("r{}", self.turn);
        let blank = Owned { name, ..Owned::result("") };
        match self.random.below(6) {
            0 => Owned { role: Role::Text, data: self.text(file), ..blank },
            1 => Owned { role: Role::Call, tool: "edit_file", path, data: self.edit(file), ..blank },
            2 => Owned { command: format!("make {file}"), data: self.log(), ..blank },
            3 => Owned { path, tool: "edit_file", data: self.edit(file), ..blank },
            _ => Owned { path, tool: "read_file", data: self.text(file), ..blank },
        }
    }
}

/// Holds every plan against everything that was ever entered.
#[derive(Default)]
struct Judge {
    blocks: Vec<Owned>,
    plans: Vec<Plan>,
    gone: BTreeSet<u32>,
}

impl Judge {
    fn take(&mut self, counter: &mut Counter, block: Owned, plan: Plan) {
        assert_eq!(plan.block as usize, self.blocks.len());
        self.blocks.push(block);
        let data = &self.blocks[plan.block as usize].data;
        let mut at = 0;
        for fold in &plan.folds {
            assert!(fold.start >= at && fold.end as usize <= data.len());
            at = fold.end;
            self.fold(counter, &plan, fold);
        }
        if !plan.folds.is_empty() {
            let rendered = plan.render(data);
            assert!(counter.count(&rendered) < counter.count(data));
        }
        let superseded = plan.superseded.clone();
        self.plans.push(plan);
        for block in superseded {
            self.supersede(block);
        }
    }

    fn fold(&self, counter: &mut Counter, plan: &Plan, fold: &Fold) {
        let data = &self.blocks[plan.block as usize].data;
        let range = &data[fold.start as usize..fold.end as usize];
        let source = &self.blocks[fold.source as usize];
        assert_eq!(fold.resolve(&source.data).as_deref(), Some(range));
        assert_eq!(fold.tokens, [counter.count(range), counter.count(&fold.replacement)]);
        assert!(fold.tokens[1] < fold.tokens[0]);
        assert!(!self.gone.contains(&fold.source), "refers to what has gone");
        let earlier = fold.source < plan.block || fold.from + range.len() as u32 <= fold.start;
        assert!(earlier || fold.kind == Kind::Template, "only the earlier copy stays");
        if fold.kind == Kind::Echo {
            assert_eq!((source.role, &source.path), (Role::Call, &self.blocks[plan.block as usize].path));
        }
        self.line_numbers(plan, fold);
    }

    /// What a stub tells the reader is where the bytes stand.
    fn line_numbers(&self, plan: &Plan, fold: &Fold) {
        let text = String::from_utf8_lossy(&fold.replacement).into_owned();
        let Some(numbers) = text.strip_prefix("[lines ").or_else(|| text.strip_prefix("[line ")) else {
            return;
        };
        let (numbers, rest) = numbers.split_once(' ').expect("words");
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let source = &self.blocks[fold.source as usize];
        let (first, last): (usize, usize) =
            (first.parse().expect("a number"), last.parse().expect("a number"));
        let lines: Vec<&[u8]> = source.data.split_inclusive(|&byte| byte == b'\n').collect();
        let own = &self.blocks[plan.block as usize].data[fold.start as usize..fold.end as usize];
        assert_eq!(lines[first - 1..last].concat(), own);
        let expected =
            if fold.source == plan.block { "again]".into() } else { format!("of {} again]", source.name) };
        assert_eq!(rest.trim_end(), expected);
    }

    /// A block goes only if a later result on its subject is there and nothing that is there refers to it.
    fn supersede(&mut self, block: u32) {
        assert!(self.gone.insert(block), "goes once");
        let old = &self.blocks[block as usize];
        let same = |new: &Owned| {
            (new.role, new.tool, &new.path, &new.command) == (Role::Result, old.tool, &old.path, &old.command)
        };
        let later = self.blocks.iter().enumerate().skip(block as usize + 1);
        assert!(later.filter(|(id, _)| !self.gone.contains(&(*id as u32))).any(|(_, new)| same(new)));
        for plan in self.plans.iter().filter(|plan| plan.block != block && !self.gone.contains(&plan.block)) {
            assert!(plan.folds.iter().all(|fold| fold.source != block), "both would vanish");
        }
    }
}

fn run(seed: u64, turns: usize, limit: usize, counter: &mut Counter) -> Judge {
    let mut history = History::new(seed);
    let mut analysis = Analysis::new(limit);
    let mut judge = Judge::default();
    for _ in 0..turns {
        let block = history.next();
        let plan = analysis.enter(counter, &block.entry());
        judge.take(counter, block, plan);
    }
    judge
}

/// Any history, with room for all of it and with room for little: the judge has no objection.
#[test]
fn generated_conversations_keep_the_laws() {
    let mut counter = counter();
    let mut kinds = BTreeMap::new();
    let mut superseded = 0;
    for seed in 1..=60 {
        for limit in [LIMIT, 9_000, 0] {
            let judge = run(seed, 60, limit, &mut counter);
            for fold in judge.plans.iter().flat_map(|plan| &plan.folds) {
                *kinds.entry((fold.kind as u8, fold.replacement.starts_with(b"[same"))).or_insert(0) += 1;
            }
            superseded += judge.gone.len();
        }
    }
    let seen: Vec<_> = kinds.keys().copied().collect();
    assert_eq!(seen.len(), 4 + usize::from(kinds.contains_key(&(1, true))), "{kinds:?}");
    assert!(superseded > 100);
}

/// Equal entries in equal order give equal plans; the digest is also that of the .wasm (tests/core/test_analysis.py).
#[test]
fn the_shared_conversation_has_its_digest() {
    let mut counter = counter();
    let mut packed = Vec::new();
    for plan in run(7, 200, LIMIT, &mut counter).plans {
        plan.write(&mut packed);
    }
    let digest = packed.iter().fold(0xcbf2_9ce4_8422_2325_u64, |digest, &byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    assert_eq!((packed.len(), digest), (22_432, 8_182_528_586_391_541_115));
}

/// Later duplicates give way to the earliest, also through each other; stale results to the latest.
#[test]
fn directions() {
    let mut counter = counter();
    let mut analysis = Analysis::default();
    let mut enter = |block: Owned| analysis.enter(&mut counter, &block.entry());
    let text = "fn one_function() -> Result<(), Error> {\n    first_thing()?;\n    second_thing()?;\n    Ok(())\n}\n";
    assert_eq!(enter(Owned::read("a", text)).folds, []);
    for block in 1..3 {
        let plan = enter(Owned::read("a", text));
        assert_eq!((plan.folds[0].source, plan.superseded.len()), (0, usize::from(block == 2)));
        assert_eq!(plan.folds[0].replacement, b"[same as #0]\n");
    }
    // The file has changed: now all three are stale, and the last that said "same as #0" goes before #0 does.
    assert_eq!(enter(Owned::read("a", "something else\n")).superseded, [2, 0]);
    // What has gone cannot be referred to: the text is new again, and is itself the earliest from here on.
    assert_eq!(enter(Owned::read("b", text)).folds, []);
    assert_eq!(enter(Owned::result(text)).folds[0].source, 4);
}

/// A result that repeats what the call wrote to the path is an echo; on another path it is a copy.
#[test]
fn echoes() {
    let mut counter = counter();
    for (path, kind) in [("a.rs", Kind::Echo), ("b.rs", Kind::Copy)] {
        let mut analysis = Analysis::default();
        let written = "    let alpha = compute_the_first_value(input, 1);\n    let beta = compute_the_second_value(alpha, 2)?;\n    let gamma = compute_the_third_value(beta, alpha)?;\n";
        let call = Owned { role: Role::Call, ..Owned::read("a.rs", written) };
        analysis.enter(&mut counter, &call.entry());
        let shown = format!("Edited {path}:\n{written}Done.\n");
        let plan = analysis.enter(&mut counter, &Owned::read(path, shown.clone()).entry());
        assert_eq!(plan.folds.iter().map(|fold| fold.kind).collect::<Vec<_>>(), [kind]);
        let rendered = plan.render(shown.as_bytes());
        assert_eq!(
            String::from_utf8(rendered).unwrap(),
            format!("Edited {path}:\n[lines 1-3 of #0 again]\nDone.\n")
        );
    }
}

fn folded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    templates::fold(text, |range, replacement| {
        assert_eq!(templates::unfold(&replacement, range.len()).as_deref(), Some(&text[range.clone()]));
        out.extend_from_slice(&text[at..range.start]);
        out.extend_from_slice(&replacement);
        at = range.end;
    });
    out.extend_from_slice(&text[at..]);
    out
}

/// Shapes as they are written.
#[test]
fn shapes() {
    let cases: &[(&str, &str)] = &[
        (
            "t 10:00:01 a ready\nt 10:00:02 b ready\nt 10:00:07 c ready\n",
            "[3x {}] t 10:00:{} {} ready\n01 a\n02 b\n07 c\n",
        ),
        ("same line\nsame line\nsame line\n", "[3x] same line\n"),
        ("same line\nsame line\n", "same line\nsame line\n"),
        ("src/a/b.py\nsrc/a/c/d.py\nsrc/a/e.py", "src/a/b.py\nsrc/a/c/d.py\nsrc/a/e.py"),
        ("src/a/b.py\nsrc/a/c/d.py\nsrc/a/e.py\n", "[3x {}] src/a/{}.py\nb\nc/d\ne\n"),
        ("x {} 1 long\r\nx {} 2 long\r\nx {} 3 long\r\n", "[3x <>] x {} <> long\r\n1\n2\n3\n"),
        (
            "{ <a> } () [1] [] x\n{ <a> } () [2] [] x\n{ <a> } () [3] [] x\n",
            "[3x {}] { <a> } () [{}] [] x\n1\n2\n3\n",
        ),
        ("\n\n\n", "[3x] \n"),
        (
            "é 1 and more of it\né 2 and more of it\nè 3 and more of it\n",
            "[3x {}] {} {} and more of it\né 1\né 2\nè 3\n",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(String::from_utf8(folded(text.as_bytes())).unwrap(), *expected);
    }
}

/// Random lines of few characters, where everything nearly collides, and of any bytes: exactly restored.
#[test]
fn shapes_restore_every_byte() {
    let mut random = Random(11);
    for round in 0..30_000 {
        let alphabet: &[u8] =
            if round % 2 == 0 { b"ab {}<>()[]x1: \n\n" } else { b"a  --\xc3\xa9\xff\r\n\n" };
        let length = random.below(120);
        let text: Vec<u8> =
            (0..length).map(|_| alphabet[random.below(alphabet.len() as u64) as usize]).collect();
        folded(&text);
    }
}

/// What is not a replacement, or not of that length, is refused; nothing grows beyond the length asked for.
#[test]
fn unfold_refuses() {
    let bad: &[&[u8]] = &[
        b"",
        b"[",
        b"[x] a\n",
        b"[3x] a",
        b"[2x {}] {}\na\n",
        b"[1x {}] {}\na b\n",
        b"[1x {}] {}\na\nb\n",
        b"[99999999999999999999x] a\n",
        b"[18446744073709551615x] a\n",
        b"[3x",
        b"[3x {",
        b"[3x {}",
        b"[-3x] a\n",
        b"[4000000000x {}] {}\na\n",
    ];
    for replacement in bad {
        assert_eq!(templates::unfold(replacement, 6), None, "{}", String::from_utf8_lossy(replacement));
    }
    assert_eq!(templates::unfold(b"[3x] a\n", 6).as_deref(), Some(&b"a\na\na\n"[..]));
}

/// Inputs made to be slow or to collide are judged in time, and within the laws.
#[test]
fn adversarial_blocks() {
    let mut counter = counter();
    let mut random = Random(3);
    let noise: Vec<u8> = (0..1 << 20).map(|_| random.below(256) as u8).collect();
    let lines = |line: &str, count: usize| line.repeat(count).into_bytes();
    let blocks = [
        noise.clone(),
        noise,
        vec![b'a'; 1 << 20],
        vec![b'\n'; 1 << 20],
        vec![b' '; 1 << 20],
        lines("equal\n", 170_000),
        lines("        \n", 110_000),
        lines("one line here\nanother line there\n", 30_000),
        (0..100_000).map(|n| format!("line {}\n", n % 977)).collect::<String>().into_bytes(),
        lines("        \n", 110_001),
        lines(&"a ".repeat(70), 7_000),
        lines(&("b ".repeat(70) + "\n"), 7_000),
    ];
    let mut analysis = Analysis::default();
    let mut judge = Judge::default();
    for data in blocks {
        let block = Owned::read("big", data);
        let plan = analysis.enter(&mut counter, &block.entry());
        judge.take(&mut counter, block, plan);
    }
}

/// Two runs of one test, different in every time and number, are near; different texts are not.
#[test]
fn near_duplicates() {
    let mut counter = counter();
    let mut analysis = Analysis::default();
    let tests = |seed: u64, word: &str| {
        let mut random = Random(seed);
        let line = |n: usize| {
            format!(
                "tests/{word}_{n}.py::test_{} PASSED in {}.{}s\n",
                ["reads", "writes", "folds"][n % 3],
                random.below(9),
                random.below(999)
            )
        };
        (0..40).map(line).collect::<String>()
    };
    let command = |name: &str, data: String| Owned { command: name.into(), ..Owned::result(data) };
    assert_eq!(analysis.enter(&mut counter, &command("make a", tests(1, "core")).entry()).near, None);
    let prose: String = (0..80)
        .map(|n| format!("word{n} ") + ["alpha", "beta", "gamma"][n % 3] + &"x".repeat(n) + " ")
        .collect();
    assert_eq!(analysis.enter(&mut counter, &command("make b", prose).entry()).near, None);
    let near = analysis.enter(&mut counter, &command("make c", tests(2, "core")).entry()).near.unwrap();
    assert_eq!((near.block, near.likeness), (0, 1000));
    let (a, b) = (
        signature(b"a few words that are alike here").unwrap(),
        signature(b"quite other words without it").unwrap(),
    );
    assert!(likeness(&a, &a) == 1000 && likeness(&a, &b) < 200);
    assert_eq!(signature(b"two words"), None);
}

/// A name that could break out of a stub is not used, nor an endless one.
#[test]
fn names_stay_in_their_brackets() {
    let mut counter = counter();
    for (name, shown) in
        [("r1", "r1"), ("", "#0"), ("a]b", "#0"), ("a b", "#0"), ("a\nb", "#0"), (&"n".repeat(65), "#0")]
    {
        let mut analysis = Analysis::default();
        let text = "some text that is long enough to be worth a reference, or is it? One two three four, and 123456789 and 987654321.\n";
        let block = Owned { name: name.into(), ..Owned::result(text) };
        analysis.enter(&mut counter, &block.entry());
        let plan = analysis.enter(&mut counter, &block.entry());
        assert_eq!(plan.folds[0].replacement, format!("[same as {shown}]\n").into_bytes());
    }
}
